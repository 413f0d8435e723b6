"""What the topics say about one subject, or about all of one partition: for `explain` and `verify`."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from connectors import codec
from connectors.kafka.read import read_topic
from connectors.kafka.topics import partition_count
from connectors.placement import partition_of
from ledger import facts as f
from ledger import subject as rows
from ledger.subject import Subject
from ledger.verify import LedgerFact
from processors.agents import intake
from processors.agents.intake import Accepted
from processors.registry_framing import writer_schemas
from processors.settings import read_settings
from processors.topic_names import DECISIONS, DELIVERIES, JOURNEYS_CHANGELOG, PERMISSIONS, TOKENS

FAMILIES: Final = {PERMISSIONS: "permissions", TOKENS: "tokens"}


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """All that is recorded of one subject, each list in the order of its topic."""

    ledger: list[LedgerFact]
    row: Subject | None
    journeys: list[f.JourneyStarted | f.JourneyEnded]
    decisions: list[f.PushDecided]
    deliveries: list[f.DeliveryFact]

    @property
    def known(self) -> bool:
        """Whether anything at all is recorded."""
        return bool(self.ledger or self.row or self.decisions)


async def history_of(bootstrap: str, subject: str) -> History:
    """Read one subject's partition of every topic; as long as that partition. Raises `Transient`."""
    key = subject.encode()
    partition = partition_of(key, await partition_count(bootstrap, PERMISSIONS))
    ledger = [fact for fact in await ledger_of(bootstrap, partition) if fact[0].subject == subject]
    ledger.sort(key=lambda fact: (fact[3], fact[2]))
    row: Subject | None = None
    for record in await _records(bootstrap, JOURNEYS_CHANGELOG, partition, key):
        row = None if record.value is None else rows.decode(record.value)
    journeys: list[f.JourneyStarted | f.JourneyEnded] = []
    decisions: list[f.PushDecided] = []
    for record in await _records(bootstrap, DECISIONS, partition, key):
        match codec.decode(record.value):
            case f.PushDecided() as decided:
                decisions.append(decided)
            case f.JourneyStarted() | f.JourneyEnded() as journey:
                journeys.append(journey)
            case _:
                pass
    deliveries = [
        fact
        for record in await _records(bootstrap, DELIVERIES, partition, key)
        if isinstance(fact := codec.decode(record.value), f.DeliveryFact)
    ]
    return History(ledger, row, journeys, decisions, deliveries)


async def ledger_of(bootstrap: str, partition: int) -> list[LedgerFact]:
    """All accepted facts of permissions and tokens of one partition. Raises `Transient`."""
    schemas = writer_schemas(read_settings())
    found: list[LedgerFact] = []
    for topic, family in FAMILIES.items():
        async for records in read_topic(bootstrap, topic, [partition]):
            if schemas is not None:
                await schemas.look_up(records)
            for record in records:
                _, item = intake.read(record)
                if isinstance(item, Accepted):
                    found.append((item.fact, family, record.offset, item.appended_ms))
    return found


async def decisions_of(bootstrap: str, partition: int) -> list[f.PushDecided]:
    """All decisions of one partition, holds included."""
    found: list[f.PushDecided] = []
    async for records in read_topic(bootstrap, DECISIONS, [partition]):
        facts = (codec.decode(record.value) for record in records)
        found += [fact for fact in facts if isinstance(fact, f.PushDecided)]
    return found


async def _records(bootstrap: str, topic: str, partition: int, key: bytes) -> list[Any]:
    found: list[Any] = []
    async for records in read_topic(bootstrap, topic, [partition]):
        found += [record for record in records if record.key == key]
    return found
