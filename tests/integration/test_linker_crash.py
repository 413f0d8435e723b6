"""A worker killed between an acknowledged unlink and its link leaves a gap, and the next one closes it."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from connectors.kafka.publish import FactPublisher
from ledger import facts as f
from processors.prepare import publish
from processors.stack import Servers, Stack
from processors.wall_clock import wall_ms
from tests.support import link_oracle
from tests.support.link_oracle import LINK, UNLINK
from tests.support.oracle import objections
from tests.support.replays import wait_until

SETTLE_S: Final = 90.0
PHONES: Final = 40


def claims() -> list[f.Fact]:
    """Each phone is one person's, then another's, then nobody's or the first one's again."""
    found: list[f.Fact] = []
    for step, who in enumerate(("first", "second", None)):
        for number in range(PHONES):
            again = f"first-{number}" if who is None and number % 2 else None
            found.append(
                f.InstallationClaimed(
                    event_id=f"claim-{number}-{step}",
                    app="shop",
                    occurred_at=wall_ms(),
                    source="device",
                    installation=f"phone-{number}",
                    subject=f"{who}-{number}" if who else again,
                )
            )
    return found


@pytest.mark.timeout(300)
def test_a_kill_between_unlink_and_link_repeats_the_same_facts(named_stack: Servers, tmp_path: Path) -> None:
    """The facts appear again under the same ids, each fold is right, and nobody overlaps at any moment."""
    bootstrap, marker = named_stack.kafka_bootstrap, tmp_path / "died"

    async def append() -> None:
        async with FactPublisher(bootstrap) as publisher:
            await publisher.publish(claims())

    def links() -> list[link_oracle.Told]:
        told = asyncio.run(link_oracle.told_on(bootstrap, "optin.permissions"))
        return [one for one in told if one[0] in {LINK, UNLINK}]

    def command(role: str) -> list[str]:
        return [sys.executable, "-m", "tests.support.dying_linker", str(marker), role]

    asyncio.run(append())
    with Stack(tmp_path, roles={"journeys": 1}, prepare=[publish(None)], command=command) as stack:
        stack.start_roles()
        assert wait_until(lambda: not asyncio.run(link_oracle.objections(bootstrap, 1)), SETTLE_S)
        (restarts,) = [part.restarts for part in stack.statuses() if part.name == "journeys-0"]

        def folded() -> bool:
            return not [w for w in asyncio.run(objections(bootstrap)) if "is not the fold" in w]

        assert wait_until(folded, SETTLE_S)

    assert marker.exists()
    assert restarts == 1
    copies = Counter((fields["claim"], name) for name, fields, _ in links())
    assert len(copies) == PHONES + 2 * PHONES + PHONES + PHONES // 2
    doubled = {name for (_, name), number in copies.items() if number > 1}
    assert UNLINK in doubled
    assert LINK not in doubled
