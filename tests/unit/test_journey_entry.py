"""Entering a journey again: what a copy of a trigger does, and how long a start is remembered."""

from __future__ import annotations

from pathlib import Path

from ledger import facts as f
from ledger import journey as j
from ledger.journey import IGNORE, ONCE
from ledger.life import Life
from ledger.subject import ENTERED_MAX
from processors.definitions import load, write_definitions
from tests.support.given import ANN, DAY, HOUR, MINUTE, NOON, fact, journey, setting

WATCHED = j.Match(fact="WatchedItemChanged", items="item", key="item", where={"change": "price_dropped"})


def dropped(at: int, version: int) -> f.SubjectFact:
    """The price of some boots dropped."""
    return fact(
        f.WatchedItemChanged, at, item="boots", change="price_dropped", version=version, changed_at=at
    )


def started(life: Life) -> list[str]:
    """The journeys that began, in order."""
    return [one.journey for one in life.said if isinstance(one, f.JourneyStarted)]


def test_a_copy_of_a_trigger_that_found_an_open_instance_begins_nothing_after_its_end() -> None:
    """Whether the trigger moved the instance or was ignored: it was heard."""
    for reentry in (j.RESTART, IGNORE):
        life = Life(ANN, setting(None, journey(triggers=(WATCHED,), exits=(), reentry=reentry)))
        second = dropped(NOON + MINUTE, 3)

        life.fold_all([(dropped(NOON, 2), NOON), (second, NOON + MINUTE), (second, NOON + 5 * HOUR)])
        life.pass_until(float("inf"))

        assert started(life) == ["cart"]


def test_another_trigger_after_the_end_begins_again() -> None:
    """What was heard is the fact, not the item."""
    life = Life(ANN, setting(None, journey(triggers=(WATCHED,), exits=())))

    life.fold_all([(dropped(NOON, 2), NOON), (dropped(NOON + 5 * HOUR, 3), NOON + 5 * HOUR)])

    assert started(life) == ["cart", "cart"]


def test_once_is_remembered_however_many_shorter_cooldowns_came_since() -> None:
    """Where starts give way, those that must never be repeated give way last."""
    once = journey(
        name="once",
        triggers=(j.Match(fact="AppOpened"),),
        exits=(),
        cooldown_ms=ONCE,
    )
    often = journey(
        name="often",
        triggers=(j.Match(fact="CustomActivity", key="properties.number"),),
        exits=(),
        cooldown_ms=DAY,
    )
    life = Life(ANN, setting(None, once, often))
    facts: list[f.SubjectFact] = [fact(f.AppOpened, NOON)]
    for number in range(2 * ENTERED_MAX):
        at = NOON + 2 * HOUR + number * MINUTE
        facts.append(fact(f.CustomActivity, at, name="ping", properties={"number": f"n{number}"}))
    facts.append(fact(f.AppOpened, NOON + 9 * DAY))

    life.fold_all((one, one.occurred_at) for one in facts)

    assert started(life).count("once") == 1
    assert started(life).count("often") == 2 * ENTERED_MAX
    assert len(life.subject.entered) == ENTERED_MAX
    assert list(life.subject.entered) == sorted(life.subject.entered, key=lambda entry: (entry[1], entry[0]))


def test_a_cooldown_is_a_duration_or_forever(tmp_path: Path) -> None:
    """Both are read from a journey's file."""
    for number, (written, read) in enumerate((("7d", 7 * DAY), ("forever", ONCE))):
        folder = tmp_path / str(number)
        write_definitions(folder)
        path = folder / "journeys" / "cart_abandonment.yaml"
        path.write_text(path.read_text("utf-8") + f"\ncooldown: {written}\n", "utf-8")

        (cart,) = (one for one in load(folder).journeys if one.name == "cart_abandonment")
        assert cart.cooldown_ms == read
