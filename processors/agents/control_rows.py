"""What the journeys role does with control facts: definitions, launches, and questions about its subjects.

A launch goes on in bounded parts, each when its timer fires, so that facts are folded in between. How far it
came is a row of the table: the pushes that a part asks for and its place are one transaction, and a kill in
between repeats the part from where it began, with the same ids.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from connectors import codec
from ledger import campaign as core
from ledger import control as rows
from ledger import definitions as core_definitions
from ledger import facts as f
from ledger.control import CANCELLED, DONE, PAUSED, RUNNING, Control, Launch, Question
from ledger.definitions import UnknownDefinition
from ledger.failed_steps import mark_failed
from ledger.ids import derived
from ledger.journey import Campaign
from ledger.rules import Rules
from ledger.setting import Setting
from ledger.subject import Subject
from processors.agents import intake
from processors.agents.failed_steps import FAILED, UNKNOWN_DEFINITION, put_record_aside, put_timer_aside
from processors.agents.intake import Refused
from processors.agents.tally import tell_refused
from processors.lane.steps import place_of
from processors.lane.table import LaneTable
from processors.lane.transaction import Transaction
from processors.telemetry.meters import FORGETFUL, Meters
from processors.topic_names import DECISIONS, REPLIES

replace = msgspec.structs.replace

PART_SUBJECTS: Final = 500
"""Subjects that one part of a launch looks at."""
FAILED_SUBJECTS_MAX: Final = 10
"""Subjects of one part for whom a campaign may raise; with one more it is the campaign that is broken."""
PART_COUNTED: Final = 2_000
"""Subjects that one part of a count looks at."""
SECOND_MS: Final = 1_000
NOBODY: Final = b"\x01"
"""No subject's key is below it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """A control fact that may be folded, with its record."""

    fact: f.ControlFact
    record: Any


