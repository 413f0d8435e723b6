"""Whose an installation is: the rule by which claims become links, one row per installation and app.

The order of the claims' topic decides, not their clocks. What follows from a claim depends on the claims
before it alone: who repeats them, after a crash or as a former owner, repeats the same facts with the same
ids and times.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger import facts as f
from ledger import versions
from ledger.ids import derived, short_hash

LINK_VERSION: Final = 2
"""2 added `Link.counter_since` and `Link.claimed_at`; see `ledger.versions`."""
RECENT_IDS_MAX: Final = 16
"""Claims of which a second copy is recognised, per installation."""


class Link(msgspec.Struct, frozen=True, array_like=True):
    """Who uses one installation; one row of the journeys role's lane of links."""

    version: int = LINK_VERSION
    subject: str | None = None
    """None: nobody."""
    last: int = -1
    """The time (ms) of the latest change."""
    sequence: int = -1
    """The highest sequence of a claim."""
    recent: tuple[int, ...] = ()
    """Hashes of the latest claims' event ids."""
    counter_since: int = 0
    """When the counter of `sequence` began, by the installation; 0: it did not say."""
    claimed_at: int = -1
    """The latest own time of a claim."""


NOBODYS: Final = Link()

Change = tuple[Link, tuple[f.LinkFact, ...]]
"""The row after a claim, and what follows from it: an unlink, a link, or the one before the other."""

_encoder = msgspec.msgpack.Encoder(order="sorted")
_decoder = msgspec.msgpack.Decoder(Link)


def encode(link: Link) -> bytes:
    """Write a row."""
    return _encoder.encode(link)


def decode(raw: bytes) -> Link:
    """Read a row.

    Raises `versions.NewerState` for a row of a newer binary, `msgspec.DecodeError` for junk.
    """
    link = versions.decode(_decoder, raw, 0, LINK_VERSION)
    if link.version == LINK_VERSION:
        return link
    versions.check(link.version, LINK_VERSION)
    # The time of the last change is the latest that is known of a claim.
    return msgspec.structs.replace(link, version=LINK_VERSION, claimed_at=link.last)


def claim(link: Link, fact: f.InstallationClaimed, appended_ms: int) -> Change:
    """Apply one claim that was first appended at `appended_ms`, in the order of its partition.

    A second copy changes nothing, nor does a claim that is older than an earlier one by its installation's
    own number and time both: a queue that arrives late. Where only the number is lower, the counter began
    anew or a clock was set, and the order of the topic decides as for claims without a number. The facts are
    dated after every earlier change of the installation, so that each subject's own fold, which knows no
    order but time, agrees with the order of the claims.
    """
    mark = short_hash(fact.event_id)
    highest = link.counter_since, link.sequence
    number = highest if fact.sequence is None else (fact.counter_since or 0, fact.sequence)
    if mark in link.recent or (number < highest and fact.occurred_at <= link.claimed_at):
        return link, ()
    highest = max(highest, number)
    known = msgspec.structs.replace(
        link,
        sequence=highest[1],
        recent=(*link.recent, mark)[-RECENT_IDS_MAX:],
        counter_since=highest[0],
        claimed_at=max(link.claimed_at, fact.occurred_at),
    )
    if fact.subject == link.subject:
        return known, ()
    at = max(min(fact.occurred_at, appended_ms), link.last + 1)
    facts: list[f.LinkFact] = []
    if link.subject is not None:
        facts.append(_fact(f.InstallationUnlinked, link.subject, fact, at))
    if fact.subject is not None:
        facts.append(_fact(f.InstallationLinked, fact.subject, fact, at))
    return msgspec.structs.replace(known, subject=fact.subject, last=at), tuple(facts)


def _fact(kind: type[f.LinkFact], subject: str, cause: f.InstallationClaimed, at: int) -> f.LinkFact:
    return kind(
        event_id=derived(kind.__name__, cause.app, cause.installation, cause.event_id),
        app=cause.app,
        occurred_at=at,
        source="processor:identity_linker",
        subject=subject,
        installation=cause.installation,
        claim=cause.event_id,
    )
