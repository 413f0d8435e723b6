"""The delivery role without credentials: what goes to the file, what waits, and what the log says."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from connectors.push.port import ACCEPTED, Outcome
from processors.settings import Settings
from processors.telemetry.telemetry import Telemetry
from processors.wiring import _push_senders
from tests.support.providers.pushes import push_to


def sent(settings: Settings, provider: str) -> Outcome:
    """What becomes of one push."""
    sender, prober = _push_senders(settings, Telemetry("delivery", settings))
    assert prober is None
    return asyncio.run(sender.send([push_to(provider, "token-1")]))[0]


def test_a_push_to_a_phone_is_not_accepted_by_a_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is refused for want of a credential, which lets it wait; the log says where pushes go."""
    settings = Settings(data=tmp_path, push_credentials=None)
    with caplog.at_level(logging.WARNING):
        assert sent(settings, "apns") == Outcome("rejected", "credential", "not_configured")

    assert settings.pushes_file.read_text() == ""
    assert "no provider is configured (OPTIN_PUSH_CREDENTIALS is unset)" in caplog.text
    assert sent(settings, "console") == ACCEPTED
    assert "console" in settings.pushes_file.read_text()


def test_a_replay_writes_all_pushes_to_the_file(tmp_path: Path) -> None:
    """By the event clock, whatever is configured: it must not reach a person."""
    settings = Settings(data=tmp_path, clock="event", push_credentials=tmp_path / "keys.yaml")

    assert sent(settings, "apns") == ACCEPTED
    assert "apns" in settings.pushes_file.read_text()
