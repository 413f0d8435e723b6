"""What the death of a delivery address tells: of which kind it was, and between which times it happened.

Nobody reports an uninstall. It shows at the next push, so the day of that push is when it was noticed, not
when it happened. What can be known is an interval: from the last sign of life to the first one of death.
"""

from __future__ import annotations

from typing import Final, NamedTuple

UNINSTALL: Final = "uninstall"
"""The provider says that the app is no longer there."""
BROWSER: Final = "browser"
"""The browser ended the subscription: by itself, or since the person withdrew it. Nobody tells which."""
STALE: Final = "stale"
"""The provider let an address expire that it had not heard of for long; of the app nothing is known."""
WRONG: Final = "wrong"
"""The provider never gave this address out for this app, or not for the key that we send with."""
UNKNOWN: Final = "unknown"
"""Whoever says that it is dead does not say why."""

CAUSES: Final = (UNINSTALL, BROWSER, STALE, WRONG, UNKNOWN)

STALE_MS: Final = 270 * 86_400_000
"""After so long without a device FCM lets a token expire, and then says of it what it says of an uninstall.

Source: Firebase, "Best practices for FCM registration token management".
"""

_SAID: Final[dict[str, dict[str, str]]] = {
    "apns": {
        "Unregistered": UNINSTALL,
        "status 410": UNINSTALL,
        "ExpiredToken": STALE,
        "BadDeviceToken": WRONG,
        "BadPath": WRONG,
        "MissingDeviceToken": WRONG,
        "DeviceTokenNotForTopic": WRONG,
    },
    "fcm": {
        "UNREGISTERED": UNINSTALL,
        "SENDER_ID_MISMATCH": WRONG,
        "INVALID_ARGUMENT": WRONG,
        "NOT_FOUND": WRONG,
        "NoToken": WRONG,
    },
    "web_push": {
        "status 404": BROWSER,
        "status 410": BROWSER,
        "BadJwtToken": WRONG,
        "BadSubscription": WRONG,
        "KeyMismatch": WRONG,
        "VapidPkHashMismatch": WRONG,
        "status 401": WRONG,
        "status 403": WRONG,
    },
}
"""Provider -> its word for a dead address, or ours -> what it means. Words after a colon explain it."""


class Interval(NamedTuple):
    """Between which times an address died (ms); `last_seen_ok` is never after `first_seen_gone`.

    `last_seen_ok`, None: no sign of it working is known from before.
    """

    last_seen_ok: int | None
    first_seen_gone: int


def interval(*, registered: int | None, accepted: int | None, gone: int | None, attempted: int) -> Interval:
    """When it died: after the latest sign of life that is not younger than the first sign of its death.

    `registered`: when the app told us the address, `accepted`: when a provider last took a push for it.
    `gone`: since when it is dead by the provider's word, None if it has none; `attempted`: when we began the
    push that was refused.

    An accepted push proves only that the provider took it: Apple takes pushes for a while after an uninstall.
    So one that is younger than the death says nothing, and what is left is the registration. A registration
    that is younger says that the address lives again; of the time before nothing is known then.
    """
    first_gone = attempted if gone is None else min(gone, attempted)
    signs = [at for at in (registered, accepted) if at is not None and at <= first_gone]
    return Interval(max(signs, default=None), first_gone)


def cause(provider: str, said: str, found: Interval) -> str:
    """Which of `CAUSES` it was, by the provider's word `said`; `unknown` for a word that is not known."""
    known = _SAID.get(provider, {}).get(said.partition(":")[0], UNKNOWN)
    if provider == "fcm" and known == UNINSTALL and found.last_seen_ok is not None:
        return STALE if found.first_seen_gone - found.last_seen_ok >= STALE_MS else UNINSTALL
    return known
