"""A step that raises is put aside: what it wrote is undone, its person is marked, all others go on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Final

import pytest

from connectors import codec
from connectors.errors import Misconfigured, Poison
from connectors.push.port import Outcome, Push
from connectors.rules.cel import CelRules
from connectors.rules.liquid import LiquidTexts
from ledger import control
from ledger import definitions as d
from ledger import facts as f
from ledger import fold as core
from ledger import journey as j
from ledger import subject as rows
from ledger.consent import installation_key
from ledger.failed_steps import ALL, consent_alone, mark_failed, settle_failed
from ledger.gate import decide
from ledger.ids import push_id
from ledger.journey import Message
from ledger.rules import Text
from ledger.subject import FAILED_MAX, NEW, FailedStep, Subject
from processors.agents import failed_sends, subject_rows
from processors.agents.bad_share import ENDING, FAILED_STEPS, RECORDS_MIN, BadShare
from processors.agents.control_rows import FAILED_SUBJECTS_MAX, ControlHandler
from processors.agents.delivery_facts import Answered, Due, LookedAgain, Ready
from processors.agents.intake import Accepted
from processors.agents.reach_rows import Attempt
from processors.agents.subject_rows import SubjectHandler
from processors.lane.hooks import Hooks
from processors.lane.probe import Probe
from processors.lane.steps import Steps
from processors.lane.table import LaneTable, Partition, UnreadableState
from processors.lane.transaction import Transaction
from processors.topic_names import ACTIVITY, DEAD_LETTERS, DECISIONS, PERMISSIONS
from tests.support.given import (
    HOUR,
    NOON,
    PHONE,
    ZONES,
    changed,
    decision,
    fact,
    journey,
    message,
    policy,
    setting,
    snapshot,
)

SETTLED: Final[dict[str, Any]] = {"first_offset": -1, "last_offset": -1, "outcome": "replayed"}


class BrokenTexts:
    """Texts as they should not be: one attribute makes them raise."""

    def render(self, message: Message, values: Mapping[str, Any]) -> Text:
        """The text, or no answer at all."""
        if values["attributes"].get("broken"):
            raise ZeroDivisionError("what ann@example.com said")
        return LiquidTexts().render(message, values)


class Counted(Probe):
    """Hears of failed steps."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def failed(self, lane: str, step: str) -> None:
        """See `Probe.failed`."""
        self.steps.append(f"{lane} {step}")


