"""Five hours without the provider: nothing leaves late, nothing transactional is lost, nothing is doubled."""

from __future__ import annotations

import os
from typing import Final

import pytest

from tests.simulation.outages import SEEDS, outage, run_outage

LONG: Final = os.environ.get("OPTIN_TEST_LONG") == "1"


@pytest.mark.parametrize("seed", range(20 * SEEDS if LONG else SEEDS))
def test_a_provider_comes_back(seed: int) -> None:
    """What left did so before its end and by day; a reminder is at most its limit behind the purchase."""
    mine = outage(seed)
    found = run_outage(mine)

    assert found.objections == []
    assert found.counts["transactional PushAccepted"] >= 30
    assert found.counts["marketing PushAccepted"] >= 10
    print(f"longest purchase-to-send span {found.purchase_to_send_s:,.0f} s of {mine.send_within_s:,.0f} s")
    assert found.purchase_to_send_s <= mine.send_within_s
    assert mine.outage is not None
    if mine.outage.how != "mute":
        assert found.counts["marketing taken again"] == 0
    if mine.outage.how == "refuses" and mine.send_within_s > 3_600:
        assert found.counts["marketing after the outage"] > 0
        assert found.purchase_to_send_s > 3_600