class ControlHandler:
    """Folds control facts into the control row, and answers questions over the partition's own rows."""

    def __init__(
        self,
        table: LaneTable,
        setting_of: Callable[[Transaction], Setting],
        partitions: int,
        meters: Meters = FORGETFUL,
    ) -> None:
        self._table = table
        self._setting_of = setting_of
        self._partitions = partitions
        self._meters = meters
        self._order: dict[tuple[int, str], list[bytes]] = {}

    def read(self, record: Any) -> tuple[int, Told | Refused]:
        """Decode and check one record. Never raises for bad input."""
        found = intake.checked(record, f.ControlFact)
        if isinstance(found, Refused):
            return 0, found
        return found[0].occurred_at, Told(found[0], record)

    def cited(self, partition: int, items: Sequence[Any]) -> set[str]:
        """The bodies without which these items, or what was told before, can't be folded."""
        row = self._table.get(partition, rows.KEY) or rows.NOTHING
        versions = {row.policy_version, *row.journey_versions}
        versions |= {one.version for one in row.launches if one.state not in {DONE, CANCELLED}}
        for item in items:
            match getattr(item, "fact", None):
                case f.DefinitionsActivated(policy_version=policy, journey_versions=journeys):
                    versions |= {policy, *journeys}
                case f.CampaignLaunched(campaign_version=campaign):
                    versions.add(campaign)
                case _:
                    pass
        return versions - {""}

    def fold(self, item: Told | Refused, transaction: Transaction) -> None:
        """Fold one read record."""
        if isinstance(item, Refused):
            intake.dead_letter(item, transaction)
            tell_refused(item.reason, transaction, self._meters)
            return
        missing = core_definitions.missing(item.fact, self._setting_of(transaction).definitions.bodies)
        if missing is not None:
            intake.dead_letter(Refused(item.record, UNKNOWN_DEFINITION, missing), transaction)
            tell_refused(UNKNOWN_DEFINITION, transaction, self._meters)
            return
        row: Control = transaction.get(rows.KEY) or rows.NOTHING
        if isinstance(item.fact, f.CampaignsAsked):
            self._tell(row, item.fact.request, transaction)
            return
        after = rows.hear(row, item.fact, transaction.now)
        if after is not row:
            transaction.put(rows.KEY, after)

    def fold_failed(self, item: Told | Refused, place: str, transaction: Transaction) -> None:
        """Put a control fact aside."""
        put_record_aside(item, FAILED, place, transaction, self._meters)

    def fire_failed(self, row: Control, place: str, transaction: Transaction) -> None:
        """Pause the launches that were due, and give up counting: which of them raised is not known.

        An operator resumes or cancels them (`optin campaign`); whoever asked for a count asks again.
        """
        put_timer_aside(rows.KEY, place, transaction, self._meters)
        paused = tuple(
            replace(one, state=PAUSED) if one.state == RUNNING and one.next_at <= transaction.now else one
            for one in row.launches
        )
        transaction.put(rows.KEY, replace(row, launches=paused, questions=()))

    def fire(self, row: Control, transaction: Transaction) -> None:
        """Take the next part of each launch and of each count that is due."""
        launches = []
        for launch in row.launches:
            is_due = launch.state == RUNNING and launch.next_at <= transaction.now
            launches.append(self._part(launch, transaction) if is_due else launch)
        counted = [self._count(one, transaction) for one in row.questions]
        questions = tuple(one for one in counted if one is not None)
        transaction.put(rows.KEY, replace(row, launches=tuple(launches), questions=questions))

    def _part(self, launch: Launch, transaction: Transaction) -> Launch:
        setting = self._setting_of(transaction)
        campaign = setting.definitions.bodies.get(launch.version)
        if not isinstance(campaign, Campaign):
            raise UnknownDefinition(f"campaign {launch.version}")
        now = launch.judged_at if launch.judged_at >= 0 else transaction.now
        keys = self._keys(launch.launch, transaction.partition)
        start = bisect_right(keys, launch.cursor)
        share = max(1, campaign.per_second // self._partitions)
        counts, considered, wanted, cursor, failed = dict(launch.counts), 0, 0, launch.cursor, 0
        for key in keys[start : start + PART_SUBJECTS]:
            cursor, considered = key, considered + 1
            subject = self._look(key, transaction)
            if subject is None:
                continue
            try:
                if not core.belongs(subject, campaign.app, campaign.rule, now, setting.rules):
                    continue
                of = core.at_once(setting) if launch.dry_run else setting
                after, facts = core.consider(
                    subject, key.decode(), campaign, launch.version, launch.launch, now, of
                )
            except Exception as error:
                failed += 1
                if failed > FAILED_SUBJECTS_MAX:
                    raise  # the campaign's fault: the launch is paused, and nobody of this part is marked
                self._passed_by(key, subject, error, transaction, counts if launch.dry_run else None)
                continue
            wanted += 1
            if launch.dry_run:
                count_first(counts, facts)
            else:
                transaction.put(key, after)
                for fact in facts:
                    transaction.emit(DECISIONS, key, codec.encode(fact))
            if wanted >= share:
                break
        is_done = start + considered >= len(keys)
        if is_done:
            self._order.pop((transaction.partition, launch.launch), None)
        return replace(
            launch,
            state=DONE if is_done else RUNNING,
            cursor=cursor,
            next_at=transaction.now + (0 if launch.dry_run else wanted * SECOND_MS // share),
            considered=launch.considered + considered,
            wanted=launch.wanted + wanted,
            counts=counts,
        )

    def _passed_by(
        self,
        key: bytes,
        subject: Subject,
        error: Exception,
        transaction: Transaction,
        counts: dict[str, int] | None,
    ) -> None:
        """Go on without somebody for whom the campaign raised; a dry run (`counts`) counts that alone."""
        if counts is not None:
            counts[FAILED] = counts.get(FAILED, 0) + 1
            return
        letter = put_timer_aside(key, place_of(error), transaction, self._meters)
        transaction.put(key, mark_failed(subject, letter, transaction.now))

    def _keys(self, of: str, partition: int) -> list[bytes]:
        """The partition's subjects in the order of their bytes, as they were when first asked for."""
        place = partition, of
        known = self._order.get(place)
        if known is None:
            known = self._order[place] = sorted(self._subjects(partition))
        return known

    def _subjects(self, partition: int) -> list[bytes]:
        return [key for key in self._table.partitions[partition].rows if key > NOBODY]

    def _count(self, asked: Question, transaction: Transaction) -> Question | None:
        """Count on; None once the answer is given."""
        rules = self._setting_of(transaction).rules
        keys = self._keys(asked.request, transaction.partition)
        start = bisect_right(keys, asked.cursor)
        part = keys[start : start + PART_COUNTED]
        matching = [key for key in part if self._matches(key, asked.rule, rules, transaction)]
        sample = (*asked.sample, *(key.decode() for key in matching))[: asked.sample_max]
        counted = replace(
            asked,
            cursor=part[-1] if part else asked.cursor,
            subjects=asked.subjects + len(part),
            matching=asked.matching + len(matching),
            sample=sample,
        )
        if start + len(part) < len(keys):
            return counted
        self._order.pop((transaction.partition, asked.request), None)
        reply = f.AudienceCounted(
            **self._envelope("audience", asked.request, transaction),
            subjects=counted.subjects,
            matching=counted.matching,
            sample=counted.sample,
        )
        transaction.emit(REPLIES, asked.request.encode(), codec.encode(reply))
        return None

    def _matches(self, key: bytes, rule: str, rules: Rules, transaction: Transaction) -> bool:
        subject = self._look(key, transaction)
        return subject is not None and core.belongs(subject, "", rule, transaction.now, rules)

    def _look(self, key: bytes, transaction: Transaction) -> Subject | None:
        """A subject as this transaction sees it; its row stays bytes if it is."""
        row: Subject | None = transaction.rows.get(key)
        return row if row is not None else self._table.peek(transaction.partition, key)

    def _tell(self, row: Control, request: str, transaction: Transaction) -> None:
        bodies = self._setting_of(transaction).definitions.bodies
        subjects = len(self._subjects(transaction.partition))
        for launch in row.launches:
            campaign = bodies.get(launch.version)
            told = f.CampaignTold(
                **self._envelope(f"campaign {launch.launch}", request, transaction),
                launch=launch.launch,
                campaign=campaign.flow.name if isinstance(campaign, Campaign) else launch.version,
                state=launch.state,
                dry_run=launch.dry_run,
                subjects=subjects,
                considered=launch.considered,
                wanted=launch.wanted,
                counts=launch.counts,
            )
            transaction.emit(REPLIES, request.encode(), codec.encode(told))

    def _envelope(self, what: str, request: str, transaction: Transaction) -> dict[str, Any]:
        return {
            "event_id": derived(what, request, str(transaction.partition)),
            "app": "optin",
            "occurred_at": transaction.now,
            "source": "processor",
            "request": request,
            "partition": transaction.partition,
        }


def count_first(counts: dict[str, int], facts: tuple[f.SubjectFact, ...]) -> None:
    """Count first decisions by verdict and reason."""
    for fact in facts:
        if isinstance(fact, f.PushDecided) and fact.revision == 0:
            verdict = fact.verdict if fact.reason is None else f"{fact.verdict} {fact.reason}"
            counts[verdict] = counts.get(verdict, 0) + 1
