"""What gives way where a subject's row is full, and the fact that says so.

Every collection of a row is bounded. A fact of consent that needs more room is refused
(`consent_fold.refusal`); what journeys keep gives way, the oldest first. Memories of ids that were seen roll
on without a word. So no row outgrows what a record may hold (tests/unit/test_room.py).
"""

from __future__ import annotations

import msgspec

from ledger import facts as f
from ledger.consent import Consent, installation_key, token_id
from ledger.ids import derived
from ledger.subject import CONTACTS_MAX, Contact, Subject


def evicted(
    name: str, app: str, part: str, count: int, cause: str, what: str, now: int
) -> tuple[f.StateEvicted, ...]:
    """Say that `count` of a part of subject `name` gave way for `cause`; nothing if it is none.

    `what` tells several of one part and cause apart (an id of where they were).
    """
    if not count:
        return ()
    fact = f.StateEvicted(
        event_id=derived("evicted", name, part, cause, what),
        app=app,
        occurred_at=now,
        source="processor",
        subject=name,
        part=part,
        count=count,
        cause=cause,
    )
    return (fact,)


def with_contact(
    contacts: tuple[Contact, ...], contact: Contact, lasting: str
) -> tuple[tuple[Contact, ...], int]:
    """Add a contact, and make room for it; how many gave way.

    Contacts of the `lasting` category stay: they are slots of the caps, and the gate grants no more than fit.
    """
    everything = (*contacts, contact)
    over = sum(map(_size, everything)) - CONTACTS_MAX
    if over <= 0:
        return everything, 0
    kept = []
    for one in everything:
        if over > 0 and one.category != lasting:
            over -= _size(one)
        else:
            kept.append(one)
    return tuple(kept), len(everything) - len(kept)


def released(subject: Subject, fact: f.DeliveryFact) -> Subject:
    """Give a slot of the caps back: the push of a marketing decision never went out.

    Only what is certain counts: refused before it was taken, or withheld by the last look. A marketing
    decision goes to one installation, so its one outcome settles it; where its address was refused and the
    decision goes to another one, the slot is that one's.
    """
    if not isinstance(fact, f.PushRejected | f.PushWithheldLate):
        return subject
    if fact.next_installation is not None:
        other = (installation_key(fact.app, fact.next_installation),)
        passed = tuple(
            msgspec.structs.replace(one, installations=other)
            if one.decision_id == fact.decision_id and len(one.installations) == 1
            else one
            for one in subject.contacts
        )
        return msgspec.structs.replace(subject, contacts=passed)
    left = tuple(
        one for one in subject.contacts if one.decision_id != fact.decision_id or len(one.installations) != 1
    )
    return subject if left == subject.contacts else msgspec.structs.replace(subject, contacts=left)


def _size(contact: Contact) -> int:
    return max(1, len(contact.installations))


def tokens_lost(before: Consent, after: Consent, fact: f.TokenRegistered | f.TokenInvalidated) -> int:
    """How many live addresses of the fact's installation its fold pushed out; dead ones are a memory."""
    key = installation_key(fact.app, fact.installation)
    if key not in after.installations:
        return 0
    known = before.installations.get(key)
    live = {token.token_id for token in known.tokens if token.live} if known is not None else set()
    if isinstance(fact, f.TokenRegistered):
        live.add(token_id(fact.provider, fact.token))
    return len(live - {token.token_id for token in after.installations[key].tokens})
