"""Credentials as files: each push goes by its app's own keys, which may be replaced while we run."""

from __future__ import annotations

import asyncio
import json
import math
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import pytest

from connectors.errors import Misconfigured
from connectors.push import routes
from connectors.push.credentials import read_credentials
from connectors.push.port import ACCEPTED, LEASE_OVER, Outcome, Push
from connectors.push.routes import Routes
from processors.wall_clock import wall_ms
from tests.support.providers.apns_mock import write_keys
from tests.support.providers.fcm_fake import FcmFake
from tests.support.providers.push_service import Service, keys, subscription
from tests.support.providers.pushes import push_to


class Console:
    """Accepts everything."""

    def __init__(self) -> None:
        self.got: list[Push] = []

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:  # noqa: ARG002
        """Accept."""
        self.got += pushes
        return [ACCEPTED] * len(pushes)


def credentials(folder: Path, fake: FcmFake, *apps: str) -> Path:
    """A file with FCM's credentials of some apps."""
    (folder / "account.json").write_text(json.dumps(fake.account()))
    file = folder / "credentials.yaml"
    parts = [f"  {app}: {{fcm: {{account_file: account.json, server: '{fake.server}'}}}}" for app in apps]
    file.write_text("apps:\n" + "\n".join(parts) + "\n")
    return file


def to(app: str, provider: str = "fcm") -> Push:
    """A push of an app by a provider."""
    return push_to(provider, "token-1", app=app)


def test_each_push_goes_its_way(tmp_path: Path) -> None:
    """In one set: a configured app, the console, and one that nobody gave keys for."""
    console = Console()

    async def outcomes() -> list[Outcome]:
        async with FcmFake() as fake:
            made = Routes(credentials(tmp_path, fake, "shop"), console, wall_ms)
            try:
                return await made.send([to("other"), to("shop"), to("any", "console"), to("shop", "apns")])
            finally:
                await made.close()

    other, shop, any_app, without_keys = asyncio.run(outcomes())

    assert (shop, any_app) == (ACCEPTED, ACCEPTED)
    assert other == without_keys == Outcome("rejected", "credential", "not_configured")
    assert [one.app for one in console.got] == ["any"]


def test_without_a_file_only_the_console_takes_pushes() -> None:
    """Nobody asked a provider, so nothing may say that one accepted."""
    console = Console()
    made = Routes(None, console, wall_ms)

    outcomes = asyncio.run(made.send([to("shop", one) for one in ("apns", "fcm", "web_push", "console")]))

    assert outcomes == [*[Outcome("rejected", "credential", "not_configured")] * 3, ACCEPTED]
    assert [one.provider for one in console.got] == ["console"]


def test_changed_keys_are_taken_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a file that has become wrong changes nothing."""
    monkeypatch.setattr(routes, "RELOAD_S", 0.0)

    async def kinds() -> list[str]:
        async with FcmFake() as fake:
            file = credentials(tmp_path, fake, "shop")
            made = Routes(file, Console(), wall_ms)
            found: list[str] = []
            try:
                found.append((await made.send([to("second")]))[0].kind)
                credentials(tmp_path, fake, "shop", "second")
                found.append((await made.send([to("second")]))[0].kind)
                file.write_text("apps: {shop: {fcm: {}}}")
                found.append((await made.send([to("second")]))[0].kind)
                monkeypatch.setattr(routes, "_close_later", None)
                return found
            finally:
                for task in made._closing:
                    task.cancel()
                await asyncio.gather(*made._closing, return_exceptions=True)
                await made.close()

    assert asyncio.run(kinds()) == ["rejected", "accepted", "accepted"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("apps: {}", "apps: Dictionary should have at least 1 item"),
        ("apps: {shop: {apns: {key_file: k.p8}}}", r"apps.shop.apns.key_id: Field required"),
        ("apps: {shop: {gcm: {}}}", "apps.shop has a field that is not known; did you mean fcm"),
        (
            "apps: {shop: {apns: {key: k}}}",
            "apps.shop.apns has a field that is not known; did you mean key_id",
        ),
        ("app: {}", "the file has a field that is not known; did you mean apps"),
        ("apps: [", "credentials.yaml, line 1: it is no YAML"),
        ("", "the file: Input should be"),
        ("apps: {shop: {rate: lots}}", "apps.shop.rate: Input should be a valid number"),
        (
            "apps: {shop: {fcm: {account_file: gone.json}}}",
            "apps.shop.fcm.account_file names a file that can't be read: No such file",
        ),
        (
            "apps: {shop: {apns: {key_file: k, key_id: K, team_id: T, topic: t, server: 'localhost:http'}}}",
            "apps.shop.apns.server: String should match",
        ),
        (
            "apps: {shop: {apns: {key_file: apns_key.p8, key_id: K, team_id: T, topic: t, trust: gone}}}",
            "apps.shop.apns.trust names no readable certificates",
        ),
        ("apps: {shop: {fcm: {account_file: apns_key.p8}}}", "is not the JSON key file"),
        (
            "apps: {shop: {web_push: {key_file: cert.pem, contact: 'mailto:a@shop.de'}}}",
            "private key of Web Push can't be read",
        ),
        (
            "apps: {shop: {apns: {key_file: cert.pem, key_id: K, team_id: T, topic: t}}}",
            "the APNs key can't sign",
        ),
    ],
)
def test_wrong_credentials_are_named_before_anything_is_sent(tmp_path: Path, text: str, words: str) -> None:
    """By file, field and what to do; a key's own text is not among the words."""
    write_keys(tmp_path)
    file = tmp_path / "credentials.yaml"
    file.write_text(text)

    with pytest.raises(Misconfigured, match=words) as caught:
        Routes(file, Console(), wall_ms)
    assert "PRIVATE KEY" not in str(caught.value)


