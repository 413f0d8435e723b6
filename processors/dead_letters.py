"""Dead letters as an operator sees them: what was refused and why, and what was done about it.

The topic is the state: a letter is open until a `DeadLetterSettled` names it. Replaying appends the record's
bytes again where they belong, with their first append kept, and settles the letter afterwards; a crash in
between leaves it open, and replaying it once more folds nothing twice. A record of permissions keeps
marketing away from its subject (`ledger.unreadable`): that is settled on the subject's own partition, after
the record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Final, Self

from connectors import codec
from connectors.errors import Misconfigured
from connectors.kafka.append import Appender
from connectors.kafka.read import read_topic
from connectors.kafka.topics import partition_count
from connectors.placement import partition_of
from ledger.admission import subject_of
from ledger.facts import DeadLetterSettled, RecordDeadLettered, UnreadableFactSettled
from ledger.failed_steps import ALL
from ledger.ids import derived
from ledger.unreadable import NO_OFFSET
from processors.agents import intake
from processors.agents.failed_steps import FAILED
from processors.readable import facts_of
from processors.registry_framing import writer_schemas
from processors.settings import read_settings
from processors.topic_names import (
    ACTIVITY,
    DEAD_LETTERS,
    DECISIONS,
    DELIVERIES,
    ITEM_CHANGES,
    JOURNEYS_CHANGELOG,
    PERMISSIONS,
    TOKENS,
)
from processors.wall_clock import wall_ms

OPEN: Final = "open"
MARKING: Final = frozenset(
    {PERMISSIONS, TOKENS, ACTIVITY, DELIVERIES, ITEM_CHANGES, DECISIONS, JOURNEYS_CHANGELOG}
)
"""Topics whose key is a subject's: a failed step over one of their records, or of a row's timer, marks it."""
SHORT: Final = 8
"""Characters of an id that are shown; any unambiguous beginning names a letter."""


@dataclasses.dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, the partition it stands on, and its state: open, replayed or dismissed."""

    fact: RecordDeadLettered
    partition: int
    state: str

    @property
    def cut(self) -> bool:
        """Whether the letter keeps only the beginning of its record."""
        return len(self.fact.value or b"") >= intake.LETTER_VALUE_BYTES_MAX

    @property
    def of_timer(self) -> bool:
        """Whether it is the letter of a timer's step, which has no record (`agents.failed_steps`)."""
        return self.fact.offset == NO_OFFSET

    def refused_again(self) -> str | None:
        """Why it can't be replayed now, or None: the reader may have learnt something since."""
        if self.of_timer:
            return None
        if self.fact.topic == DECISIONS:
            return "its pushes have their outcomes already: dismiss it"
        first = str(max(self.fact.appended_at, 0)).encode()
        record = SimpleNamespace(
            topic=self.fact.topic,
            key=self.fact.key,
            value=self.fact.value,
            headers=((intake.FIRST_APPENDED_HEADER, first),),
            timestamp=wall_ms(),
        )
        found = intake.checked(record, intake.kind_on(self.fact.topic))
        return found.reason if isinstance(found, intake.Refused) else None


async def read_letters(bootstrap: str) -> list[Letter]:
    """All kept letters, the oldest first, ready to be asked `refused_again`. Raises `Transient`."""
    letters: dict[str, tuple[RecordDeadLettered, int]] = {}  # of one that is there twice, the last
    settled: dict[str, str] = {}
    async for records in read_topic(bootstrap, DEAD_LETTERS):
        for record, fact in facts_of(records):
            match fact:
                case RecordDeadLettered() as letter:
                    letters[letter.event_id] = letter, record.partition
                case DeadLetterSettled(letter=name, outcome=outcome):
                    settled[name] = outcome
                case _:
                    pass
    schemas = writer_schemas(read_settings())
    if schemas is not None:
        await schemas.look_up(letter for letter, _ in letters.values() if letter.value is not None)
    found = sorted(
        letters.values(), key=lambda entry: (entry[0].appended_at, entry[0].topic, entry[0].offset)
    )
    return [Letter(fact, partition, settled.get(fact.event_id, OPEN)) for fact, partition in found]