class Shop:
    """One partition of the journeys role: facts in, facts out."""

    def __init__(self, texts: Any = None, share_max: float = 1.0, **policies: Any) -> None:
        self.table = LaneTable("optin.journeys-subjects-changelog", subject_rows.ROWS)
        self.table.partitions[0] = Partition()
        self.probe = Counted()
        self.use(texts or BrokenTexts(), **policies)
        self.steps = Steps(BadShare(share_max, FAILED_STEPS), ENDING, "subjects", self.probe)
        self.out: list[f.Fact] = []
        self.offset = 0

    def use(self, texts: Any, **policies: Any) -> None:
        """From now on by these texts."""
        quick = policy(decision_window_ms=0, **policies)
        self.handler = SubjectHandler(
            d.in_force(quick, (journey(),), {}), ZONES, CelRules(), texts, partitions=1
        )
        self.hooks = Hooks(fire=self.handler.fire, fire_failed=self.handler.fire_failed)

    def fold(self, *facts: f.SubjectFact, topic: str = PERMISSIONS) -> None:
        """Fold facts in one transaction and commit it."""
        transaction = Transaction(self.table, 0, max(one.occurred_at for one in facts))
        for one in facts:
            self.offset += 1
            record = SimpleNamespace(
                topic=topic,
                partition=0,
                offset=self.offset,
                key=one.subject.encode(),
                value=codec.encode(one),
                timestamp=one.occurred_at,
                headers=(),
            )
            self.steps.fold(self.handler, [Accepted(one, record, one.occurred_at)], transaction)
        self.commit(transaction)

    def fire(self, now: int) -> None:
        """Fire all that is due."""
        timers = self.table.partitions[0].timers
        transaction = Transaction(self.table, 0, now)
        while (due := timers.next_due()) is not None and due <= now:
            self.steps.fire(self.hooks, timers.pop(), transaction)
        self.commit(transaction)

    def commit(self, transaction: Transaction) -> None:
        """As the lane does."""
        for topic in (DECISIONS, DEAD_LETTERS):
            self.out += [codec.decode(value) for _, value in transaction.outputs.get(topic, [])]
        for row in transaction.rows.values():
            if row is not None:
                rows.decode(rows.encode(row))
        self.table.apply(0, transaction.rows, transaction.position())
        for tell in transaction.durable:
            tell()

    def arrives(self, subject: str, *, broken: bool = False) -> None:
        """Somebody with a phone and a yes puts boots into the cart."""
        attributes = {"broken": "1"} if broken else {"city": "Bern"}
        self.fold(
            fact(
                f.InstallationSeen,
                NOON,
                subject=subject,
                platform="ios",
                time_zone="Europe/Zurich",
                country="CH",
            ),
            fact(f.PermissionGranted, NOON, subject=subject, level="authorized"),
            fact(f.TokenRegistered, NOON, subject=subject, provider="console", token=f"t-{subject}"),
        )
        self.fold(
            fact(f.SubjectAttributesSet, NOON, subject=subject, attributes=attributes),
            fact(f.CartUpdated, NOON, subject=subject, item="boots", change="added"),
            topic=ACTIVITY,
        )

    def row(self, subject: str) -> Subject:
        """The subject's row."""
        row = self.table.get(0, subject.encode())
        assert isinstance(row, Subject)
        return row

    def verdicts(self, subject: str) -> list[str]:
        """What was decided, in order."""
        decided = [one for one in self.out if isinstance(one, f.PushDecided) and one.subject == subject]
        return [f"{one.verdict} {one.reason}" if one.reason else one.verdict for one in decided]

    @property
    def letters(self) -> list[f.RecordDeadLettered]:
        """All dead letters."""
        return [one for one in self.out if isinstance(one, f.RecordDeadLettered)]