def test_what_one_push_service_says_of_our_key_holds_for_no_other(tmp_path: Path) -> None:
    """That it refuses all pauses and kills nothing of others, and none of its own."""
    private, _ = keys()
    (tmp_path / "vapid.pem").write_text(private)
    file = tmp_path / "credentials.yaml"

    async def outcomes() -> list[list[Outcome]]:
        refusing, good = Service(403), Service(201)
        async with refusing.running() as there, good.running() as here:
            file.write_text(
                "apps: {shop: {web_push: {key_file: vapid.pem, contact: 'mailto:a@shop.de',"
                f" services: ['{there}', '{here}']}}}}}}"
            )
            made = Routes(file, Console(), wall_ms)
            try:
                theirs = [push_to("web_push", subscription(there, number)) for number in range(60)]
                found = []
                for number in range(4):
                    found.append(await made.send([push_to("web_push", subscription(here, number))]))
                    found.append(await made.send(theirs))
                assert made.paused_s("web_push") > 50
                found.append(await made.send([push_to("web_push", subscription(here, 9))]))
                return found
            finally:
                await made.close()

    found = asyncio.run(outcomes())

    assert {str(one) for one in (*found[0], *found[2], *found[4], *found[6], *found[8])} == {"accepted"}
    assert {one.error_class for one in found[1]} <= {"credential", "transient"}
    assert "token_dead" not in {one.error_class for some in found for one in some}


SECRET = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg"
"""What a private key looks like, in a place where it does not belong."""
LEAKS = {
    "an indent": f"apps:\n  shop:\n    apns: {{key_file: k.p8}}\n   web_push: {SECRET}\n",
    "a tab": f"apps:\n\tshop: {SECRET}\n",
    "a quote": f'apps:\n  shop: "{SECRET}\n',
    "a colon": f"apps:\n  shop: {SECRET}: {SECRET}\n",
    "an alias": f"apps: *{SECRET}\n",
    "a tag": f"apps: !{SECRET} x\n",
    "a control character": f"apps: {SECRET}\x01\n",
    "a key in place of a group": f"apps: {{shop: {{apns: {SECRET}}}}}",
    "a key in place of a name": f"apps: {{shop: {{apns: {{{SECRET}: x}}}}}}",
    "a key in place of an app": f"apps: {{{SECRET}: x}}",
    "a key in place of its file": f"apps: {{shop: {{fcm: {{account_file: {SECRET}}}}}}}",
    "a key in place of its file, in lines": f"apps:\n shop:\n  fcm:\n   account_file: |\n    {SECRET}\n"
    f"    {SECRET * 8}\n",
    "a name of no file": f'apps: {{shop: {{fcm: {{account_file: "{SECRET}\\0"}}}}}}',
    "a key in place of a number": f"apps: {{shop: {{rate: {SECRET}}}}}",
    "a key in place of a server": f"apps: {{shop: {{apns: {{key_file: k, key_id: k, team_id: t, topic: t,"
    f" server: {SECRET}}}}}}}",
    "a key in place of the contact": f"apps: {{shop: {{web_push: {{key_file: k.pem, contact: {SECRET}}}}}}}",
    "no end of groups": "{a: " * 2_000 + SECRET,
}


@pytest.mark.parametrize("kind", LEAKS)
def test_no_message_shows_a_line_or_a_value_of_the_file(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither at the start, with all that a traceback would print, nor in the log after a change."""
    write_keys(tmp_path)
    file = tmp_path / "credentials.yaml"
    file.write_text(LEAKS[kind])

    with pytest.raises(Misconfigured) as caught:
        Routes(file, Console(), wall_ms)

    whole = "".join(traceback.format_exception(caught.value))
    assert SECRET not in whole.replace("\n", "")
    assert "\n" not in str(caught.value)
    file.write_text("apps: {shop: {rate: 5}}")
    made = Routes(file, Console(), wall_ms)
    file.write_text(LEAKS[kind])
    asyncio.run(made.send([]))
    assert "the old ones stay" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("key_id", ["2024-01-01", "2024-13-45", "1234567890", "12E4567890", "0123456789"])
def test_a_key_id_that_looks_like_something_else_is_a_text(tmp_path: Path, key_id: str) -> None:
    """Also without quotes: YAML would make a date or a number of it, or fail over it."""
    file = tmp_path / "credentials.yaml"
    file.write_text(
        f"apps: {{shop: {{apns: {{key_file: k, key_id: {key_id}, team_id: {key_id}, topic: t, sandbox: on}},"
        " fcm: null, rate: 2e3}}"
    )

    app = read_credentials(file).apps["shop"]

    assert app.apns is not None
    assert (app.apns.key_id, app.apns.team_id, app.apns.sandbox) == (key_id, key_id, True)
    assert (app.fcm, app.rate) == (None, 2_000.0)


def test_probes_go_no_faster_than_their_own_rate(tmp_path: Path) -> None:
    """An app may push 2,000 times a second; 100 probes at five a second are not all begun in a second."""

    async def outcomes() -> tuple[list[Outcome], int]:
        async with FcmFake() as fake:
            made = Routes(credentials(tmp_path, fake, "shop"), Console(), wall_ms, rate_max=5.0)
            try:
                probes = [push_to("fcm", f"token-{number}", background=True) for number in range(100)]
                found = await made.send(probes, until_s=time.monotonic() + 1.0)
                return found, len(fake.accepted)
            finally:
                await made.close()

    found, asked = asyncio.run(outcomes())

    assert asked == found.count(ACCEPTED)
    assert 1 <= asked <= 10
    assert found.count(LEASE_OVER) == 100 - asked
