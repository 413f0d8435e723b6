"""What can become of a push that has no answer. Inside senders only: what comes out is an `Outcome`."""

from __future__ import annotations

from connectors.push.port import Outcome


class NoAnswer(Exception):  # noqa: N818 - says what happened
    """The provider has answered nothing; `outcome` says what that means for the push."""

    @property
    def outcome(self) -> Outcome:
        """The push's outcome, with the words of this failure."""
        raise NotImplementedError


class NotTaken(NoAnswer):
    """The request was surely not processed: it may go again."""

    @property
    def outcome(self) -> Outcome:
        """Nobody's fault."""
        return Outcome("rejected", "transient", str(self))


class Lost(NoAnswer):
    """The request was written and has no answer: nobody knows whether the push was taken."""

    @property
    def outcome(self) -> Outcome:
        """Not known, now or later."""
        return Outcome("unknown", error=str(self))


class Unsendable(NoAnswer):
    """The provider would refuse this push for what it says; the words name no person."""

    @property
    def outcome(self) -> Outcome:
        """The message's fault."""
        return Outcome("rejected", "payload", str(self), by_provider=False)


class Undeliverable(NoAnswer):
    """No push can ever reach this address, whatever it says; the words do not quote it."""

    @property
    def outcome(self) -> Outcome:
        """The address's fault."""
        return Outcome("rejected", "token_dead", str(self), by_provider=False)


class UnlistedService(NoAnswer):
    """The address is one of a push service that is not called; the words do not quote it."""

    @property
    def outcome(self) -> Outcome:
        """The address's fault or the configuration's: nobody can tell."""
        return Outcome("rejected", "unlisted_service", str(self), by_provider=False)


def utf8(text: str) -> bytes:
    """Encode what is sent; raises `Unsendable` for half of a surrogate pair, which Python takes for text."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Unsendable("NotText: not Unicode") from None
