"""Orders installations that a push can go to, as indices of a snapshot's views: the latest active first."""

from __future__ import annotations

from collections.abc import Iterable

from ledger.snapshot import Snapshot


def usable(snapshot: Snapshot, allowed: tuple[str, ...]) -> tuple[int, ...]:
    """Installations with one of the permissions that suffice."""
    return tuple(i for i, view in enumerate(snapshot.consent.installations) if view.permission in allowed)


def reachable(snapshot: Snapshot, allowed: tuple[str, ...]) -> tuple[int, ...]:
    """Usable ones with a live address, in the order in which they are chosen."""
    views = snapshot.consent.installations
    return by_activity(snapshot, (i for i in usable(snapshot, allowed) if views[i].token_live))


def by_activity(snapshot: Snapshot, indices: Iterable[int]) -> tuple[int, ...]:
    """The most recently active first; of those that are alike, by their keys."""
    active, views = snapshot.last_active, snapshot.consent.installations
    return tuple(sorted(indices, key=lambda i: (-active[i], views[i].key)))