class TestATimer:
    """A reminder whose text raises when it is decided."""

    def test_others_are_served_and_it_is_served_once_it_was_mended(self) -> None:
        """499 of 500; the letter settled with mended texts, the same timer fires again."""
        shop = Shop()
        people = [f"p{number}" for number in range(500)]
        for name in people:
            shop.arrives(name, broken=name == "p7")

        shop.fire(NOON + HOUR)

        served = [name for name in people if shop.verdicts(name) == ["send"]]
        assert served == [name for name in people if name != "p7"]
        (letter,) = shop.letters
        assert (letter.reason, letter.key, letter.value, letter.offset) == ("internal_error", b"p7", None, -1)
        assert letter.topic == shop.table.changelog
        assert letter.detail.startswith("ZeroDivisionError in render, ")
        assert "ann@example.com" not in letter.detail
        assert shop.row("p7").failed == (FailedStep(letter.event_id, NOON + HOUR, True),)
        assert shop.table.partitions[0].timers.next_due() is None  # it does not fire again by itself
        assert shop.probe.steps == ["subjects fire"]

        shop.use(LiquidTexts())
        shop.fold(
            fact(f.UnreadableFactSettled, NOON + 2 * HOUR, subject="p7", letter=letter.event_id, **SETTLED)
        )
        shop.fire(NOON + 2 * HOUR)

        assert shop.verdicts("p7") == ["send"]
        assert shop.row("p7").failed == ()

    def test_what_fails_again_has_another_letter(self) -> None:
        """Else its first settlement would hide it."""
        shop = Shop()
        shop.arrives("ann", broken=True)
        shop.fire(NOON + HOUR)
        first = shop.letters[0]
        shop.fold(
            fact(f.UnreadableFactSettled, NOON + 2 * HOUR, subject="ann", letter=first.event_id, **SETTLED)
        )
        shop.fire(NOON + 2 * HOUR)

        assert len({letter.event_id for letter in shop.letters}) == 2

    def test_half_a_step_leaves_nothing(self) -> None:
        """What the step wrote before it raised is undone: rows, outputs, announcements, effects, counts."""
        shop = Shop()
        shop.arrives("ann")
        before = dict(shop.table.partitions[0].rows)
        told: list[str] = []

        def fire(_: bytes, __: Any, transaction: Transaction) -> None:
            transaction.put(b"ann", NEW)
            transaction.put(b"ann", None)
            transaction.put(b"bob", NEW)
            transaction.emit(DECISIONS, b"ann", b"half")
            transaction.announce("half")
            transaction.effect("half")
            transaction.once_durable(lambda: told.append("half"))
            raise KeyError("half-way")

        transaction = Transaction(shop.table, 0, NOON + HOUR, eager_timers=True)
        transaction.emit(DECISIONS, b"x", b"whole")
        hooks = Hooks(fire=fire, fire_failed=lambda *_: None)
        shop.steps.fire(hooks, b"ann", transaction)

        assert transaction.rows == {}
        assert transaction.outputs == {DECISIONS: [(b"x", b"whole")]}
        assert (transaction.announcements, transaction.effects) == ([], [])
        assert shop.table.partitions[0].rows == before
        assert shop.table.partitions[0].timers.next_due() == NOON + HOUR
        for tell in transaction.durable:
            tell()
        assert told == []


class TestAFact:
    """A fact whose fold raises, as a rule of a journey may make it."""

    def broken_fold(self, monkeypatch: pytest.MonkeyPatch, *kinds: type[f.Fact]) -> None:
        """Journeys raise for these kinds of facts; consent is folded before."""
        whole = core.fold

        def fold(row: Subject, name: str, fact_: f.SubjectFact, *others: Any) -> Any:
            if isinstance(fact_, kinds):
                raise OverflowError("too large")
            return whole(row, name, fact_, *others)

        monkeypatch.setattr(core, "fold", fold)

    def test_a_refusal_counts_all_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What journeys make of it failed, not what it says."""
        shop = Shop(LiquidTexts())
        shop.arrives("ann")
        self.broken_fold(monkeypatch, f.PermissionRevoked)
        shop.fold(fact(f.PermissionRevoked, NOON + 1, cause="os_settings"))
        monkeypatch.undo()
        shop.fire(NOON + HOUR)

        assert shop.verdicts("ann") == ["withhold permission"]
        assert [letter.reason for letter in shop.letters] == ["internal_error"]
        assert shop.letters[0].value is not None

    def test_marketing_is_withheld_until_the_letter_is_settled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Folded again it does what it should have done; then marketing goes on."""
        shop = Shop(LiquidTexts())
        shop.arrives("ann")
        self.broken_fold(monkeypatch, f.AppOpened)
        opened = fact(f.AppOpened, NOON + 1)
        shop.fold(opened, topic=ACTIVITY)
        monkeypatch.undo()
        shop.fire(NOON + HOUR)
        assert shop.verdicts("ann") == ["withhold internal_error"]

        shop.fold(opened, topic=ACTIVITY)
        settled = {**SETTLED, "letter": shop.letters[0].event_id}
        shop.fold(fact(f.UnreadableFactSettled, NOON + 2 * HOUR, **settled))
        shop.fold(fact(f.CartUpdated, NOON + 2 * HOUR, item="hat", change="added"), topic=ACTIVITY)
        shop.fire(NOON + 4 * HOUR)
        assert shop.verdicts("ann")[1:] == ["send"]

    def test_an_erasure_keeps_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither a profile nor a mark, whatever journeys could not end."""
        shop = Shop(LiquidTexts())
        shop.arrives("ann")
        self.broken_fold(monkeypatch, f.SubjectErased)
        shop.fold(fact(f.SubjectErased, NOON + 1))

        row = shop.row("ann")
        assert row == Subject(consent=row.consent)
        assert row.consent.erased_at == NOON + 1

    def test_without_even_its_consent_it_is_a_record_that_nobody_could_read(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may be a refusal: the mark of an unreadable record, which delivery sets, too."""
        shop = Shop(LiquidTexts())
        shop.arrives("ann")
        self.broken_fold(monkeypatch, f.PermissionRevoked)

        def broken(*_: Any) -> Subject:
            raise OverflowError("too large")

        monkeypatch.setattr(subject_rows, "consent_alone", broken)
        shop.fold(fact(f.PermissionRevoked, NOON + 1, cause="os_settings"))

        assert [letter.reason for letter in shop.letters] == ["unfoldable"]
        (mark,) = shop.row("ann").consent.unreadable
        assert mark.first_offset == shop.letters[0].offset
        assert shop.row("ann").failed == ()


