"""The demo's simulated shop week, its stories, and the opens."""

from __future__ import annotations

import hashlib
from collections import Counter

import msgspec
import pytest

from connectors.datasets import shop_person, shop_week
from ledger import facts as f
from ledger.admission import rejection

SMALL = shop_week.shop_week(subjects=400)
EVERYTHING = (*SMALL.permissions, *SMALL.tokens, *SMALL.activity)


def _story(subject: str) -> list[tuple[str, str]]:
    mine = sorted((fact for fact in EVERYTHING if fact.subject == subject), key=lambda fact: fact.occurred_at)
    names = {"ItemViewed", "AppOpened", "PromptShown"}
    return [
        (type(fact).__name__, getattr(fact, "item", None) or ",".join(getattr(fact, "items", ())))
        for fact in mine
        if type(fact).__name__ not in names
    ]


def test_the_same_arguments_give_the_same_week() -> None:
    """Pinned: today and in other versions of Python the week is the same, byte for byte."""
    digest = hashlib.sha256()
    for fact in EVERYTHING:
        digest.update(msgspec.json.encode({"kind": type(fact).__name__, **msgspec.to_builtins(fact)}))

    assert digest.hexdigest()[:16] == "7ab0f1bbee9b853c"


def test_another_seed_is_another_week() -> None:
    """The seed changes the people, but not the three stories."""
    other = shop_week.shop_week(subjects=5, seed=1)
    named = [fact for fact in other.activity if fact.subject == "demo-anna"]

    assert named == [fact for fact in SMALL.activity if fact.subject == "demo-anna"]
    assert [fact for fact in other.activity if fact.subject == "demo-00001"] != [
        fact for fact in SMALL.activity if fact.subject == "demo-00001"
    ]


def test_more_people_change_nobody_else() -> None:
    """Person 7 is the same in a week of ten and in a week of four hundred."""
    few = shop_week.shop_week(subjects=10)

    assert [fact for fact in few.activity if fact.subject == "demo-00007"] == [
        fact for fact in SMALL.activity if fact.subject == "demo-00007"
    ]


@pytest.mark.parametrize("subjects", [-1, shop_week.SUBJECTS_MAX + 1])
def test_an_absurd_number_of_people_is_refused(subjects: int) -> None:
    """The week is bounded."""
    with pytest.raises(ValueError, match="subjects must be from 0"):
        shop_week.shop_week(subjects)


def test_every_fact_is_admissible_lies_in_the_week_and_says_that_it_is_made_up() -> None:
    """No refused fact, no doubled id, none outside the seven days, each with `:demo` in its source."""
    end = shop_person.END_MS

    assert {rejection(fact, fact.subject.encode(), end) for fact in EVERYTHING} == {None}
    assert len({fact.event_id for fact in EVERYTHING}) == len(EVERYTHING)
    assert all(shop_person.START_MS <= fact.occurred_at < end for fact in EVERYTHING)
    assert {fact.source for fact in EVERYTHING} == {"device:demo", "server:demo"}


@pytest.mark.parametrize("topic", ["permissions", "tokens", "activity"])
def test_each_topic_is_sorted_by_time(topic: str) -> None:
    """Facts are published in the order in which they happened."""
    order = [(fact.occurred_at, fact.subject) for fact in getattr(SMALL, topic)]

    assert order == sorted(order)


def test_an_installation_is_seen_before_anything_else_is_said_of_it() -> None:
    """Nobody acts, answers or registers before the app has told of itself."""
    seen: dict[str, str] = {}
    for fact in sorted(EVERYTHING, key=lambda fact: (fact.occurred_at, type(fact).__name__ == "AppOpened")):
        installation = getattr(fact, "installation", None)
        if installation is not None:
            seen.setdefault(installation, type(fact).__name__)

    assert set(seen.values()) == {"InstallationSeen"}


def test_a_person_is_asked_once_and_a_dialog_follows_only_an_accepted_primer() -> None:
    """The system's dialog is a one-shot: it is spent on those who said yes to the primer, or got none."""
    prompts: dict[str, list[str]] = {}
    for fact in SMALL.permissions:
        if isinstance(fact, f.PromptAnswered) and fact.subject not in {"demo-anna", "demo-ben", "demo-carla"}:
            prompts.setdefault(fact.subject, []).append(f"{fact.prompt} {fact.answer}")

    assert set(map(tuple, prompts.values())) == {
        ("primer declined",),
        ("primer dismissed",),
        ("primer accepted", "os accepted"),
        ("primer accepted", "os declined"),
        ("os accepted",),
        ("os declined",),
    }