def chosen(letters: Iterable[Letter], ids: Sequence[str], reason: str | None) -> list[Letter]:
    """The open letters that ids (or their beginnings), or a reason, name.

    Raises `Misconfigured` for an id that names none or several, and when nothing was named at all.
    """
    if not ids and reason is None:
        raise Misconfigured("name letters by their ids, or all of a kind with --reason")
    everything = list(letters)
    if not ids:
        return [letter for letter in everything if letter.state == OPEN and letter.fact.reason == reason]
    found = []
    for name in ids:
        matching = [letter for letter in everything if letter.fact.event_id.startswith(name)]
        if len(matching) != 1:
            raise Misconfigured(f"{name} names {len(matching)} letters; `optin dead-letters list` shows them")
        found += matching
    return found


class Settling:
    """Replays and dismisses letters; use as an async context manager."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._appender = Appender(bootstrap, intake.FIRST_APPENDED_HEADER)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._appender.close()

    async def replay(self, letter: Letter) -> None:
        """Append the record where it belongs, then settle the letter. Raises `Transient`.

        A timer's letter has no record: settled, its timer fires again.
        """
        fact = letter.fact
        if not letter.of_timer:
            home = await self._home(letter)
            await self._appender.append(fact.topic, home, fact.key, fact.value, max(fact.appended_at, 0))
        await self._settle(letter, "replayed")

    async def dismiss(self, letter: Letter) -> None:
        """Settle the letter without its record. Raises `Transient`."""
        await self._settle(letter, "dismissed")

    async def dismiss_until(self, subject: str, offset: int) -> None:
        """Settle whatever keeps marketing away from a subject, up to an offset of its partition, included.

        For marks whose letters are no longer kept, or that grew together for lack of room. Raises
        `Transient`.
        """
        key = subject.encode()
        partition = partition_of(key, await partition_count(self._bootstrap, PERMISSIONS))
        await self._settle_unreadable(key, partition, (0, offset), "dismissed")
        await self._settle_step(key, partition, ALL, "dismissed")

    async def _home(self, letter: Letter) -> int:
        key = letter.fact.key
        if key is None:
            return letter.fact.partition
        return partition_of(key, await partition_count(self._bootstrap, letter.fact.topic))

    async def _settle(self, letter: Letter, outcome: str) -> None:
        fact = letter.fact
        if fact.reason == FAILED and fact.topic in MARKING and fact.key and subject_of(fact.key) is not None:
            home = partition_of(fact.key, await partition_count(self._bootstrap, PERMISSIONS))
            await self._settle_step(fact.key, home, fact.event_id, outcome)
        marks = fact.reason != FAILED and fact.topic == PERMISSIONS and subject_of(fact.key) is not None
        # A mark goes by the offset on the subject's own partition: elsewhere the record left none.
        if marks and fact.key is not None and await self._home(letter) == fact.partition:
            offsets = fact.offset, fact.offset
            await self._settle_unreadable(fact.key, fact.partition, offsets, outcome)
        settled = DeadLetterSettled(
            event_id=derived("settled", letter.fact.event_id, outcome),
            app="optin",
            occurred_at=wall_ms(),
            source="processor:operator",
            letter=letter.fact.event_id,
            outcome=outcome,
        )
        value = codec.encode(settled)
        await self._appender.append(DEAD_LETTERS, letter.partition, letter.fact.key, value, None)

    async def _settle_unreadable(
        self, key: bytes, partition: int, offsets: tuple[int, int], outcome: str
    ) -> None:
        _, last = offsets
        letter = intake.letter_id(PERMISSIONS, partition, last)
        await self._append_settled(key, partition, letter, offsets, outcome)

    async def _settle_step(self, key: bytes, partition: int, letter: str, outcome: str) -> None:
        await self._append_settled(key, partition, letter, (NO_OFFSET, NO_OFFSET), outcome)

    async def _append_settled(
        self, key: bytes, partition: int, letter: str, offsets: tuple[int, int], outcome: str
    ) -> None:
        first, last = offsets
        settled = UnreadableFactSettled(
            event_id=derived("unreadable-settled", key.hex(), letter, str(first), outcome),
            app="optin",
            occurred_at=wall_ms(),
            source="processor:operator",
            subject=key.decode(),
            letter=letter,
            first_offset=first,
            last_offset=last,
            outcome=outcome,
        )
        await self._appender.append(PERMISSIONS, partition, key, codec.encode(settled), None)
