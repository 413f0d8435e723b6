"""The command `optin push doctor` tells a credential that works from one that does not, and reaches nobody."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from connectors.errors import Misconfigured
from connectors.push.port import ACCEPTED, Outcome
from processors.commands.push import FILE_ENV, NOBODYS, _tried, doctor, verdict
from tests.providers.test_web_push import keys
from tests.support.providers.apns_mock import ApnsMock, write_keys
from tests.support.providers.fcm_fake import FcmFake


def test_each_way_is_tried(apns: ApnsMock, tmp_path: Path) -> None:
    """Good keys, keys of another team, a project that refuses, and one that only signs."""
    write_keys(tmp_path / "other")
    apns.tell("bad", NOBODYS["apns"])
    (tmp_path / "vapid.pem").write_text(keys()[0])
    good = apns.credentials("good")
    wrong = good.replace("good:", "wrong:").replace(str(apns.folder / "apns_key.p8"), "other/apns_key.p8")

    async def found() -> dict[tuple[str, str], str]:
        async with FcmFake() as fake:
            fake.dead["optin-doctor-nobodys-token"] = "INVALID_ARGUMENT"
            (tmp_path / "account.json").write_text(json.dumps(fake.account()))
            file = tmp_path / "credentials.yaml"
            file.write_text(
                good
                + wrong.split("apps:\n")[1].split("timeout_s")[0]
                + f"  web: {{web_push: {{key_file: vapid.pem, contact: 'mailto:a@shop.example'}},"
                f" fcm: {{account_file: account.json, server: '{fake.server}'}}}}\n"
            )
            text = file.read_text()
            limit = text[text.index("timeout_s") : text.index("\n", text.index("timeout_s")) + 1]
            file.write_text(text.replace(limit, "") + limit)
            return {way: state for way, state, _ in await _tried(file)}

    assert asyncio.run(found()) == {
        ("good", "apns"): "ok",
        ("wrong", "apns"): "PROBLEM",
        ("web", "fcm"): "ok",
        ("web", "web_push"): "ok",
    }
    assert "accepted" not in apns.counts()


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
    monkeypatch.delenv(FILE_ENV, raising=False)
    with pytest.raises(Misconfigured, match=FILE_ENV):
        doctor(None)
