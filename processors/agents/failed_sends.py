"""What stands in place of pushes whose step raised: their one outcome, which claims no more than is known."""

from __future__ import annotations

from ledger import facts as f
from ledger.consent import installation_key
from ledger.ids import push_id
from processors.agents.delivery_facts import (
    FRESH,
    Answered,
    Due,
    LookedAgain,
    Ready,
    never_known,
    outcome_fact,
    withheld_late,
)
from processors.agents.failed_steps import FAILED

Ended = tuple[str, f.DeliveryFact]
"""(id of a push, its outcome)."""


def of_decision(fact: f.SubjectFact, now: int) -> list[Ended]:
    """The pushes of a decision to send, none of which was attempted: all are withheld."""
    if not isinstance(fact, f.PushDecided) or fact.verdict != "send":
        return []
    keys = {one: installation_key(fact.app, one) for one in fact.installations}
    names = {one: push_id(fact.decision_id, key) for one, key in keys.items()}
    return [(name, withheld_late(name, fact, one, FAILED, now, FRESH)) for one, name in names.items()]


def of_result(result: Answered | LookedAgain, now: int) -> list[Ended]:
    """The push whose result could not be recorded, if it was one.

    What a provider answered stands; a push that nobody has is withheld; of one that waited nobody knows.
    """
    match result:
        case Answered(ready=Ready() as ready, outcome=outcome):
            return [(ready.push.push_id, outcome_fact(ready, outcome, now))]
        case LookedAgain(what=Ready() as ready):
            name = ready.push.push_id
            return [(name, withheld_late(name, ready.decision, ready.installation, FAILED, now, ready.past))]
        case LookedAgain(what=Due(row=row)):
            return [(row.push_id, never_known(row, now))]
        case _:
            return []
