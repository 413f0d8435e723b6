"""The gate's inputs for one candidate, small enough to travel with every decision.

A decision can be derived again from its snapshot alone; the consent part of a snapshot can be derived
again from the ledger (`consent_view` of the fold up to the cited offsets).
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger.consent import Consent
from ledger.effective import current_token, effective, own_token
from ledger.former_rule import formerly_effective


class InstallationView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One installation of the candidate's app, as the gate sees it."""

    key: str
    permission: str
    token_live: bool
    time_zone: str | None
    country: str | None
    since: int = -1
    """Since when the permission counts (ms); -1: nobody said."""


class ConsentView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What consent says about one app and one preference topic."""

    erased: bool
    installations: tuple[InstallationView, ...]
    topic_on: bool | None
    pause_until: int | None
    """None: not paused; -1: paused without an end; else paused until then."""
    suppressions: tuple[tuple[str, int], ...]
    """(reason, until) of what is switched on; until -1 has no end."""
    frequency: tuple[int, str] | None
    quiet: tuple[int, int] | None
    unreadable: int = 0
    """How many marks of unreadable records nobody settled."""
    suppressed_since: tuple[int, ...] = ()
    """Parallel to `suppressions`: when each was switched on."""


class Snapshot(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All that `gate.decide` looks at, but policy, zones and now."""

    consent: ConsentView
    category: str
    topic: str
    last_active: tuple[int, ...]
    """Parallel to `consent.installations`; -1: never seen active."""
    contacts: tuple[int, ...]
    """Instants of sends of the category within the longest window, oldest first."""
    holdout: bool
    goal_met: bool
    evicted: bool = False
    """There is no room to hold it any longer: whatever does not stop it now does not let it pass, either."""
    message: str = ""
    left_as: str = ""
    """The outcome by which its flow ended since, other than by the goal."""
    superseded: bool = False
    """Of several that were held, another one goes."""
    text_missing: str = ""
    """What its text speaks of and nobody said."""
    opens: int = 0
    """How many pushes the person opened so far."""
    last_order: int = -1
    news_at: int = -1
    """When what it reports of an item happened; -1: it reports nothing."""
    failed_steps: int = 0
    """How many of the subject's steps failed and are not settled."""
    rules: int = 0
    """By which rules it is judged: 1: a zone that is no place does not outweigh the country; see `RULES`."""


RULES: Final = 1
"""Of snapshots that are made today. Raised when a check gives another answer for the same snapshot."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Snapshot)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Write a snapshot as MessagePack arrays."""
    return _encoder.encode(snapshot)


def decode_snapshot(raw: bytes) -> Snapshot:
    """Read what `encode_snapshot` wrote. Raises `msgspec.DecodeError` for anything else."""
    return _decoder.decode(raw)


def consent_view(consent: Consent, app: str, topic: str, *, formerly: bool = False) -> ConsentView:
    """Reduce a subject's consent to what the gate needs for one app and one topic.

    `formerly`: by the rule before row version 4, from a fold by that rule.
    """
    prefix = f"{app}/"
    views = []
    for key in sorted(consent.installations):
        if not key.startswith(prefix):
            continue
        installation = consent.installations[key]
        if formerly:
            token, word = current_token(installation), formerly_effective(installation)
        else:
            token, word = own_token(consent.installations, key), effective(installation)
        views.append(
            InstallationView(
                key,
                word.permission,
                token is not None and token.live,
                installation.time_zone,
                installation.country,
                word.at,
            )
        )
    choice = consent.topics.get(topic)
    pause = consent.pause
    return ConsentView(
        erased=consent.erased_at is not None,
        installations=tuple(views),
        topic_on=None if choice is None else choice.on,
        pause_until=None if pause is None or not pause.on else _end(pause.until),
        suppressions=tuple(
            (reason, _end(switch.until))
            for reason, switch in sorted(consent.suppressions.items())
            if switch.on
        ),
        frequency=None
        if consent.frequency is None
        else (consent.frequency.max_pushes, consent.frequency.window),
        quiet=None if consent.quiet is None else (consent.quiet.start_minute, consent.quiet.end_minute),
        unreadable=len(consent.unreadable),
        suppressed_since=tuple(switch.at for _, switch in sorted(consent.suppressions.items()) if switch.on),
    )


def _end(until: int | None) -> int:
    return -1 if until is None else until
