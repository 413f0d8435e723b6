"""The facts that all contestants fold, and the plain fold that judges what they made of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ledger import facts as f
from ledger.consent import EMPTY, Consent
from ledger.consent_fold import take_in

FIRST_MS: Final = 1_767_225_600_000
"""2026-01-01: the benchmark's facts have fixed times in the past, so none is ahead of the broker's clock."""
SPREAD: Final = 7_919
"""A prime: people take turns in a scattered order, each again only after all others.

So no two facts of a chunk are about one person, and every fact costs a row of the changelog: the worst case.
"""


def consent_facts(events: int, subjects: int, first: int = 0) -> Iterator[f.SubjectFact]:
    """The facts numbered from `first` up to `first + events`, about `subjects` people in turn."""
    for number in range(first, first + events):
        yield consent_fact(number, subjects)


def consent_fact(number: int, subjects: int) -> f.SubjectFact:
    """One fact; each person's facts are of all four kinds in turn."""
    envelope: dict[str, Any] = {
        "event_id": f"bench-{number}",
        "app": "bench",
        "occurred_at": FIRST_MS + number,
        "source": "device:bench",
        "subject": f"person-{number * SPREAD % subjects}",
    }
    match (number + number // subjects) % 4:
        case 0:
            return f.PermissionGranted(**envelope, installation="phone", level="authorized")
        case 1:
            return f.TopicUnsubscribed(**envelope, topic="news")
        case 2:
            return f.PermissionRevoked(**envelope, installation="phone", cause="os_settings")
        case _:
            return f.PermissionObserved(**envelope, installation="phone", permission="authorized")


def plain_fold(facts: Iterator[f.SubjectFact]) -> dict[str, Consent]:
    """The consent of each subject, fact by fact, without any machinery around the core."""
    expected: dict[str, Consent] = {}
    for fact in facts:
        before = expected.get(fact.subject, EMPTY)
        expected[fact.subject] = take_in(before, fact, fact.occurred_at)
    return expected
