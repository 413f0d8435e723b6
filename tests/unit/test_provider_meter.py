"""What is measured of a provider: its answers by class, how long they took, and its pauses."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path

from connectors.push.pace import Pace
from connectors.push.paced import PacedSender
from connectors.push.port import ACCEPTED, LEASE_OVER, Outcome, Push
from connectors.push.routes import Routes
from processors.commands.push import Nobody
from processors.telemetry import catalogue as c
from processors.telemetry.exposition import Exposition
from processors.telemetry.provider_meter import hearer, watch_pauses
from processors.wall_clock import wall_ms
from tests.support.providers.fcm_fake import FcmFake
from tests.support.providers.pushes import fcm_push


class Answers:
    """Gives these outcomes."""

    def __init__(self, *outcomes: Outcome) -> None:
        self._outcomes = list(outcomes)

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:  # noqa: ARG002
        """One each."""
        return [self._outcomes.pop(0) for _ in pushes]


def test_answers_are_counted_by_class() -> None:
    """What was not asked for is no answer."""
    meters = Exposition("delivery", c.CATALOGUE)
    gone = Outcome("rejected", "token_dead", "Unregistered")
    answers = Answers(ACCEPTED, ACCEPTED, gone, Outcome("unknown", error="timeout"), LEASE_OVER)
    paced = PacedSender(answers, Pace(1e6), hearer(meters, "apns"))

    asyncio.run(paced.send([fcm_push(number) for number in range(5)]))

    page = meters.text().decode()
    for answer, count in {"accepted": 2, "token_dead": 1, "unknown": 1, "transient": 0}.items():
        labels = f'{{answer="{answer}",provider="apns",role="delivery"}}'
        assert f"optin_provider_answers_total{labels} {count:.1f}" in page
    assert 'optin_provider_answer_seconds_count{provider="apns",role="delivery"} 1.0' in page


def test_a_pause_is_told_while_it_lasts(tmp_path: Path) -> None:
    """Of the provider that asked for it, and of no other."""
    meters = Exposition("delivery", c.CATALOGUE)

    async def refused() -> None:
        async with FcmFake() as fake:
            (tmp_path / "account.json").write_text(json.dumps(fake.account()))
            file = tmp_path / "credentials.yaml"
            file.write_text(
                f"apps: {{shop: {{fcm: {{account_file: account.json, server: '{fake.server}'}}}}}}\n"
            )
            routes = Routes(file, Nobody(), wall_ms, lambda provider: hearer(meters, provider))
            watch_pauses(meters, routes)
            assert routes.paused_s("fcm") == 0
            fake.refusals.append(("QUOTA_EXCEEDED", "30", ""))
            await routes.send([fcm_push()])
            assert 25 < routes.paused_s("fcm") <= 30
            assert routes.paused_s("apns") == 0
            await routes.close()

    asyncio.run(refused())

    page = meters.text().decode()
    assert 'optin_provider_pause_seconds{provider="apns",role="delivery"} 0.0' in page
    assert 'optin_provider_pause_seconds{provider="fcm",role="delivery"} 0.0' not in page
    assert 'answer="transient",provider="fcm",role="delivery"} 1.0' in page
