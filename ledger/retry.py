"""When a push that has no final outcome is tried again: by its class, the provider's wish and its own end."""

from __future__ import annotations

from typing import Final

from ledger.definitions import BUCKETS, bucket
from ledger.gate import TRANSACTIONAL

WAIT_MS_MAX: Final = 900_000
"""Apple asks for at most one try in a quarter of an hour while its servers fail."""
TRIES_MAX: Final = 32
UNKNOWN_TRIES_MAX: Final = 5
"""Of a transactional push: so often at most may it be shown instead of one."""
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
    is_unknown: bool,
    first_ms: int,
    retry_after_ms: int,
    now: int,
    send_before: int | None,
) -> int | None:
    """The time (ms) of the next try after `tries` of them, or None when there is none any more.

    `first_ms`: the wait after the first try; it doubles up to `WAIT_MS_MAX`. Never before the provider wants
    to hear of us again, and never when the push is over by then.
    """
    if tries >= (UNKNOWN_TRIES_MAX if is_unknown else TRIES_MAX):
        return None
    wait = min(WAIT_MS_MAX, first_ms << min(tries - 1, 20))
    share = bucket(f"try-{tries}", push) / BUCKETS
    at = now + max(retry_after_ms, int(wait * (1 + SPREAD * share)))
    if send_before is not None and at >= send_before:
        return None
    return at
