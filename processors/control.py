"""Speaking to the owners of all partitions: facts on control, a copy in each, and answers on replies."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Container, Sequence
from typing import Any, Final, TypeVar

from connectors import codec
from connectors.errors import Transient
from connectors.kafka.append import Addressed, Appender
from connectors.kafka.read import read_topic
from connectors.kafka.topics import partition_count
from ledger import facts as f
from processors.agents.intake import FIRST_APPENDED_HEADER
from processors.readable import facts_of
from processors.topic_names import CONTROL, REPLIES
from processors.wall_clock import wall_ms

ANSWER_S_MAX: Final = 60.0
POLL_S: Final = 0.3

Reply = TypeVar("Reply", bound=f.ReplyFact)


def envelope(**fields: Any) -> dict[str, Any]:
    """The fields that every control fact of an operator carries."""
    return {
        "event_id": str(uuid.uuid4()),
        "app": "optin",
        "occurred_at": wall_ms(),
        "source": "server:optin",
        **fields,
    }


async def tell(bootstrap: str, fact: f.ControlFact) -> None:
    """Append a copy of the fact to every partition of control, acknowledged. Raises `Transient`.

    Broken off in between, some partitions have it: telling the same again is harmless.
    """
    value = codec.encode(fact)
    appender = Appender(bootstrap, FIRST_APPENDED_HEADER)
    try:
        numbers = range(await partition_count(bootstrap, CONTROL))
        await appender.append_all([Addressed(CONTROL, number, None, value) for number in numbers])
    finally:
        await appender.close()


async def ask(
    bootstrap: str, fact: f.AudienceAsked | f.CampaignsAsked, kind: type[Reply], *, settle_s: float = 0.0
) -> list[Reply]:
    """Ask every partition and wait for the answers: one of each partition, or whatever came in `settle_s`.

    Raises `Transient` when a partition does not answer in `ANSWER_S_MAX`.
    """
    count = await partition_count(bootstrap, REPLIES)
    ends = await _ends(bootstrap, count)
    await tell(bootstrap, fact)
    deadline = time.monotonic() + (settle_s or ANSWER_S_MAX)
    found: dict[str, Reply] = {}
    while True:
        async for records in read_topic(bootstrap, REPLIES, from_offsets=ends):
            for _, reply in facts_of(records):
                if isinstance(reply, kind) and reply.request == fact.request:
                    found[reply.event_id] = reply
        missing = set(range(count)) - {reply.partition for reply in found.values()}
        if not missing or (settle_s and time.monotonic() > deadline):
            return list(found.values())
        if time.monotonic() > deadline:
            listed = ", ".join(map(str, sorted(missing)))
            raise Transient(
                f"nobody answered for the partitions {listed} in {ANSWER_S_MAX:.0f} s: is the journeys role"
                " up? (optin status)"
            )
        await asyncio.sleep(POLL_S)


async def _ends(bootstrap: str, count: int) -> dict[int, int]:
    from processors.lane.changelog import Watermarks

    watermarks = Watermarks(bootstrap)
    try:
        ends = await watermarks.ends((REPLIES, number) for number in range(count))
    finally:
        await watermarks.stop()
    return {number: ends[REPLIES, number] for number in range(count)}


async def told(bootstrap: str) -> list[list[f.ControlFact]]:
    """All that control holds, for each partition in its order."""
    count = await partition_count(bootstrap, CONTROL)
    found: list[list[f.ControlFact]] = [[] for _ in range(count)]
    async for records in read_topic(bootstrap, CONTROL):
        for record, fact in facts_of(records):
            if isinstance(fact, f.ControlFact):
                found[record.partition].append(fact)
    return found


def activations(
    partition: Sequence[f.ControlFact], published: Container[str]
) -> list[f.DefinitionsActivated]:
    """What was put in force in a partition, in its order; what cites something unpublished never was."""
    return [
        fact
        for fact in partition
        if isinstance(fact, f.DefinitionsActivated)
        and all(version in published for version in (fact.policy_version, *fact.journey_versions))
    ]
