"""The shipped journeys do what their cases say, and their cases say enough.

Every case of processors/definitions/shipped runs here on the core. Besides, each journey must have a case of
what people count on: that it ends at its goal and at each exit, that a no is heard, that an erasure ends it,
that facts may come late or twice.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from _pytest.mark.structures import ParameterSet

from ledger import facts as f
from ledger.definitions import Definitions
from ledger.gate import MARKETING
from ledger.journey import CONVERTED, Exit, Journey
from ledger.life import Life
from processors.definitions import cases
from processors.definitions.loader import TEST_ENDING, examine, load
from tests.architecture.sources import ROOT
from tests.support.given import DAY, HOUR, MINUTE, NOON, SECOND, fact, setting

SHIPPED: Final = Path(cases.__file__).parent / "shipped"
PROGRAMME: Final = (
    "activation", "back_in_stock", "bill_reminder", "browse_abandonment", "cart_abandonment", "onboarding",
    "order_updates", "price_drop", "replenishment", "security_alert", "staged_trust", "topic_digest",
    "trial_expiry", "welcome", "win_back",
)  # fmt: skip
TRANSACTIONAL: Final = ("order_updates", "security_alert")
TRANSACTIONAL_ROW: Final = "| `orders`, `security` | no matter | order_updates, security_alert,"


@cache
def definitions() -> Definitions:
    """The shipped definitions, read once."""
    return load(SHIPPED)


@cache
def outcomes(path: Path) -> tuple[cases.Outcome, ...]:
    """How the cases of a shipped file came out."""
    return tuple(cases.run(path, SHIPPED, definitions()))


def all_cases() -> Iterator[ParameterSet]:
    """(file, number) of each case, named by journey and case."""
    for path in sorted((SHIPPED / "journeys").glob(f"*{TEST_ENDING}")):
        read, _, problems = cases.read_cases(path, SHIPPED)
        assert read is not None, problems
        for number, case in enumerate(read.cases):
            yield pytest.param(path, number, id=f"{read.journey}: {case.case}")


@pytest.mark.parametrize(("path", "number"), [*all_cases()])
def test_a_case_comes_out_as_it_says(path: Path, number: int) -> None:
    """The decisions and ends that follow are those that the case lists, in order."""
    outcome = outcomes(path)[number]

    assert outcome.difference == "", f"{outcome.file}:{outcome.line}"


def test_the_programme_is_complete_and_sound() -> None:
    """All journeys are there, nothing is wrong with any file, and each name is said once."""
    found = examine(SHIPPED)

    assert found.problems == ()
    assert tuple(sorted(found.journeys)) == PROGRAMME


@pytest.mark.parametrize("name", PROGRAMME)
def test_the_cases_of_a_journey_say_enough(name: str) -> None:
    """Each journey has a case of everything that people count on."""
    path = SHIPPED / "journeys" / f"{name}{TEST_ENDING}"
    read, _, _ = cases.read_cases(path, SHIPPED)

    assert read is not None
    assert read.journey == name
    assert missing(journey(name), read.cases) == []


def test_each_journey_has_a_story() -> None:
    """The page tells each of them under a heading that leads to its file, and each topic of the policy."""
    page = (ROOT / "docs" / "journeys.md").read_text("utf-8")
    policy = examine(SHIPPED).policy
    assert policy is not None

    told = re.findall(
        r"(?m)^### \[(\w+)\]\(\.\./processors/definitions/shipped/journeys/(\w+)\.yaml\)$", page
    )
    assert sorted(told) == [(name, name) for name in PROGRAMME]
    for topic, on in policy.topics.items():
        assert f"| `{topic}` | {'on' if on else 'off'} |" in page or f"`{topic}`" in TRANSACTIONAL_ROW
    assert TRANSACTIONAL_ROW in page


def test_cases_that_say_too_little_are_found() -> None:
    """Without its cases a journey lacks all of it; without one of them, what that one was for."""
    read, _, _ = cases.read_cases(SHIPPED / "journeys" / f"price_drop{TEST_ENDING}", SHIPPED)
    assert read is not None
    cart = journey("price_drop")
    everything = [
        "a send", "the goal", "the outcome exited", "an erasure", "a copy of a fact",
        "a late fact that counts", "a late fact that does not", "no to the topic",
        "notifications switched off", "the comparison group", "a hold",
    ]  # fmt: skip

    assert missing(cart, ()) == everything
    assert missing(journey("order_updates"), ()) == [one for one in everything[:7] if "outcome" not in one]
    without = tuple(one for one in read.cases if "erasure" not in one.case)
    assert missing(cart, without) == ["an erasure"]


def journey(name: str) -> Journey:
    """A shipped journey by its name."""
    (found,) = (one for one in definitions().journeys if one.name == name)
    return found


def missing(of: Journey, given: tuple[cases.Case, ...]) -> list[str]:
    """What the cases of a journey do not speak of, though people count on it."""
    verdicts = {one.verdict for case in given for one in case.then}
    ends = {one.ended for case in given for one in case.then}
    everything = [(case, one) for case in given for one in (*case.given, *case.when)]
    late = [case for case, one in everything if one.arrives is not None]
    goal = next(way for way in of.exits if way.outcome == CONVERTED)
    said = {
        "a send": "send" in verdicts,
        # What is told at once has no time to end by its goal: one that came before keeps it from beginning.
        "the goal": any(
            _is(goal, one) and (_ends(case, CONVERTED) or (not _markets(of) and not case.then))
            for case, one in everything
        ),
        **{f"the outcome {way.outcome}": way.outcome in ends for way in of.exits if way.outcome != CONVERTED},
        "an erasure": any(
            one.fact == "SubjectErased" and (_ends(case, "erased") or (not _markets(of) and not case.then))
            for case, one in everything
        ),
        "a copy of a fact": any(one.twice is not None for _, one in everything),
        "a late fact that counts": any(case.then for case in late),
        "a late fact that does not": any(not case.then for case in late),
    }
    if _markets(of):
        for what, kind in (
            ("no to the topic", "TopicUnsubscribed"),
            ("notifications switched off", "PermissionRevoked"),
        ):
            said[what] = any(one.fact == kind and _ends(case, "opted_out") for case, one in everything)
        said["the comparison group"] = "hold_out" in verdicts
        said["a hold"] = any(one.verdict == "hold" for case in given for one in case.then)
    return [what for what, is_said in said.items() if not is_said]


def _markets(of: Journey) -> bool:
    return any(push.message.category == MARKETING for push in of.pushes)


def _is(way: Exit, given: cases.Given) -> bool:
    return given.fact == way.fact and all(given.fields.get(name) == word for name, word in way.where.items())


def _ends(case: cases.Case, outcome: str) -> bool:
    return any(one.ended == outcome for one in case.then)


def test_marketing_has_a_comparison_group_of_its_own_and_service_has_none() -> None:
    """No two journeys hold out the same people, and nobody is kept from news of an order or an account."""
    assert [one.name for one in definitions().journeys if not _markets(one)] == list(TRANSACTIONAL)
    for one in definitions().journeys:
        assert one.holdout.salt == f"{one.name}-2026"
        assert (one.holdout.percent > 0) == _markets(one)


def test_what_people_must_ask_for_is_off() -> None:
    """A topic counts as subscribed only where people began it themselves."""
    off = {"ideas", "refills", "digest", "offers"}

    policy = examine(SHIPPED).policy
    assert policy is not None
    assert {topic for topic, on in policy.topics.items() if not on} == off


def test_news_that_passes_goes_first() -> None:
    """Of several that are wanted together, the more pressing one has the greater priority."""
    order = [
        "price_drop", "trial_expiry", "bill_reminder", "cart_abandonment", "topic_digest", "onboarding",
        "activation", "browse_abandonment", "replenishment", "welcome", "win_back", "staged_trust",
    ]  # fmt: skip
    priorities = [journey(name).priority for name in order]

    assert priorities == sorted(set(priorities), reverse=True)
    assert journey("back_in_stock").priority == priorities[0]


def test_a_price_goes_before_a_cart_that_is_due_at_the_same_time() -> None:
    """All journeys together: the cart asks first by a few seconds, and the price is sent."""
    life = Life("anna", setting(definitions=definitions()))
    anna = {"subject": "anna"}
    facts = [
        fact(f.InstallationSeen, NOON - 90 * DAY, platform="ios", time_zone="Europe/Berlin", **anna),
        fact(f.PermissionGranted, NOON - 90 * DAY, level="authorized", **anna),
        fact(f.TokenRegistered, NOON - 90 * DAY, provider="console", token="t", **anna),
        fact(f.PushOpened, NOON - 40 * DAY, push_id="before", **anna),
        fact(f.CartUpdated, NOON, item="boots", change="added", **anna),
        fact(
            f.WatchedItemChanged,
            NOON + 50 * MINUTE + 10 * SECOND,
            item="scarf",
            change="price_dropped",
            version=2,
            changed_at=NOON + 50 * MINUTE,
            price_minor=1990,
            currency="EUR",
            **anna,
        ),
    ]
    life.fold_all((one, one.occurred_at) for one in facts)
    life.pass_until(NOON + 2 * HOUR)

    decided = [one for one in life.said if isinstance(one, f.PushDecided) and one.occurred_at > NOON]
    assert [(one.journey, one.verdict, one.reason) for one in decided] == [
        ("price_drop", "send", None),
        ("cart_abandonment", "withhold", "min_gap"),
    ]
    assert {one.occurred_at for one in decided} == {NOON + HOUR + 30 * SECOND}


def test_a_case_that_is_wrong_is_told_with_its_file_and_line(tmp_path: Path) -> None:
    """A changed expectation fails: what was wanted, and what followed."""
    folder = tmp_path / "definitions"
    shutil.copytree(SHIPPED, folder)
    path = folder / "journeys" / f"trial_expiry{TEST_ENDING}"
    text = path.read_text("utf-8")
    right = "      - {at: 12d, ended: exited}\n"
    assert text.count(right) == 1
    path.write_text(text.replace(right, "      - {at: 12d, ended: converted}\n"), "utf-8")
    line = 1 + text[: text.index("a trial that was cancelled ends it")].count("\n")

    failed = [one for one in cases.run(path, folder, load(folder)) if one.difference]

    assert [(one.file, one.line, one.case) for one in failed] == [
        (f"journeys/trial_expiry{TEST_ENDING}", line, "a trial that was cancelled ends it")
    ]
    assert (
        failed[0].difference == "2. wanted: {at: 12d, ended: converted}; followed: {at: 12d, ended: exited}"
    )