class TestTheBound:
    """Where many fail, nobody is marked any more."""

    def test_above_the_share_the_role_ends(self) -> None:
        """It says which setting, and what to look at."""
        steps = Steps(BadShare(0.05, FAILED_STEPS), ENDING, "subjects", Counted())
        table = LaneTable("changelog", subject_rows.ROWS)
        table.partitions[0] = Partition()
        transaction = Transaction(table, 0, NOON)
        transaction.put(b"ann", NEW)

        def fire(*_: Any) -> None:
            raise ValueError

        hooks = Hooks(fire=fire, fire_failed=lambda *_: None)
        for _ in range(RECORDS_MIN - 1):
            steps.fire(hooks, b"ann", transaction)

        with pytest.raises(Misconfigured, match="OPTIN_FAILED_SHARE_MAX"):
            steps.fire(hooks, b"ann", transaction)

    @pytest.mark.parametrize(
        "error", [Misconfigured("say"), d.UnknownDefinition("v"), UnreadableState("row"), OSError(5, "io")]
    )
    def test_errors_that_are_no_steps_end_the_process(self, error: Exception) -> None:
        """They would come again for everybody."""
        shop = Shop()
        shop.arrives("ann")

        def fire(*_: Any) -> None:
            raise error

        with pytest.raises(type(error)):
            shop.steps.fire(
                Hooks(fire=fire, fire_failed=lambda *_: None), b"ann", Transaction(shop.table, 0, 0)
            )

    @pytest.mark.parametrize(
        "error", [Poison("unencodable"), RecursionError(), UnicodeDecodeError("utf-8", b"", 0, 1, "")]
    )
    def test_whatever_else_a_step_raises_is_its_own_fault(self, error: Exception) -> None:
        """Also that a fact of its can't be encoded: it would be so at each start."""
        shop = Shop()
        shop.arrives("ann")
        aside: list[str] = []

        def fire(*_: Any) -> None:
            raise error

        hooks = Hooks(fire=fire, fire_failed=lambda *given: aside.append(given[2]))
        shop.steps.fire(hooks, b"ann", Transaction(shop.table, 0, 0))

        assert aside[0].startswith(f"{type(error).__name__} in fire, ")


