"""Between a decision and its push: consent is looked at again, and a late no beats the earlier yes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest

from connectors.kafka.publish import FactPublisher
from ledger import facts as f
from ledger.consent import token_id
from processors.prepare import migrate_tables, publish
from processors.stack import Servers, Stack
from processors.wall_clock import wall_ms
from tests.support.given import fact
from tests.support.load import definitions
from tests.support.plain_reader import decode, read
from tests.support.replays import wait_until

SETTLE_S: Final = 60.0
PEOPLE: Final = 12


def reachable(person: str) -> list[f.SubjectFact]:
    """Somebody who may be pushed to, and has just filled a cart."""
    at = wall_ms()

    def one(kind: type[f.SubjectFact], **fields: Any) -> f.SubjectFact:
        return fact(kind, at, subject=person, event_id=f"{person}-{kind.__name__}-{at}", **fields)

    return [
        one(f.InstallationSeen, platform="ios", time_zone="Europe/Berlin"),
        one(f.PermissionGranted, level="authorized"),
        one(f.TokenRegistered, provider="console", token=f"token-{person}"),
        one(f.CartUpdated, item="boots", change="added"),
    ]


def append(bootstrap: str, facts: list[f.SubjectFact]) -> None:
    """Append facts, acknowledged."""

    async def run() -> None:
        async with FactPublisher(bootstrap) as publisher:
            await publisher.publish(facts)

    asyncio.run(run())


def on(bootstrap: str, topic: str) -> list[tuple[str, dict[str, Any]]]:
    """The facts of a topic."""
    return [decoded for record in asyncio.run(read(bootstrap, topic)) if (decoded := decode(record.value))]


def sends(bootstrap: str) -> list[str]:
    """Who is to be sent a push."""
    decisions = on(bootstrap, "optin.decisions")
    return [fields["subject"] for name, fields in decisions if fields.get("verdict") == "send"]


def outcomes(bootstrap: str) -> dict[str, str]:
    """What became of each person's push."""
    found = {}
    for name, fields in on(bootstrap, "optin.deliveries"):
        if name != "PushAttempted":
            found[fields["subject"]] = f"{name} {fields['reason']}" if "reason" in fields else name
    return found


@pytest.mark.timeout(300)
def test_what_changed_after_the_decision_stops_the_push(named_stack: Servers, tmp_path: Path) -> None:
    """Revoked, token gone, topic off, paused, suppressed, erased: withheld late, each with its reason."""
    bootstrap = named_stack.kafka_bootstrap
    rules = definitions(tmp_path / "definitions", wait="1s")
    prepare = [migrate_tables, publish(rules)]
    env = {"OPTIN_DEFINITIONS": str(rules)}
    people = [f"late-{number}" for number in range(PEOPLE)]

    with Stack(tmp_path / "journeys", roles={"journeys": 1}, env=env, prepare=prepare) as stack:
        append(bootstrap, [one for person in people for one in reachable(person)])
        stack.start_roles()
        assert wait_until(lambda: len(sends(bootstrap)) >= 9, SETTLE_S), sends(bootstrap)
    decided = sends(bootstrap)
    changes: dict[str, tuple[type[f.SubjectFact], dict[str, Any]]] = {
        "PushWithheldLate permission": (f.PermissionRevoked, {"cause": "os_settings"}),
        "PushWithheldLate token": (f.TokenInvalidated, {"reason": "gone"}),
        "PushWithheldLate topic": (f.TopicUnsubscribed, {"topic": "cart_reminders"}),
        "PushWithheldLate paused": (f.MarketingPaused, {}),
        "PushWithheldLate suppressed": (f.SubjectSuppressed, {"reason": "legal"}),
        "PushWithheldLate erased": (f.SubjectErased, {}),
    }
    wanted: dict[str, str] = dict.fromkeys(decided, "PushAccepted")
    late: list[f.SubjectFact] = []
    for person, (outcome, (kind, fields)) in zip(decided, changes.items(), strict=False):
        wanted[person] = outcome
        more = {"token_id": token_id("console", f"token-{person}")} if kind is f.TokenInvalidated else {}
        late.append(fact(kind, wall_ms(), subject=person, event_id=f"late-{person}", **fields, **more))
    append(bootstrap, late)

    with Stack(tmp_path / "delivery", roles={"delivery": 1}, env=env) as stack:
        stack.start_roles()
        wait_until(lambda: len(outcomes(bootstrap)) >= len(decided), SETTLE_S)

    assert outcomes(bootstrap) == wanted
    shown = (tmp_path / "delivery" / "pushes.jsonl").read_text().splitlines()
    assert len(shown) == len(decided) - len(changes)


@pytest.mark.timeout(300)
def test_a_push_that_comes_too_late_is_not_sent(named_stack: Servers, tmp_path: Path) -> None:
    """A delivery role that was away longer than `send_within` withholds, it does not catch up."""
    bootstrap = named_stack.kafka_bootstrap
    rules = definitions(tmp_path / "definitions", wait="1s")
    policy = rules / "policy.yaml"
    policy.write_text(policy.read_text().replace("send_within: 15m", "send_within: 1s"))
    env = {"OPTIN_DEFINITIONS": str(rules)}

    with Stack(tmp_path / "journeys", roles={"journeys": 1}, env=env, prepare=[publish(rules)]) as stack:
        append(bootstrap, [one for number in range(4) for one in reachable(f"slow-{number}")])
        stack.start_roles()
        assert wait_until(lambda: len(sends(bootstrap)) >= 3, SETTLE_S)
    decided = sends(bootstrap)
    time.sleep(1.5)
    with Stack(tmp_path / "delivery", roles={"delivery": 1}, env=env) as stack:
        stack.start_roles()
        wait_until(lambda: len(outcomes(bootstrap)) >= len(decided), SETTLE_S)

    assert Counter(outcomes(bootstrap).values()) == {"PushWithheldLate expired": len(decided)}
    pushes = tmp_path / "delivery" / "pushes.jsonl"
    assert not pushes.exists() or not pushes.read_text()
