"""What can become of a call that has no answer. Inside senders only: what comes out is an `Outcome`."""

from __future__ import annotations


class NotTaken(Exception):  # noqa: N818 - says what happened
    """The request was surely not processed: it may go again."""


class Lost(Exception):  # noqa: N818
    """The request was written and has no answer: nobody knows whether the push was taken."""


class Unsendable(Exception):  # noqa: N818
    """The provider would refuse this push for what it is; the words name no person."""