def test_acceptance_depends_on_the_moment() -> None:
    """After an order more primers are accepted than at the first start."""
    answers = [
        (fact.context, fact.answer == "accepted")
        for fact in shop_week.shop_week().permissions
        if isinstance(fact, f.PromptAnswered) and fact.prompt == "primer"
    ]
    shown = Counter(context for context, _ in answers)
    accepted = Counter(context for context, yes in answers if yes)
    share = {context: accepted[context] / shown[context] for context in shown}

    assert set(share) == {"first_open", "after_save", "after_cart", "after_order"}
    assert share["first_open"] < share["after_save"] < share["after_order"]
    assert share["first_open"] < share["after_cart"] < share["after_order"]


def test_the_week_holds_every_kind_of_fact_that_an_app_can_tell() -> None:
    """All facts of permissions, tokens and activity but opens."""
    week = shop_week.shop_week()
    kinds = {type(fact) for fact in (*week.permissions, *week.tokens, *week.activity)}

    told = f.FACTS[: f.FACTS.index(f.PushOpened)]
    assert kinds == {kind for kind in told if not issubclass(kind, f.LinkFact | f.UnreadableFactSettled)}


def test_nothing_is_told_of_a_subject_after_its_erasure() -> None:
    """An app has nothing more to say of whom it forgot."""
    week = shop_week.shop_week()
    erased = {x.subject: x.occurred_at for x in week.permissions if isinstance(x, f.SubjectErased)}
    later = [
        fact
        for fact in (*week.permissions, *week.tokens, *week.activity)
        if fact.occurred_at > erased.get(fact.subject, shop_person.END_MS)
    ]

    assert erased
    assert later == []


class TestStories:
    """Three people whose weeks are written by hand."""

    def test_anna(self) -> None:
        """Grants after a cart; carts before the night, orders in the morning; revokes; carts again."""
        assert _story("demo-anna") == [
            ("InstallationSeen", ""),
            ("CartUpdated", "lamp-7"),
            ("PromptAnswered", ""),
            ("PromptAnswered", ""),
            ("PermissionGranted", ""),
            ("TokenRegistered", ""),
            ("OrderPlaced", "lamp-7"),
            ("CartUpdated", "boots-3"),
            ("OrderPlaced", "boots-3"),
            ("PermissionRevoked", ""),
            ("CartUpdated", "scarf-9"),
        ]

    def test_ben(self) -> None:
        """Orders what he carted before anybody may remind him."""
        assert _story("demo-ben")[-2:] == [("CartUpdated", "bag-2"), ("OrderPlaced", "bag-2")]

    def test_carla(self) -> None:
        """Wants one push a day, and fills two carts on one day."""
        assert _story("demo-carla")[-3:] == [
            ("FrequencyChosen", ""),
            ("CartUpdated", "chair-4"),
            ("CartUpdated", "chair-6"),
        ]


class TestOpens:
    """Which pushes are opened, and when."""

    def test_about_one_push_in_seven_is_opened_within_three_hours(self) -> None:
        """Hash-ruled over the push id: 14 %, after at least 20 seconds."""
        accepted = [(f"demo-{n}", "shop", f"demo-{n}-1", f"push-{n}", 1_000_000) for n in range(2_000)]
        opened = shop_week.opens(accepted)

        assert 210 < len(opened) < 350
        assert all(20_000 <= fact.occurred_at - 1_000_000 <= 3 * 3_600_000 for fact in opened)
        assert opened == sorted(opened, key=lambda fact: (fact.occurred_at, fact.push_id))
        assert rejection(opened[0], opened[0].subject.encode(), 2_000_000_000_000) == (
            "absurd_time",
            "occurred_at must be milliseconds between the years 2000 and 2100",
        )

    def test_the_order_and_the_number_of_reports_do_not_matter(self) -> None:
        """A push that is reported twice is opened once, the same way in any order."""
        accepted = [(f"demo-{n}", "shop", f"demo-{n}-1", f"push-{n}", n) for n in range(300)]

        assert shop_week.opens([*reversed(accepted), *accepted]) == shop_week.opens(accepted)

    def test_anna_opens_hers_after_twelve_minutes(self) -> None:
        """The story does not hang on a hash; an installation's key is told as its plain id."""
        [opened] = shop_week.opens([("demo-anna", "shop", "shop/demo-anna-phone", "p", 1_772_694_000_000)])

        assert (opened.occurred_at, opened.push_id) == (1_772_694_720_000, "p")
        assert opened.installation == "demo-anna-phone"
        assert rejection(opened, b"demo-anna", opened.occurred_at) is None
