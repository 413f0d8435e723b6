"""`optin push`: what concerns the providers that pushes go by."""

from __future__ import annotations

import asyncio
import os
import uuid
from pathlib import Path
from typing import Annotated, Final

import typer

from connectors.errors import Misconfigured
from connectors.push.port import Outcome, Push
from connectors.push.routes import Routes, Way
from processors import report
from processors.wall_clock import wall_ms

FILE_ENV: Final = "OPTIN_PUSH_CREDENTIALS"
NOBODYS: Final = {"apns": "0" * 64, "fcm": "optin-doctor-nobodys-token"}
"""Tokens that no device has: asking with them shows whether a credential is taken, and reaches nobody."""
FOREIGN: Final = frozenset(
    {"BadDeviceToken", "DeviceTokenNotForTopic", "SENDER_ID_MISMATCH", "INVALID_ARGUMENT"}
)
"""Refusals of such a token: whoever says so has accepted the credential."""

app = typer.Typer(no_args_is_help=True, help="Ask the providers that pushes go by.")


@app.callback()
def push() -> None:
    """Keep `doctor` a command of its own while it is the only one."""


@app.command()
def doctor(
    credentials: Annotated[
        Path | None,
        typer.Option(help=f"File of credentials; {FILE_ENV} if left out.", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """Try the credentials of each app at each provider; exit with 1 if one does not work.

    APNs and FCM are asked with a token that no device has: that they refuse it shows that they take the
    credential. Nobody gets a push. The key of Web Push is read and signs; push services are known by
    subscriptions alone, so none is called.

    Example: optin push doctor --credentials credentials.yaml
    """
    named = credentials or (Path(os.environ[FILE_ENV]) if os.environ.get(FILE_ENV) else None)
    if named is None:
        raise Misconfigured(f"name a file of credentials: --credentials, or {FILE_ENV}")
    rows = [(*way, state, words) for way, state, words in asyncio.run(_tried(named))]
    report.out.print(report.table("", ("app", "provider", "", "found"), rows))
    if any(state != "ok" for _, _, state, _ in rows):
        raise typer.Exit(1)


async def _tried(file: Path) -> list[tuple[Way, str, str]]:
    routes = Routes(file, _Nobody(), wall_ms)
    try:
        asked = [way for way in routes.ways if way[1] in NOBODYS]
        pushes = [
            Push(str(uuid.uuid4()), app, provider, NOBODYS[provider], "optin", "doctor")
            for app, provider in asked
        ]
        found = dict(zip(asked, await routes.send(pushes), strict=True))
    finally:
        await routes.close()
    return [(way, *verdict(found.get(way))) for way in routes.ways]


def verdict(outcome: Outcome | None) -> tuple[str, str]:
    """What an answer to a push to nobody shows; None: nobody was asked."""
    if outcome is None:
        return "ok", "the key is read and signs; push services are called for subscriptions alone"
    if outcome.error in FOREIGN or outcome.error_class in {"token_dead", "payload"}:
        return "ok", f"the credential is taken ({outcome.error} for a token that no device has)"
    if outcome.error_class == "credential":
        advice = "docs/how-to/connect-providers.md says what to do"
        return "PROBLEM", f"the provider refuses the credential: {outcome.error}; {advice}"
    if outcome.kind == "accepted":
        return "PROBLEM", "a push to nobody was accepted: is this the provider?"
    return "PROBLEM", f"no answer: {outcome.error}; is the network open to the provider?"


class _Nobody:
    """Takes what goes by no provider: nothing does."""

    async def send(self, pushes: object, *, until_s: float = 0.0) -> list[Outcome]:
        """Never called."""
        raise AssertionError(pushes, until_s)
