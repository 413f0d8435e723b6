"""Revocations race pushes to APNs, FCM and browsers, while workers are killed and frozen and providers fail.

The short form of `make race`: judged by the time at which the provider got each push.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from processors.benchmarks.latency import percentiles
from tests.chaos.providers import Providers
from tests.chaos.report import lines
from tests.chaos.run import run
from tests.chaos.system import CALL_S, LEASE_S
from tests.support.providers.part import or_skip

LONG = os.environ.get("OPTIN_TEST_LONG") == "1"
SEED = int(os.environ.get("OPTIN_TEST_CHAOS_SEED") or time.time())
COUNTS = {"kill": 6, "kill_open": 3, "freeze_at": 12, "freeze": 3} if LONG else {"kill": 1, "freeze_at": 2}
LAST_S = 420.0 if LONG else 6.0
RATE = 350.0 if LONG else 200.0
ACCEPTED_MIN = 0.95 if LONG else 0.8
"""A reset leaves what is on its way unknown; in a short run a few of them are much of it."""
PUSHES_MIN = 20_000 if LONG else 500


@pytest.mark.stack
@pytest.mark.timeout(1_500)
def test_no_push_outruns_a_revocation(tmp_path: Path) -> None:
    """None later than its acknowledgement, a lease and a call; none twice; none that was due is lost."""
    print(f"OPTIN_TEST_CHAOS_SEED={SEED}")
    with or_skip(Providers(tmp_path / "providers")) as providers:
        finding = run(
            tmp_path / "system",
            name="race",
            nodes=1,
            seed=SEED,
            counts=COUNTS,
            last_s=LAST_S,
            rate=RATE,
            hits_min=1 if LONG else 0,
            progress=print,
            providers=providers,
        )
        counts = providers.counts()
    print("\n".join(lines(finding)))
    print(f"providers: {dict(counts)}")
    eligible = finding.counts["decided: send"] - finding.counts["PushWithheldLate"]
    accepted = finding.counts["pushes shown"]
    after_s = [ms / 1_000 for ms in finding.sent_after_ms]
    print(
        f"{finding.counts['revocations']} revocations, {len(after_s)} pushes came after one:"
        f" {percentiles(after_s) if after_s else 'none'};"
        f" allowed are a lease of {LEASE_S:g} s and a call of {CALL_S:g} s"
    )
    print(f"{accepted} of {eligible} eligible pushes reached their provider, {accepted / eligible:.2%}")

    assert finding.objections == []
    assert finding.void == []
    assert eligible >= PUSHES_MIN
    assert accepted >= ACCEPTED_MIN * eligible
