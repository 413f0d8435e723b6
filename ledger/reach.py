"""What the delivery role keeps of a subject: consent of its own fold, and the live addresses.

This is the only state with delivery addresses. The last look at consent before a send is taken here.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger import facts as f
from ledger import versions
from ledger.consent import EMPTY, Consent, app_of, installation_key, installation_of, token_id
from ledger.consent_fold import take_in
from ledger.effective import UNLINKED, newest_token, own_token
from ledger.former_rule import upgraded
from ledger.gate import TRANSACTIONAL, suppressions
from ledger.policy import Policy
from ledger.snapshot import ConsentView, consent_view
from ledger.unreadable import mark

REACH_VERSION: Final = 3
"""2 and 3 added what versions 2 and 4 of `subject.STATE_VERSION` did to consent; see `ledger.versions`."""


NOTED_EVERY_MS: Final = 86_400_000
"""How often it is noted of an address that a push to it was accepted, at most."""
PROBED: Final = ("apns", "fcm")
"""Providers that wake an app without showing anything. A browser shows something for each push."""
PROBED_PERMISSIONS: Final = ("authorized", "provisional")


class Reach(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One subject's row in the delivery role. `addresses`: token id -> (provider, token)."""

    version: int = REACH_VERSION
    consent: Consent = EMPTY
    addresses: dict[str, tuple[str, str]] = {}


NOBODY: Final = Reach()


def of_this_version(reach: Reach) -> Reach:
    """A row of an older version as one of this; raises `versions.NewerState` for one of a newer."""
    if reach.version == REACH_VERSION:
        return reach
    versions.check(reach.version, REACH_VERSION)
    return msgspec.structs.replace(reach, version=REACH_VERSION, consent=upgraded(reach.consent))


def fold(reach: Reach, fact: f.SubjectFact, appended_ms: int, offset: int = 0) -> Reach:
    """Fold one fact of permissions or tokens.

    Addresses are dropped when they are dead or replaced, and when their installation is unlinked.
    """
    consent = take_in(reach.consent, fact, appended_ms, offset)
    if consent is reach.consent:
        return reach
    addresses = reach.addresses
    if isinstance(fact, f.TokenRegistered):
        name = token_id(fact.provider, fact.token)
        addresses = {**addresses, name: (fact.provider, fact.token)}
    if isinstance(fact, f.TokenRegistered | f.TokenInvalidated | f.InstallationUnlinked | f.SubjectErased):
        newest = (newest_token(i) for i in consent.installations.values())
        live = {token.token_id for token in newest if token is not None and token.live}
        addresses = {name: address for name, address in addresses.items() if name in live}
    return msgspec.structs.replace(reach, consent=consent, addresses=addresses)


def mark_unreadable(reach: Reach, offset: int, at: int) -> Reach:
    """Note that a record of the subject on permissions could not be read; see `unreadable.mark`."""
    consent = mark(reach.consent, offset, at)
    return reach if consent is reach.consent else msgspec.structs.replace(reach, consent=consent)


def late_refusal(
    reach: Reach,
    decision: f.PushDecided,
    installation: str,
    policy: Policy,
    now: int,
    *,
    takes_ms: int = 0,
) -> str | None:
    """Why a decided push must not go to `installation` after all, or None.

    Looks only at what can have changed since the gate: consent, token, and the time limit. Caps, quiet
    hours and holdout were settled by the decision, whose slot is reserved.

    `takes_ms`: how long handing it over may take; a push that could leave after its limit does not begin.
    """
    view = consent_view(reach.consent, decision.app, decision.topic)
    if view.erased:
        return "erased"
    transactional = decision.category == TRANSACTIONAL
    if not transactional and suppressions(view, policy, now):
        return "suppressed"
    if not transactional and view.unreadable:
        return "unreadable_fact"
    key = installation_key(decision.app, installation)
    allowed = policy.transactional_permissions if transactional else policy.marketing_permissions
    if unreachable := _unreachable(reach, view, key, allowed):
        return unreachable
    if not transactional:
        topic_on = view.topic_on if view.topic_on is not None else decision.topic in policy.topics_on
        if not topic_on:
            return "topic"
        if view.pause_until is not None and (view.pause_until < 0 or now < view.pause_until):
            return "paused"
    if decision.send_before is not None and now + takes_ms >= decision.send_before:
        return "expired"
    return None


def trial_refusal(reach: Reach, app: str, installation: str, policy: Policy) -> str | None:
    """Why an operator's own trial push must not go to `installation`, or None.

    It needs what a transactional push needs: the person's permission, and an address that is theirs.
    """
    view = consent_view(reach.consent, app, "")
    if view.erased:
        return "erased"
    return _unreachable(reach, view, installation_key(app, installation), policy.transactional_permissions)


def _unreachable(reach: Reach, view: ConsentView, key: str, allowed: tuple[str, ...]) -> str | None:
    seen = next((i for i in view.installations if i.key == key), None)
    if seen is not None and seen.permission == UNLINKED:
        return UNLINKED
    if seen is None or seen.permission not in allowed:
        return "permission"
    return "token" if address(reach, key) is None else None


def address(reach: Reach, key: str) -> tuple[str, str] | None:
    """The live (provider, token) of installation `key`, or None."""
    installations = reach.consent.installations
    token = own_token(installations, key) if key in installations else None
    if token is None or not token.live:
        return None
    return reach.addresses.get(token.token_id)


def registered_at(reach: Reach, key: str, token: str) -> int | None:
    """When installation `key` last told us its address `token` (an id), or None if that is not known."""
    installation = reach.consent.installations.get(key)
    known = installation.tokens if installation is not None else ()
    return next((t.registered_at for t in known if t.token_id == token and t.registered_at >= 0), None)


def is_news(reach: Reach, token: str, noted: int | None, at: int) -> bool:
    """Whether it is to be noted that a push to the address `token` (an id) was accepted at `at` (ms).

    Only of an address that is the subject's still; and to the day, so that not each push writes a row: what
    is `noted` is too early then, and no less true.
    """
    return token in reach.addresses and (noted is None or at - noted >= NOTED_EVERY_MS)


def probed(reach: Reach, token: str) -> tuple[str, str] | None:
    """The (app, installation) that may be asked, in silence, whether the address `token` (an id) still works.

    Only what could also be spoken to: with the person's permission, neither suppressed nor with a record of
    permissions that nobody could read. None: it may not be.
    """
    if reach.addresses.get(token, ("", ""))[0] not in PROBED:
        return None
    for key in reach.consent.installations:
        found = address(reach, key)
        if found is None or found != reach.addresses[token]:
            continue
        view = consent_view(reach.consent, app_of(key), "")
        if not (view.erased or view.unreadable or view.suppressions) and (
            _unreachable(reach, view, key, PROBED_PERMISSIONS) is None
        ):
            return app_of(key), installation_of(key)
    return None