class TestMarks:
    """What a row keeps of failed steps."""

    def test_the_last_one_stands_for_all_for_which_there_is_no_room(self) -> None:
        """Only settling everything takes it away: else marketing would go on too early."""
        subject = NEW
        for number in range(FAILED_MAX + 3):
            subject = mark_failed(subject, f"letter-{number}", NOON + number, timer=number == FAILED_MAX)
        for number in range(FAILED_MAX + 3):
            subject = settle_failed(
                subject, fact(f.UnreadableFactSettled, letter=f"letter-{number}", **SETTLED)
            )
        assert subject.failed == (FailedStep("", NOON + FAILED_MAX + 2, True),)

        assert settle_failed(subject, fact(f.UnreadableFactSettled, letter=ALL, **SETTLED)) == NEW

    def test_settling_a_record_settles_no_step(self) -> None:
        """Offsets name records of permissions, whose marks stand in consent."""
        subject = mark_failed(NEW, "letter-1", NOON)
        by_offset: dict[str, Any] = {"first_offset": 0, "last_offset": 9, "outcome": "dismissed"}

        assert settle_failed(subject, fact(f.UnreadableFactSettled, letter=ALL, **by_offset)) is subject

    def test_transactional_pushes_go_on(self) -> None:
        """An order's confirmation does not wait for an operator."""
        marketing = changed(snapshot(), failed_steps=1)
        receipt = changed(marketing, category="transactional", message="receipt")

        refused = decide(marketing, policy(), ZONES, NOON)
        assert (refused.verdict, refused.reason) == ("withhold", "internal_error")
        assert decide(receipt, policy(), ZONES, NOON).verdict == "send"

    def test_another_reason_says_more(self) -> None:
        """Whoever said no was not withheld by a fault of ours."""
        refused = changed(snapshot(), failed_steps=1, consent=changed(snapshot().consent, erased=True))

        assert decide(refused, policy(), ZONES, NOON).reason == "erased"

    def test_consent_alone_is_the_consent_of_the_whole_fold(self) -> None:
        """For a fact of each kind that says something."""
        seen = fact(f.InstallationSeen, NOON, platform="ios", time_zone=None, country=None)
        for said in (
            seen,
            fact(f.PermissionGranted, level="authorized"),
            fact(f.TopicUnsubscribed, topic="carts"),
            fact(f.SubjectSuppressed, reason="support", until=None),
        ):
            whole, _ = core.fold(NEW, "ann", said, NOON, NOON, setting(), 3)
            assert consent_alone(NEW, said, NOON, 3).consent == whole.consent


class TestPushes:
    """Each push has one outcome, which claims no more than is known."""

    PUSH: Final = Push(push_id("decision-1", installation_key("shop", PHONE)), "shop", "apns", "t", "T", "B")

    def ready(self) -> Ready:
        """A committed attempt."""
        return Ready(decision(installations=(PHONE,)), PHONE, self.PUSH, 1, NOON, 0.0)

    def test_a_decision_whose_attempt_failed_is_withheld(self) -> None:
        """For each of its installations; one that was no send has no push."""
        ended = failed_sends.of_decision(decision(installations=(PHONE, "tablet")), NOON)

        assert [type(fact_) for _, fact_ in ended] == [f.PushWithheldLate] * 2
        assert ended[0][0] == self.PUSH.push_id
        assert failed_sends.of_decision(decision(verdict="hold", installations=()), NOON) == []

    @pytest.mark.parametrize(
        ("kind", "outcome"),
        [("accepted", f.PushAccepted), ("rejected", f.PushRejected), ("unknown", f.PushOutcomeUnknown)],
    )
    def test_what_a_provider_answered_stands(self, kind: Any, outcome: type[f.Fact]) -> None:
        """Whatever could not be learnt from it."""
        ((name, fact_),) = failed_sends.of_result(Answered(self.ready(), Outcome(kind)), NOON)

        assert (name, type(fact_)) == (self.PUSH.push_id, outcome)

    def test_what_nobody_has_is_withheld_and_what_waited_is_unknown(self) -> None:
        """A push that was never handed over, and one of whose tries nobody knows."""
        attempt = Attempt("push-2", "ann", "shop", "decision-1", PHONE, 1, NOON)

        ((_, first),) = failed_sends.of_result(LookedAgain(self.ready(), 0.0), NOON)
        ((name, second),) = failed_sends.of_result(LookedAgain(Due(decision(), attempt), 0.0), NOON)

        assert (type(first), type(second)) == (f.PushWithheldLate, f.PushOutcomeUnknown)
        assert name == "push-2"


