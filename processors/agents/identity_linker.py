"""identity_linker: turns claims of installations into links and unlinks on their subjects' partitions.

A change is told in this order: the old subject's unlink, acknowledged; the new subject's link, acknowledged;
then the lane's own state and position. So a crash anywhere leaves a gap, never an overlap, and what is told
again carries the same event ids. Runs by the wall clock only (docs/decisions/0004).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from connectors import codec
from connectors.kafka.append import Addressed
from connectors.placement import partition_of
from ledger import links
from ledger.consent import installation_key
from ledger.facts import InstallationClaimed, InstallationUnlinked, LinkFact
from ledger.links import NOBODYS, Link
from processors.agents import intake
from processors.agents.bad_share import BadShare
from processors.agents.failed_steps import FAILED, put_record_aside
from processors.agents.intake import Refused
from processors.agents.tally import tell_refused
from processors.lane.app import raw_topic
from processors.lane.hooks import Hooks
from processors.lane.lane import Lane
from processors.lane.sparse_log import SparseLog
from processors.lane.table import RowCodec
from processors.lane.transaction import Transaction
from processors.telemetry import catalogue as c
from processors.telemetry.meters import FORGETFUL, Meters
from processors.topic_names import LINKS
from processors.wall_clock import wall_ms

log = logging.getLogger(__name__)

ROWS = RowCodec(
    encode=links.encode,
    decode=links.decode,
    wake_at=lambda _: None,
    wake_at_encoded=lambda _: None,
    version=links.LINK_VERSION,
)

AppendAll = Callable[[Sequence[Addressed]], Awaitable[None]]
"""Appends records side by side; all acknowledged when it returns."""


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """A claim that may be folded, with its record and its first append (ms)."""

    fact: InstallationClaimed
    record: Any
    appended_ms: int


class IdentityLinker:
    """Folds claims into one row per installation and app; announces what follows before it is committed.

    A claim on a partition where its installation does not belong is appended again where it does, and
    skipped.
    """

    def __init__(
        self,
        partitions: int,
        append_all: AppendAll,
        bad_share_max: float = 1.0,
        meters: Meters = FORGETFUL,
    ) -> None:
        self._partitions = partitions
        self._append_all = append_all
        self._bad_share = BadShare(bad_share_max)
        self._meters = meters
        self._misplaced_log = SparseLog(
            log,
            logging.WARNING,
            "%s/%d offset %d: a claim whose installation belongs on another partition was appended there; its"
            " producer's partitioner is not murmur2 (docs/reference/topics.md)",
        )

    def read(self, record: Any) -> tuple[int, Claim | Refused]:
        """Decode and check one record. Never raises for bad input."""
        found = intake.checked(record, InstallationClaimed)
        if isinstance(found, Refused):
            return 0, found
        fact, appended_ms, _ = found
        return fact.occurred_at, Claim(fact, record, appended_ms)

    def fold(self, item: Claim | Refused, transaction: Transaction) -> None:
        """Fold one read record. Raises `Misconfigured` when most of the last ones were bad."""
        if isinstance(item, Refused):
            self._bad_share.note(refused=True)
            intake.dead_letter(item, transaction)
            tell_refused(item.reason, transaction, self._meters)
            return
        self._bad_share.good += 1
        if partition_of(item.record.key, self._partitions) != transaction.partition:
            transaction.announce(item)
            transaction.once_durable(lambda: self._meters.add(c.MISPLACED, topic=LINKS))
            return
        key = installation_key(item.fact.app, item.fact.installation).encode()
        row: Link = transaction.get(key) or NOBODYS
        after, facts = links.claim(row, item.fact, item.appended_ms)
        if after is not row:
            transaction.put(key, after)
        for fact in facts:
            transaction.announce(fact)

    def fold_failed(self, item: Claim | Refused, place: str, transaction: Transaction) -> None:
        """Put a claim aside: the installation stays whose it was."""
        put_record_aside(item, FAILED, place, transaction, self._meters)

    async def announce(self, partition: int, announcements: Sequence[LinkFact | Claim]) -> None:
        """Append misplaced claims, then all unlinks, then all links. Raises `Transient`.

        All unlinks of a chunk may go before all of its links: an installation that changed hands twice is
        nobody's for a moment longer then, and each subject's fold goes by the facts' own times.
        """
        misplaced = [item for item in announcements if isinstance(item, Claim)]
        facts = [item for item in announcements if not isinstance(item, Claim)]
        await self._append_all([self._home(claim) for claim in misplaced])
        for claim in misplaced:
            self._meters.add(c.REAPPENDS)
            self._meters.observe(c.MISPLACED_DELAY, max(0, wall_ms() - claim.appended_ms) / 1000)
            self._misplaced_log.write(LINKS, partition, claim.record.offset)
        unlinks = [fact for fact in facts if isinstance(fact, InstallationUnlinked)]
        await self._append_all([self._addressed(fact) for fact in unlinks])
        others = [fact for fact in facts if not isinstance(fact, InstallationUnlinked)]
        await self._append_all([self._addressed(fact) for fact in others])

    def _home(self, claim: Claim) -> Addressed:
        key = claim.record.key
        partition = partition_of(key, self._partitions)
        return Addressed(LINKS, partition, key, claim.record.value, claim.appended_ms)

    def _addressed(self, fact: LinkFact) -> Addressed:
        key = fact.subject.encode()
        partition = partition_of(key, self._partitions)
        return Addressed(codec.topic_of(type(fact)), partition, key, codec.encode(fact))


def identity_linker(app: Any, lane: Lane, linker: IdentityLinker) -> None:
    """Register the agent on `app`; claims are folded by `lane`."""
    lane.handle(LINKS, linker)
    lane.hooks = Hooks(announce=linker.announce)

    @app.agent(raw_topic(app, LINKS), name="identity_linker")  # type: ignore[untyped-decorator]
    async def link(chunks: Any) -> None:
        async for chunk in chunks.noack().events():
            lane.feed(chunk.message)
