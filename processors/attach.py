"""Finds the servers that a command should speak to: named ones, a running stack's, or a stored stack's.

A stack that was stopped keeps its data; a command that only reads starts its servers for as long as it
needs them, and says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from connectors.clickhouse.accounts import Role
from connectors.clickhouse.embedded import url_of
from connectors.errors import Misconfigured
from processors.settings import read_settings
from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV, STATE_FILE, Servers, Stack, StackState, read_state

FOLDER = Path(".optin-data")
"""Where stacks keep their data unless told otherwise: `live` of `optin up`, `demo` of `optin demo`."""


def data_folder(given: Path | None) -> Path:
    """The data folder a reading command means: the given one, $OPTIN_DATA, one that runs, the last used.

    Raises `Misconfigured` when there is none.
    """
    if given is not None:
        return given
    if "OPTIN_DATA" in os.environ:
        return Path(os.environ["OPTIN_DATA"])
    folders = [folder for folder in FOLDER.glob("*") if (folder / "kafka").is_dir()]
    running = [folder for folder in folders if read_state(folder) is not None]
    if not folders:
        raise Misconfigured(
            f"no stack runs and none is stored in {FOLDER}: run `optin up` or `optin demo` first, or name a"
            " data folder with --data"
        )
    return max(running or folders, key=lambda folder: (folder / "lock").stat().st_mtime)


@contextmanager
def servers(
    given: Path | None, progress: Callable[[str], None], account: Role = "analyst"
) -> Iterator[Servers]:
    """Servers to read from; those that were started for it are stopped at the end.

    `account`: as whom an embedded ClickHouse is spoken to.
    """
    kafka, clickhouse = os.environ.get(KAFKA_ENV), os.environ.get(CLICKHOUSE_ENV)
    if (kafka or clickhouse) and given is None:
        # Named servers are meant, also where only one is named; what a command lacks it will miss by name.
        settings = read_settings()
        yield Servers(settings.kafka_bootstrap, settings.clickhouse_url.get_secret_value())
        return
    data = data_folder(given)
    state = read_state(data)
    if state is not None:
        yield Servers(kafka or state.kafka_bootstrap, clickhouse or _as_account(data, state, account))
        return
    if not (data / "kafka").is_dir():
        raise Misconfigured(f"{data} holds no stack ({STATE_FILE} and kafka/ are missing): check --data")
    progress(f"The stack in {data} is stopped; starting its servers for this command")
    with Stack(data, roles={}, progress=progress) as stack:
        yield Servers(stack.kafka_bootstrap, stack.clickhouse_url_of(account))


def _as_account(data: Path, state: StackState, account: Role) -> str:
    """The ClickHouse of a running stack, with the account's password if it is an embedded one."""
    folder = data / "clickhouse"
    ours = state.clickhouse_url and "clickhouse" in {part.name for part in state.parts}
    return url_of(folder, state.clickhouse_url, account) if ours else state.clickhouse_url
