"""What a push sender is: takes pushes, answers an outcome for each, and never sends one twice itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, Protocol


@dataclasses.dataclass(frozen=True, slots=True)
class Push:
    """One decided message to one delivery address. `push_id` is also the provider's collapse id."""

    push_id: str
    app: str
    provider: str
    token: str
    title: str
    body: str


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a push.

    `rejected` only when the provider surely did not take it; when nobody can know, `unknown`.
    """

    kind: Literal["accepted", "rejected", "unknown"]
    error_class: str = ""
    error: str = ""


class PushSender(Protocol):
    """A way to hand pushes over."""

    async def send(self, pushes: Sequence[Push]) -> list[Outcome]:
        """Try each push once and answer in the same order. Delivery guarantee: at most once each.

        Raises nothing for a single push; an exception means that every outcome is unknown.
        """
