"""What of an installation counts now: whose it is, which permission, which address.

Computed from what `ledger/consent.py` folds, whenever somebody asks; nothing here is stored. The rule for
permission: a refusal counts if any order that could be right puts it after the grant, a grant counts only if
every such order does (docs/reference/consent-rule.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ledger.consent import SKEW_MS, Installation, Token
from ledger.words import COUNTED, DEVICES_END, IMPORT, REFUSALS, REGISTERS, Place, Word

UNLINKED: Final = "unlinked"
"""Reads as the permission of an installation that is no longer the subject's: no policy can allow it."""


class Effective(NamedTuple):
    """The permission that counts, since when, by whose word, and where that word was first appended."""

    permission: str
    at: int
    register: str
    place: Place = (-1, -1)


UNKNOWN: Final = Effective("not_determined", -1, "")


def unlinked(installation: Installation) -> bool:
    """Whether the installation ceased to be the subject's; one that nobody ever claimed did not."""
    return installation.unlinked_at >= 0 and installation.linked_at <= installation.unlinked_at


def newest_token(installation: Installation) -> Token | None:
    """The latest address registered since the installation last ceased to be the subject's, live or dead.

    It may be here before the fact that links the installation again: they come by different topics.
    """
    registered = [t for t in installation.tokens if t.registered_at > installation.unlinked_at]
    return max(registered, key=lambda t: (t.registered_at, t.token_id), default=None)


def current_token(installation: Installation) -> Token | None:
    """The address of the installation alone: the latest registered one, live or dead."""
    return None if unlinked(installation) else newest_token(installation)


def own_token(installations: Mapping[str, Installation], key: str) -> Token | None:
    """The address that a push to installation `key` would go to, live or dead.

    None also where another installation of the subject registered the same address later, by its own time or
    by the broker's: it may have gone to other hands with that one, whose it is now.
    """
    token = current_token(installations[key])
    if token is None or len(installations) == 1:
        return token
    for other, installation in installations.items():
        if other == key:
            continue
        for one in installation.tokens:
            if one.token_id == token.token_id and one.registered_at >= 0 and _later(one, other, token, key):
                return None
    return token


def _later(one: Token, key: str, other: Token, other_key: str) -> bool:
    mine, others = (one.registered_at, one.appended), (other.registered_at, other.appended)
    if mine == others:
        return key > other_key
    return mine[0] > others[0] or mine[1] > others[1]


def effective(installation: Installation) -> Effective:
    """Which permission counts now.

    `unlinked` while the installation is not the subject's. Words from before it last ceased to be do not
    count. Of the rest, a refusal that a later grant of the same speaker answers is over. A grant counts if it
    comes after every refusal that is left; the device's own is preferred, then the latest.
    """
    if unlinked(installation):
        return Effective(UNLINKED, installation.unlinked_at, "")
    ceased = installation.unlinked_at
    grants, refusals = list(installation.grants), list(installation.refusals)
    if ceased >= 0:
        place = installation.unlinked_place
        grants = [g for g in grants if g.known_at > ceased]
        # A refusal is over with the handover only if both its own time and its append say so.
        refusals = [r for r in refusals if r.known_at > ceased or r.place > place]
    if refusals and grants:
        left = [r for r in refusals if not any(_alike(g, r) and comes_after(g, r) for g in grants)]
        grants = [g for g in grants if all(comes_after(g, r) for r in left)]
        refusals = left
    if grants:
        word = max(grants, key=_preferred) if len(grants) > 1 else grants[0]
    elif refusals:
        word = max(refusals, key=_last) if len(refusals) > 1 else refusals[0]
    else:
        return UNKNOWN
    return Effective(word.permission, word.known_at, REGISTERS[word.clock], word.place)


def comes_after(grant: Word, refusal: Word) -> bool:
    """Whether every order that could be right puts `grant` after `refusal`.

    Of one device that counts: its number and its own time; of another counter of it, the first append, too.
    Else: own time and first append, between speakers the own time by more than `SKEW_MS`. An import's grant
    is never after a device's refusal.
    """
    if grant.clock == COUNTED == refusal.clock:
        numbered = (grant.since, grant.number) > (refusal.since, refusal.number)
        appended = grant.since == refusal.since or grant.place >= refusal.place
        return numbered and appended and grant.at > refusal.at
    if grant.clock == IMPORT and refusal.clock < DEVICES_END:
        return False
    margin = 0 if _alike(grant, refusal) else SKEW_MS
    return grant.at > refusal.at + margin and grant.place >= refusal.place


def _alike(one: Word, other: Word) -> bool:
    """Whether the words are of one speaker: both registers of a device are the same device."""
    return one.clock == other.clock or max(one.clock, other.clock) < DEVICES_END


def _preferred(grant: Word) -> tuple[bool, int, int, Place]:
    return grant.clock < DEVICES_END, grant.at, -grant.rank, grant.place


def _last(refusal: Word) -> tuple[Place, int, int]:
    return refusal.place, -refusal.rank, refusal.at


def is_passed_over(installation: Installation, permission: str, place: Place) -> bool:
    """Whether a word was appended after the one that counts and says the contrary: it has no effect."""
    refuses = permission in REFUSALS
    if not (installation.grants if refuses else installation.refusals):
        return False  # almost always: nothing contradicts it
    counts = effective(installation)
    return counts.register != "" and place > counts.place and (counts.permission in REFUSALS) != refuses
