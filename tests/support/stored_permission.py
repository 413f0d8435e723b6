"""Reads which permission a stored row of a subject comes to, as the gate would."""

from __future__ import annotations

from ledger import subject
from ledger.effective import Effective, effective


def stored_permission(row: bytes, installation: str = "shop/phone") -> Effective:
    """The permission that counts on one installation of a row of the journeys role's changelog."""
    return effective(subject.decode(row).consent.installations[installation])
