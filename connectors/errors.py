"""The five kinds of runtime error, each with what an operator does about it.

A domain "no" is a value (a verdict with a reason), never one of these.
"""

from __future__ import annotations


class OptinError(Exception):
    """Base of all errors that this project raises on purpose."""


class Transient(OptinError):  # noqa: N818 - named for what it means to the caller
    """It may work next time; the caller retries within its bound.

    Operator action: none, unless it goes on; then look at the named system.
    """


class Backpressure(OptinError):  # noqa: N818
    """The other side asks us to slow down for `retry_after_s` seconds.

    Operator action: none; lower the configured rate if it goes on.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Poison(OptinError):  # noqa: N818
    """This input can never be processed; it goes to dead-letters with `reason` and `detail`.

    `reason` is a short fixed word (safe as a metric label), `detail` a sentence without personal data.
    Operator action: find the producer that made it, mend it, then replay or dismiss the letter.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Misconfigured(OptinError):  # noqa: N818
    """A setting or the environment is wrong; the message names it and how to mend it.

    Operator action: change what the message names and start again.
    """


class InvariantBroken(OptinError):  # noqa: N818
    """Something that must hold does not: a bug, or two owners. The process ends at once.

    Operator action: let the supervisor restart it; report the message if it comes again.
    """
