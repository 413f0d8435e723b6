"""The command `optin push doctor` tells credentials that work from those that do not, and reaches nobody."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from connectors.errors import Misconfigured
from connectors.push.port import ACCEPTED, Outcome
from processors.commands.push import NOBODYS, _tried, doctor, verdict
from processors.stack import CREDENTIALS_ENV
from tests.support.providers.apns_mock import ApnsMock, write_keys
from tests.support.providers.fcm_fake import FcmFake
from tests.support.providers.push_service import keys


def tried(file: Path) -> dict[tuple[str, str], str]:
    """What the doctor says of each way."""
    return {way: state for way, state, _ in asyncio.run(_tried(file))}


def test_keys_that_work_are_told_from_keys_that_do_not(apns: ApnsMock, tmp_path: Path) -> None:
    """Ours, by which a token of nobody is refused; then those of another team.

    The mock looks at tokens first, where Apple looks at the key: it knows no foreign token the second time.
    """
    file = tmp_path / "credentials.yaml"
    file.write_text(apns.credentials("shop"))
    apns.tell("foreign", NOBODYS["apns"])
    assert tried(file) == {("shop", "apns"): "ok"}

    apns.tell("reset")
    write_keys(tmp_path / "other")
    file.write_text(apns.credentials("shop").replace(str(apns.folder / "apns_key.p8"), "other/apns_key.p8"))
    assert tried(file) == {("shop", "apns"): "PROBLEM"}
    assert "accepted" not in apns.counts()


def test_a_project_is_asked_and_a_key_of_web_push_is_read(tmp_path: Path) -> None:
    """FCM refuses the token of nobody; push services are not called."""

    async def found() -> dict[tuple[str, str], str]:
        async with FcmFake() as fake:
            fake.dead[NOBODYS["fcm"]] = "INVALID_ARGUMENT"
            (tmp_path / "vapid.pem").write_text(keys()[0])
            (tmp_path / "account.json").write_text(json.dumps(fake.account()))
            file = tmp_path / "credentials.yaml"
            file.write_text(
                "apps: {web: {web_push: {key_file: vapid.pem, contact: 'mailto:a@shop.de'},"
                f" fcm: {{account_file: account.json, server: '{fake.server}'}}}}}}\n"
            )
            return {way: state for way, state, _ in await _tried(file)}

    assert asyncio.run(found()) == {("web", "fcm"): "ok", ("web", "web_push"): "ok"}


@pytest.mark.parametrize(
    ("outcome", "state", "words"),
    [
        (Outcome("rejected", "credential", "BadDeviceToken"), "ok", "credential is taken"),
        (Outcome("rejected", "credential", "InvalidProviderToken"), "PROBLEM", "refuses the credential"),
        (Outcome("rejected", "transient", "unreachable: TimeoutError"), "PROBLEM", "is the network open"),
        (Outcome("unknown", error="timeout"), "PROBLEM", "no answer: timeout"),
        (ACCEPTED, "PROBLEM", "is this the provider"),
        (None, "ok", "signs"),
    ],
)
def test_an_answer_is_put_into_words(outcome: Outcome | None, state: str, words: str) -> None:
    """With what to do about it."""
    found = verdict(outcome)
    assert found[0] == state
    assert words in found[1]


def test_without_a_file_it_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the option or the variable."""
    monkeypatch.delenv(CREDENTIALS_ENV, raising=False)
    with pytest.raises(Misconfigured, match=CREDENTIALS_ENV):
        doctor(None)
