"""`optin push`: what concerns the providers that pushes go by."""

from __future__ import annotations

import asyncio
import math
import os
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from connectors.errors import Misconfigured
from connectors.push.port import Outcome, Push
from connectors.push.routes import NOT_CONFIGURED, Routes, Way
from ledger.consent import installation_key, token_id
from ledger.reach import address, trial_refusal
from processors import report
from processors.attach import servers
from processors.commands.options import DataFolder
from processors.definitions import shipped
from processors.history import reach_of
from processors.stack import CREDENTIALS_ENV
from processors.wall_clock import wall_ms

NOBODYS: Final = {"apns": "0" * 64, "fcm": "optin-doctor-nobodys-token"}
"""Tokens that no device has: asking with them shows whether a credential is taken, and reaches nobody."""
FOREIGN: Final = frozenset(
    {"BadDeviceToken", "DeviceTokenNotForTopic", "SENDER_ID_MISMATCH", "INVALID_ARGUMENT"}
)
"""Refusals of such a token: whoever says so has accepted the credential."""

app = typer.Typer(no_args_is_help=True, help="Ask the providers that pushes go by.")

CredentialsFile = Annotated[
    Path | None,
    typer.Option(help=f"File of credentials; {CREDENTIALS_ENV} if left out.", exists=True, dir_okay=False),
]
WITHHELD: Final = {
    "erased": "the person was erased",
    "unlinked": "the installation is no longer this person's",
    "permission": "the person did not allow notifications on it, or took it back; `optin explain` says when",
    "token": "no token of it is live: the app must register one",
}
"""Why nothing was sent."""
MEANS: Final = {
    "accepted": "the provider will try to show it",
    "token_dead": "the address no longer works: the app must register a new one",
    "unlisted_service": "its push service is not called: name it under `services` of web_push, if it is one",
    "credential": "no push of this app will pass; docs/how-to/connect-providers.md says what to do",
    "payload": "the provider refuses this push for what it is",
    "transient": "nobody's fault: try again later",
    "unknown": "it was handed over and not answered: it may be shown all the same",
}


@app.command("test")
def trial(
    subject: Annotated[str, typer.Option(help="The subject's id, as the app backend chose it.")],
    installation: Annotated[str, typer.Option(help="Which of their installations.")],
    app_name: Annotated[str, typer.Option("--app", help="The app that speaks.")],
    title: Annotated[str, typer.Option(help="What it says.")] = "Test",
    body: Annotated[str, typer.Option(help="The line below.")] = "This push was sent by hand.",
    link: Annotated[str, typer.Option(help="What a tap opens.")] = "",
    credentials: CredentialsFile = None,
    data: DataFolder = None,
) -> None:
    """Send one real push to one installation, and explain each step; exit with 1 if it was not accepted.

    Needs the person's permission as a transactional push does. The ledger does not know of it: nothing is
    recorded, no cap counts it, and a dead token stays as it is.

    Example: optin push test --subject s-1 --installation i-1 --app shop --credentials credentials.yaml
    """
    file = _named(credentials)
    with report.progress() as progress, servers(data, progress) as found:
        progress(f"Reading the ledger of {subject}")
        reach = asyncio.run(reach_of(found.kafka_bootstrap, subject))
    if refused := trial_refusal(reach, app_name, installation, shipped().policy):
        found_out = [("consent", f"{refused}: {WITHHELD[refused]}")]
        report.out.print(report.table("", ("step", "found"), found_out))
        raise typer.Exit(1)
    to = address(reach, installation_key(app_name, installation))
    assert to is not None, "a trial that is not refused has an address"
    push = Push(str(uuid.uuid4()), app_name, *to, title, body, link=link)
    started_s = time.monotonic()
    outcome = asyncio.run(_sent(file, push))
    took_ms = (time.monotonic() - started_s) * 1_000
    found_out = [
        ("consent", "allowed"),
        ("address", f"{push.provider}, token {token_id(*to)}"),
        ("push", f"{push.push_id}, in {took_ms:.0f} ms"),
        ("outcome", str(outcome)),
        ("meaning", MEANS[outcome.error_class or outcome.kind]),
    ]
    report.out.print(report.table("", ("step", "found"), found_out))
    if outcome.kind != "accepted":
        raise typer.Exit(1)


@asynccontextmanager
async def _routes(file: Path) -> AsyncIterator[Routes]:
    routes = Routes(file, Nobody(), wall_ms)
    try:
        yield routes
    finally:
        await routes.close()


async def _sent(file: Path, push: Push) -> Outcome:
    async with _routes(file) as routes:
        return (await routes.send([push]))[0]


@app.command()
def doctor(credentials: CredentialsFile = None) -> None:
    """Try the credentials of each app at each provider; exit with 1 if one does not work.

    APNs and FCM are asked with a token that no device has: that they refuse it shows that they take the
    credential. Nobody gets a push. The key of Web Push is read and signs; push services are known by
    subscriptions alone, so none is called.

    Example: optin push doctor --credentials credentials.yaml
    """
    rows = [(*way, state, words) for way, state, words in asyncio.run(_tried(_named(credentials)))]
    report.out.print(report.table("", ("app", "provider", "", "found"), rows))
    if any(state != "ok" for _, _, state, _ in rows):
        raise typer.Exit(1)


def _named(credentials: Path | None) -> Path:
    named = credentials or (Path(os.environ[CREDENTIALS_ENV]) if os.environ.get(CREDENTIALS_ENV) else None)
    if named is None:
        raise Misconfigured(f"name a file of credentials: --credentials, or {CREDENTIALS_ENV}")
    return named


async def _tried(file: Path) -> list[tuple[Way, str, str]]:
    async with _routes(file) as routes:
        asked = [way for way in routes.ways if way[1] in NOBODYS]
        pushes = [
            Push(str(uuid.uuid4()), app, provider, NOBODYS[provider], "optin", "doctor")
            for app, provider in asked
        ]
        found = dict(zip(asked, await routes.send(pushes), strict=True))
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


class Nobody:
    """Stands where a console would: what goes by no provider has no credentials."""

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:  # noqa: ARG002
        """Refuse."""
        return [NOT_CONFIGURED] * len(pushes)