class TestACampaign:
    """A launch looks at everybody; somebody for whom it raises holds up nobody."""

    def launch(self, broken: int, *, dry_run: bool = False) -> tuple[Shop, Any, Transaction]:
        """One part over 40 people, of whom so many are broken."""
        shop = Shop()
        for number in range(40):
            shop.arrives(f"p{number:02}", broken=number < broken)
        shop.out.clear()
        flow = journey(name="sale", triggers=(), exits=(), steps=(j.Push(step="sale", message=message()),))
        campaign = d.Campaign(app="shop", rule="true", per_second=1_000, flow=flow)
        version = d.version_of(campaign)
        bodies = {
            **shop.handler.setting(Transaction(shop.table, 0, NOON)).definitions.bodies,
            version: campaign,
        }
        quick = policy(decision_window_ms=0)
        shop.handler = SubjectHandler(
            d.in_force(quick, (journey(),), {}), ZONES, CelRules(), BrokenTexts(), partitions=1, bodies=bodies
        )
        handler = ControlHandler(shop.table, shop.handler.setting, 1)
        row = control.Control(
            launches=(control.Launch("launch-1", version, dry_run=dry_run, judged_at=-1, next_at=NOON),)
        )
        transaction = Transaction(shop.table, 0, NOON)
        transaction.put(control.KEY, row)
        hooks = Hooks(
            fire=lambda _, found, t: handler.fire(found, t),
            fire_failed=lambda _, found, place, t: handler.fire_failed(found, place, t),
        )
        shop.steps.fire(hooks, control.KEY, transaction)
        return shop, transaction.get(control.KEY), transaction

    def letters(self, transaction: Transaction) -> list[Any]:
        """Dead letters of the transaction."""
        return [codec.decode(value) for _, value in transaction.outputs.get(DEAD_LETTERS, [])]

    def test_it_goes_on_without_them(self) -> None:
        """They are marked, and everybody else has a decision."""
        _, row, transaction = self.launch(3)

        assert row.launches[0].state == "done"
        assert row.launches[0].wanted == 37
        assert len(transaction.outputs[DECISIONS]) == 37
        assert sorted(letter.key for letter in self.letters(transaction)) == [b"p00", b"p01", b"p02"]
        assert rows_of(transaction)[b"p01"].failed[0].timer is False

    def test_a_broken_campaign_is_paused_and_marks_nobody(self) -> None:
        """One letter, of the control row; nothing of the part is left."""
        _, row, transaction = self.launch(FAILED_SUBJECTS_MAX + 1)

        assert row.launches[0].state == "paused"
        assert [letter.key for letter in self.letters(transaction)] == [control.KEY]
        assert DECISIONS not in transaction.outputs
        assert set(transaction.rows) == {control.KEY}

    def test_a_dry_run_counts_them(self) -> None:
        """And marks nobody."""
        _, row, transaction = self.launch(3, dry_run=True)

        assert row.launches[0].counts["internal_error"] == 3
        assert set(transaction.rows) == {control.KEY}


def rows_of(transaction: Transaction) -> dict[bytes, Any]:
    """What the transaction wrote."""
    return transaction.rows


def test_a_loop_that_a_native_call_holds_is_ended() -> None:
    """The call keeps the interpreter's lock, so nothing in Python could end the process."""
    held = (
        "import asyncio, re\n"
        "from types import SimpleNamespace\n"
        "from processors.lane.watchdog import Watchdog\n"
        "async def main():\n"
        "    app = SimpleNamespace(should_stop=False)\n"
        "    await Watchdog(app, None, 0.0).start()\n"
        "    await asyncio.sleep(0.5)\n"
        "    re.match(r'(a+)+$', 'a' * 64 + 'b')\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", held], capture_output=True, text=True, timeout=120, check=False
    )

    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    assert "in main" in ended.stderr
