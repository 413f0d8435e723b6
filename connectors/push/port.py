"""What a push sender is: takes pushes, answers an outcome for each, and never sends one twice itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

ErrorClass = Literal["token_dead", "unlisted_service", "credential", "payload", "transient", ""]
"""Whose fault it was, and so what follows:

- `token_dead`: the address's: it no longer works, or never did. Only this class may touch a token.
- `unlisted_service`: the address is one of a push service that we do not call: a wrong address, or a service
  that the configuration lacks. The token stays.
- `credential`: ours, or our configuration's: no push of this app will pass. Stop, and tell people.
- `payload`: the message's; the next one may be right. It will never pass.
- `transient`: the provider's, or the network's; the same push may pass later.
"""

ApnsLevel = Literal["passive", "active", "time-sensitive", "critical"]
Urgency = Literal["very-low", "low", "normal", "high"]


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """How a push is shown, where a provider lets one choose. What is left out is the provider's default."""

    apns_level: ApnsLevel = "active"
    apns_relevance: float | None = None
    """0 to 1: which of an app's pushes a summary shows first."""
    apns_category: str = ""
    """Which buttons the app shows with it."""
    apns_thread: str = ""
    """Pushes of one thread are shown as a group."""
    apns_sound: str = "default"
    fcm_channel: str = ""
    """The Android notification channel."""
    web_urgency: Urgency = "normal"
    """RFC 8030, section 5.3."""


PLAIN: Final = Options()


@dataclasses.dataclass(frozen=True, slots=True)
class Push:
    """One decided message to one delivery address. `push_id` also identifies it to the provider.

    `collapse_id`: a later push with the same one takes its place on the device; empty: the push's own id.
    `expires_at_ms`: after this instant it is not worth showing, wherever it waits; None: no such instant.
    """

    push_id: str
    app: str
    provider: str
    token: str
    title: str
    body: str
    collapse_id: str = ""
    expires_at_ms: int | None = None
    background: bool = False
    """Wakes the app and shows nothing; title and body are not sent."""
    link: str = ""
    """What a tap opens."""
    image: str = ""
    """The address of a picture."""
    title_key: str = ""
    """The app's own translation to show instead of `title`, with `title_args` filled in."""
    title_args: tuple[str, ...] = ()
    body_key: str = ""
    body_args: tuple[str, ...] = ()
    data: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """For the app alone."""
    options: Options = PLAIN


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a push.

    `rejected` only when the provider surely did not take it; when nobody can know, `unknown`.
    `error`: the provider's word for it, or ours; no personal data. `gone_since_ms`, of a dead token: when the
    provider last found it dead. `retry_after_s`: how long the provider wants to be left alone.

    `by_provider`: False where the sender itself refused, which says nothing of the provider. `of_address`: a
    refusal that is, or may be, about this address alone; see `faults`.
    """

    kind: Literal["accepted", "rejected", "unknown"]
    error_class: ErrorClass = ""
    error: str = ""
    gone_since_ms: int | None = None
    retry_after_s: float | None = None
    by_provider: bool = True
    of_address: bool = False

    def __str__(self) -> str:
        """In words: what became of it, by whose fault, and the reason."""
        return " ".join(filter(None, (self.kind, self.error_class, self.error)))


ACCEPTED: Final = Outcome("accepted")
LEASE_OVER: Final = Outcome("rejected", "transient", "lease_over", by_provider=False)
"""There was no time left to hand it over: after a freeze of ours that is no failure of the provider."""


class PushSender(Protocol):
    """A way to hand pushes over."""

    async def send(self, pushes: Sequence[Push], *, until_s: float = math.inf) -> list[Outcome]:
        """Try each push once and answer in the same order. Delivery guarantee: at most once each.

        Begins no try at or after `until_s` (monotonic seconds); an answer may come later. Raises nothing for
        a single push; an exception means that every outcome is unknown.
        """
