"""Records of a subject that could not be read: marks that keep marketing away until somebody saw to them.

A record on permissions that can't be decoded, or that the ledger refuses, may be a revocation. So it marks
its subject, by its offset on the subject's own partition, and `UnreadableFactSettled`, which stands later
on the same partition, takes the mark away. Unlike all else in consent this goes by the order of the log:
both stand on one partition, whose order is given.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger import facts as f
from ledger.consent import UNREADABLE_MAX, Consent, Unreadable

NO_OFFSET: Final = -1
"""Both offsets of an `UnreadableFactSettled` that settles a failed step (`ledger.failed_steps`) and no
record: it names its letter alone."""


WRONG_TOPIC: Final = "wrong_topic"
_READ_AND_NO_REFUSAL: Final = frozenset({WRONG_TOPIC, "unknown_time_zone", "unknown_country"})
"""Reasons for which a fact is refused that was read, and that refuses nothing itself."""


def leaves_mark(reason: str) -> bool:
    """Whether a record of permissions that was refused for this reason may have been a revocation."""
    return reason not in _READ_AND_NO_REFUSAL


class FormerlyTaken(msgspec.Struct, frozen=True):
    """A fact on permissions that is refused today, without a mark, and was folded before decision 24."""

    fact: f.SubjectFact

    @property
    def subject(self) -> str:
        """Whose it is."""
        return self.fact.subject


class UnreadableRecord(msgspec.Struct, frozen=True):
    """A record of permissions with the key of `subject`, in place of the fact that nobody could read."""

    subject: str


def mark(consent: Consent, offset: int, at: int) -> Consent:
    """Note that the subject's record at `offset` of its partition of permissions could not be read.

    Without room for one more, the last mark grows to cover it, and every record of the subject in between;
    only a settlement of all of that takes it away. An erased subject is marked by nothing.
    """
    marks = consent.unreadable
    if consent.erased_at is not None or any(m.first_offset <= offset <= m.last_offset for m in marks):
        return consent
    if len(marks) < UNREADABLE_MAX:
        grown = (*marks, Unreadable(offset, offset, at))
    else:
        last = marks[-1]
        grown = (*marks[:-1], Unreadable(last.first_offset, max(last.last_offset, offset), last.at))
    return msgspec.structs.replace(consent, unreadable=grown)


def settle(consent: Consent, fact: f.UnreadableFactSettled) -> Consent:
    """Take away the marks that lie wholly within the settled offsets; a second time changes nothing."""
    left = tuple(
        m
        for m in consent.unreadable
        if m.first_offset < fact.first_offset or m.last_offset > fact.last_offset
    )
    if len(left) == len(consent.unreadable):
        return consent
    return msgspec.structs.replace(consent, unreadable=left)
