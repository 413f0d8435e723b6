"""The accounts of the embedded ClickHouse: a name, a password and a role each, in a file of the data folder.

`DATA/accounts.json` (0600) is made at the first start with a generated password for each of the accounts
`admin`, `metrics` and `analyst`. Passwords reach the server by this file alone, never by its environment or
its arguments.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from connectors.errors import Misconfigured

Role: TypeAlias = Literal["admin", "metrics", "analyst"]
"""admin makes and changes tables; metrics reads and inserts; analyst reads."""

OWN: Final[tuple[Role, ...]] = ("admin", "metrics", "analyst")
"""Accounts that always exist, each named like its role."""
FILE: Final = "accounts.json"
USERS_ENV: Final = "OPTIN_CLICKHOUSE_USERS"
READERS_ENV: Final = "OPTIN_CLICKHOUSE_READERS"
PASSWORD_BYTES: Final = 24
MODE_FOR_OTHERS: Final = 0o077


class Account(msgspec.Struct, frozen=True):
    """Who may come in, and as what."""

    role: Role
    password: str

    def __repr__(self) -> str:
        """Without the password: it never stands in a log or a traceback."""
        return f"Account(role={self.role!r})"


def accounts_of(data: Path, env: Mapping[str, str]) -> dict[str, Account]:
    """The accounts by name: those of the file, made if need be, and those that the environment names.

    OPTIN_CLICKHOUSE_USERS is {"name": "password", ...}, or the path of a file (0600) that holds it. Writes
    the file anew if anything is new. Raises Misconfigured, without any part of what it read.
    """
    stored = stored_accounts(data)
    named = _named(env.get(USERS_ENV, ""))
    readers = {name.strip() for name in env.get(READERS_ENV, "").split(",")} - {""}
    if missing := readers - named.keys():
        raise Misconfigured(f"{READERS_ENV} names {', '.join(sorted(missing))}, which {USERS_ENV} does not")
    accounts = {} if named else dict(stored)
    for own in OWN:
        password = named.get(own) or (
            stored[own].password if own in stored else secrets.token_urlsafe(PASSWORD_BYTES)
        )
        accounts[own] = Account(own, password)
    for name in named.keys() - set(OWN):
        accounts[name] = Account("analyst" if name in readers else "metrics", named[name])
    if accounts != stored:
        _write(data / FILE, msgspec.json.format(msgspec.json.encode(accounts)))
    return accounts


def stored_accounts(data: Path) -> dict[str, Account]:
    """What the file holds, {} if there is none. Raises Misconfigured without any part of what it read."""
    try:
        accounts = msgspec.json.decode((data / FILE).read_bytes(), type=dict[str, Account])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        raise Misconfigured(
            f"{data / FILE} is not readable as accounts: mend it, or delete it to get new passwords"
        ) from None
    if any(not account.password for account in accounts.values()):
        raise Misconfigured(f"{data / FILE} holds an empty password: each account needs one")
    return accounts


def _named(text: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        content = text.encode() if text.lstrip().startswith("{") else _private(Path(text))
        users = msgspec.json.decode(content, type=dict[str, str])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        raise Misconfigured(
            f'{USERS_ENV} must be a JSON object {{"name": "password"}}, or the path of a file that holds one'
        ) from None
    if any(not name or not password for name, password in users.items()):
        raise Misconfigured(f"{USERS_ENV}: each name needs a password that is not empty")
    return users


def _private(file: Path) -> bytes:
    if file.stat().st_mode & MODE_FOR_OTHERS:
        raise Misconfigured(f"{USERS_ENV}: others may read {file}; run `chmod 600 {file}`")
    return file.read_bytes()


def _write(file: Path, content: bytes) -> None:
    """Write a file that its owner alone may read, from its first byte on."""
    draft = file.with_name(f"{file.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(content)
    draft.replace(file)
