"""Steps that failed: a fault of a rule, of a text or of this program keeps marketing from one person alone.

A step is one fold of a fact or one firing of a timer. One that raises is undone and put aside as a dead
letter; its subject keeps a mark until an operator settles the letter. Until then the gate withholds marketing
(`gate.INTERNAL_ERROR`), since what the step would have said of the person is not known. A timer that failed
waits with its mark: it fires again once the mark is gone.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger import facts as f
from ledger.consent_fold import fold_fact
from ledger.subject import FAILED_MAX, FailedStep, Subject
from ledger.unreadable import NO_OFFSET

ALL: Final = "all"
"""In place of a letter's id: every failed step of the subject is settled."""

_MORE: Final = ""
"""The letter of a mark that stands for all for which there was no room."""


def mark_failed(subject: Subject, letter: str, at: int, *, timer: bool = False) -> Subject:
    """Note that a step failed at `at` (ms), whose dead letter has this id. `timer`: it was no fact's.

    Without room the last mark stands for all further ones, and only `ALL` takes it away. An erased subject
    is marked by nothing: there is no marketing to keep away.
    """
    marks = subject.failed
    if subject.consent.erased_at is not None or any(mark.letter == letter for mark in marks):
        return subject
    mark = FailedStep(letter, at, timer)
    if len(marks) >= FAILED_MAX:
        mark = FailedStep(_MORE, at, timer or marks[-1].timer)
        marks = marks[: FAILED_MAX - 1]
    return msgspec.structs.replace(subject, failed=(*marks, mark))


def settle_failed(subject: Subject, fact: f.UnreadableFactSettled) -> Subject:
    """Take away the mark whose letter was settled; a second time changes nothing."""
    if not subject.failed or fact.last_offset != NO_OFFSET:
        return subject
    left = () if fact.letter == ALL else tuple(one for one in subject.failed if one.letter != fact.letter)
    return subject if len(left) == len(subject.failed) else msgspec.structs.replace(subject, failed=left)


def consent_alone(subject: Subject, fact: f.SubjectFact, appended_ms: int, offset: int) -> Subject:
    """Fold a fact into consent and nowhere else: what journeys made of it failed, a refusal counts still.

    An erasure takes everything else along; what was open then ends without a fact that says so.
    """
    consent = fold_fact(subject.consent, fact, appended_ms, offset)
    if consent is subject.consent:
        return subject
    if consent.erased_at is not None:
        return Subject(consent=consent)
    return msgspec.structs.replace(subject, consent=consent)
