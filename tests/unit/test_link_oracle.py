"""The judge of identity finds what it is there to find, and nothing in an honest history."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.link_oracle import LINK, UNLINK, Told, late_pushes, wrong_links

PHONE = {"app": "shop", "installation": "phone"}


def claim(name: str, subject: str | None, at: int, sequence: int | None = None) -> Told:
    """A claim that was appended when it happened."""
    fields = {**PHONE, "event_id": name, "subject": subject, "occurred_at": at, "sequence": sequence}
    return "InstallationClaimed", fields, at


def told(kind: str, cause: str, subject: str, at: int, appended: int) -> Told:
    """What followed from a claim."""
    event = f"{kind}-{cause}"
    return kind, {**PHONE, "event_id": event, "claim": cause, "subject": subject, "occurred_at": at}, appended


CLAIMS = [
    claim("c1", "ann", 10),
    claim("c2", "bob", 20, sequence=5),
    claim("c1", "ann", 10),
    claim("c3", "cid", 15, sequence=4),
    claim("c4", "ann", 20, sequence=6),
]
LINKS = [
    told(LINK, "c1", "ann", 10, 11),
    told(UNLINK, "c2", "ann", 20, 21),
    told(LINK, "c2", "bob", 20, 22),
    told(UNLINK, "c4", "bob", 21, 23),
    told(LINK, "c4", "ann", 21, 24),
]


def test_an_honest_history_has_no_objection() -> None:
    """Copies that a crash repeated included; late and second claims have nothing that follows."""
    assert wrong_links(CLAIMS, [*LINKS, *LINKS]) == []


PLANTED: dict[str, tuple[list[Told], str]] = {
    "lost": (LINKS[:-1], "None, not"),
    "of a late claim": ([*LINKS, told(LINK, "c3", "cid", 15, 31)], "not None"),
    "of another subject": ([*LINKS[:-1], told(LINK, "c4", "bob", 21, 24)], "not ('ann'"),
    "of another time": ([*LINKS[:-1], told(LINK, "c4", "ann", 20, 24)], "not ('ann'"),
    "told in two ways": ([*LINKS, told(LINK, "c4", "ann", 99, 24)], "in two ways"),
    "in the wrong order": ([*LINKS[:3], told(UNLINK, "c4", "bob", 21, 25), LINKS[4]], "before it unlinked"),
}


@pytest.mark.parametrize(("links", "words"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_found(links: list[Told], words: str) -> None:
    """Each for the right reason."""
    assert any(words in objection for objection in wrong_links(CLAIMS, links))


def push(name: str, at: int) -> Told:
    """A delivery fact about Ann's push to the phone."""
    return name, {**PHONE, "subject": "ann", "push_id": "p"}, at


@pytest.mark.parametrize(
    ("attempted", "outcome", "late"),
    [(50, "PushAccepted", False), (130, "PushAccepted", True), (130, "PushWithheldLate", False)],
)
def test_a_push_after_the_lease_of_an_unlink_is_found(attempted: int, outcome: str, late: bool) -> None:
    """Handed over, that is; and only as long as nobody linked the phone to her again."""
    deliveries: list[Told] = [push("PushAttempted", attempted), push(outcome, attempted + 1)]
    links: list[Told] = LINKS[:3]

    assert bool(late_pushes(links, deliveries, lease_ms=100)) is late
    assert late_pushes(LINKS, deliveries, lease_ms=100) == []


def test_the_last_attempt_is_the_one_that_counts() -> None:
    """An attempt that was not handed over in time is made again, behind a new barrier."""
    deliveries: list[Any] = [push("PushAttempted", 50), push("PushAttempted", 130), push("PushAccepted", 131)]

    assert late_pushes(LINKS[:3], deliveries, lease_ms=100) != []
