"""What is known of an address when it dies: pushes that were accepted are noted, to the day."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.push.port import ACCEPTED, Outcome
from ledger import facts as f
from ledger import reach
from ledger.consent import token_id
from ledger.gate import MARKETING
from processors.agents.address_life import LOOK_MS
from processors.agents.reach_rows import ROWS, Worked, worked_key
from processors.lane.table import LaneTable, Partition
from processors.lane.transaction import Transaction
from tests.support.given import ANN, DAY, HOUR, NOON, decision, fact
from tests.unit.test_push_retries import BUSY, FOR_GOOD, NOBODY_KNOWS, World

NAME = token_id("apns", "token-1")
KEY = worked_key(NAME)
GONE = Outcome("rejected", "token_dead", "Unregistered")


class Days(World):
    """Pushes to one address, days apart; `puts` are the rows that were written about it."""

    def __init__(self, *answers: Outcome, provider: str = "apns") -> None:
        super().__init__(MARKETING, *answers)
        self.puts: list[Worked | None] = []
        self._numbers = 0
        if provider != "apns":
            self.learn(fact(f.TokenRegistered, NOON - HOUR, provider=provider, token="token-1"))

    def learn(self, said: f.SubjectFact) -> None:
        """The consent lane folds a fact."""
        self.reach = reach.fold(self.reach, said, said.occurred_at)

    def push(self, at: int) -> None:
        """One push is decided and handed over."""
        self._numbers += 1
        self.now = at
        self.decided = decision(
            decision_id=f"d-{self._numbers}",
            category=MARKETING,
            installations=("phone",),
            send_before=at + HOUR,
        )
        self.decide()

    def _apply(self, transaction: Transaction) -> None:
        self.puts += [row for key, row in transaction.rows.items() if key[:1] == b"\x02"]
        super()._apply(transaction)

    @property
    def noted(self) -> Worked | None:
        """What the lane keeps of the address."""
        found = self.table.get(0, KEY)
        assert found is None or isinstance(found, Worked)
        return found

    def told_of(self) -> tuple[str, int | None, int | None]:
        """The cause and the interval of the one death that was told."""
        (one,) = self.told
        return one.cause, one.last_seen_ok, one.first_seen_gone


@pytest.mark.parametrize("gone_since", [None, NOON + 4 * DAY - HOUR])
def test_an_uninstall_lies_between_the_last_accepted_push_and_its_discovery(gone_since: int | None) -> None:
    """Accepted on the first day, refused on the fifth: nobody says that it happened on the fifth."""
    world = Days(ACCEPTED, Outcome("rejected", "token_dead", "Unregistered", gone_since_ms=gone_since))

    world.push(NOON)
    world.push(NOON + 4 * DAY)

    assert world.told_of() == ("uninstall", NOON, gone_since or NOON + 4 * DAY)
    assert world.told[0].occurred_at == (gone_since or NOON + 4 * DAY)


def test_a_push_that_apple_took_after_the_uninstall_is_no_sign_of_life() -> None:
    """Its time of the death is older than the push: what is left is the registration."""
    world = Days(ACCEPTED, Outcome("rejected", "token_dead", "Unregistered", gone_since_ms=NOON - 1))

    world.push(NOON)
    world.push(NOON + 4 * DAY)

    assert world.told_of() == ("uninstall", NOON - HOUR, NOON - 1)


def test_without_a_push_the_registration_counts() -> None:
    """It is the only sign of life."""
    world = Days(GONE)

    world.push(NOON + DAY)

    assert world.told_of() == ("uninstall", NOON - HOUR, NOON + DAY)


def test_a_browser_that_ends_a_subscription_uninstalls_nothing() -> None:
    """Nobody tells whether the browser or the person did it."""
    world = Days(Outcome("rejected", "token_dead", "status 410"), provider="web_push")

    world.push(NOON)

    assert world.told_of() == ("browser", NOON - HOUR, NOON)


def test_an_android_phone_that_lay_in_a_drawer_may_have_kept_the_app() -> None:
    """FCM lets its token expire and says the same as of an uninstall."""
    world = Days(Outcome("rejected", "token_dead", "UNREGISTERED"), provider="fcm")

    world.push(NOON + 270 * DAY)

    assert world.told_of() == ("stale", NOON - HOUR, NOON + 270 * DAY)


def test_what_worked_is_noted_once_a_day() -> None:
    """The second accepted push of a day writes no row; a day later one does."""
    world = Days(ACCEPTED, ACCEPTED, ACCEPTED, ACCEPTED)

    for at in (NOON, NOON + HOUR, NOON + DAY - 1, NOON + DAY):
        world.push(at)

    assert world.outcomes == ["PushAccepted"] * 4
    assert world.puts == [Worked(NAME, ANN, at, at + LOOK_MS) for at in (NOON, NOON + DAY)]


@pytest.mark.parametrize("answer", [BUSY, FOR_GOOD, NOBODY_KNOWS, GONE])
def test_only_an_accepted_push_is_noted(answer: Outcome) -> None:
    """One that nobody knows about proves nothing."""
    world = Days(answer)

    world.push(NOON)

    assert world.puts == []


@pytest.mark.parametrize(
    "said",
    [
        fact(f.SubjectErased, NOON),
        fact(f.TokenRegistered, NOON, provider="apns", token="token-2"),
        fact(f.InstallationUnlinked, NOON, claim="c", source="processor"),
    ],
    ids=["erased", "replaced", "unlinked"],
)
def test_nothing_is_noted_of_an_address_that_was_let_go_meanwhile(said: f.SubjectFact) -> None:
    """Neither of an erased person, nor of a token that another one took the place of."""
    world = Days(ACCEPTED)
    send = world.send

    async def slow(*pushes: Any, **options: Any) -> list[Outcome]:
        world.learn(said)
        return await send(*pushes, **options)

    world.handler._hand_over._sender.send = slow  # type: ignore[method-assign]
    world.push(NOON)

    assert world.outcomes == ["PushAccepted"]
    assert world.puts == []


def test_a_note_goes_a_while_after_its_subject_let_the_address_go() -> None:
    """It is looked at once a week: kept while the address is the subject's, gone after its erasure."""
    world = Days(ACCEPTED)
    world.push(NOON)

    def fire(at: int) -> None:
        transaction = Transaction(world.table, 0, at)
        world.handler.fire(KEY, world.noted, transaction)
        world._apply(transaction)

    assert world.noted is not None
    assert ROWS.wake_at(world.noted) == NOON + LOOK_MS
    fire(NOON + LOOK_MS)
    assert world.noted == Worked(NAME, ANN, NOON, NOON + 2 * LOOK_MS)
    world.learn(fact(f.SubjectErased, NOON + LOOK_MS))
    fire(NOON + 2 * LOOK_MS)

    assert world.noted is None
    assert world.outcomes == ["PushAccepted"]


def test_a_takeover_keeps_what_was_noted() -> None:
    """The next owner reads it from the changelog, and its timer stands."""
    world = Days(ACCEPTED)
    world.push(NOON)
    assert world.noted is not None
    raw = ROWS.encode(world.noted)
    after = Days(GONE)
    after.table = LaneTable("changelog", ROWS)
    after.table.partitions[0] = Partition()
    after.table.partitions[0].rows[KEY] = raw

    after.table.rebuild_timers(0)
    assert after.table.partitions[0].timers.next_due() == NOON + LOOK_MS
    after.push(NOON + DAY)

    assert after.told_of() == ("uninstall", NOON, NOON + DAY)


def test_a_bounded_run_notes_nothing() -> None:
    """It tells of no dead token either: its inputs are complete. A row with a timer would hold it up."""
    world = Days(ACCEPTED)
    world.handler._append_all = None
    world.handler._by_events = True

    world.push(NOON)

    assert world.outcomes == ["PushAccepted"]
    assert world.puts == []
