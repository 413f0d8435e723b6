"""When a push that has no final outcome is tried again: by its class, the provider's wish and its own end."""

from __future__ import annotations

from typing import Final

from ledger.definitions import BUCKETS, bucket
from ledger.gate import TRANSACTIONAL

WAIT_MS_MAX: Final = 900_000
"""Apple asks for at most one try in a quarter of an hour while its servers fail."""
TRIES_MAX: Final = 128
"""A day of them."""
UNKNOWN_WAITS: Final = (6, 30, 180, 720, 2_160)
"""After each try of a transactional push that nobody knows about: the wait, in first waits (a minute to six
hours by default). A provider that takes pushes and tells nobody may show one once more by each of these."""
SPREAD: Final = 0.25
"""Waits differ by so much of themselves, so that those who were refused together don't come back together."""

AGAIN: Final = frozenset({"transient", "credential"})
"""Classes of refusal after which the same push may pass: nobody took it, and it isn't its own fault."""


def may_go_again(category: str, *, is_unknown: bool, error_class: str) -> bool:
    """Whether a push may be handed over once more.

    One that surely was not taken may. One that nobody knows about may only where not being told is worse than
    being told twice: a transactional one, which replaces itself on the device by its collapse id.
    """
    if is_unknown:
        return category == TRANSACTIONAL
    return error_class in AGAIN


def next_try(
    push: str,
    tries: int,
    *,
    unknowns: int,
    first_ms: int,
    retry_after_ms: int,
    now: int,
    last: int | None,
) -> int | None:
    """The time (ms) of the next try after `tries` of them, or None when there is none any more.

    `first_ms`: the wait after the first try; it doubles up to `WAIT_MS_MAX`. `unknowns`: how many tries
    nobody knows about, if the last one is such a one; else 0. Never before the provider wants to hear of us
    again, and not at `last` or later.
    """
    if tries >= TRIES_MAX or unknowns > len(UNKNOWN_WAITS):
        return None
    wait = min(WAIT_MS_MAX, first_ms << min(tries - 1, 20))
    if unknowns:
        wait = first_ms * UNKNOWN_WAITS[unknowns - 1]
    share = bucket(f"try-{tries}", push) / BUCKETS
    at = now + max(retry_after_ms, int(wait * (1 + SPREAD * share)))
    if last is not None and at >= last:
        return None
    return at
