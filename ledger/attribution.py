"""Attribution: which sent push an open or an order belongs to.

An open names its push. An order goes to the last push before it, if that was sent within the journey's
attribution window (every decision carries it, so that reports can apply the same rule); one push is
credited at most one open and one order (the first).
"""

from __future__ import annotations

import msgspec

from ledger.ids import push_id
from ledger.subject import Contact


def opened(contacts: tuple[Contact, ...], push: str, at: int) -> tuple[Contact, ...]:
    """Credit an open of `push` at `at` (ms); an unknown push changes nothing."""
    for index in range(len(contacts) - 1, -1, -1):
        contact = contacts[index]
        if any(push_id(contact.decision_id, key) == push for key in contact.installations):
            if 0 <= contact.opened_at <= at:
                return contacts
            return _with(contacts, index, msgspec.structs.replace(contact, opened_at=at))
    return contacts


def ordered(contacts: tuple[Contact, ...], at: int) -> tuple[Contact, ...]:
    """Credit an order at `at` (ms) to the last push sent before it, if within its window."""
    for index in range(len(contacts) - 1, -1, -1):
        contact = contacts[index]
        if contact.at <= at:
            if at - contact.at > contact.attribution_ms or 0 <= contact.ordered_at <= at:
                return contacts
            return _with(contacts, index, msgspec.structs.replace(contact, ordered_at=at))
    return contacts


def _with(contacts: tuple[Contact, ...], index: int, contact: Contact) -> tuple[Contact, ...]:
    return (*contacts[:index], contact, *contacts[index + 1 :])
