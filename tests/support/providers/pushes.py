"""Pushes to devices of stand-ins, and what became of them in words."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from typing import Any

from connectors.push.port import Outcome, Push


def token(number: int) -> str:
    """A device token in the form that Apple gives out."""
    return f"{number:064x}"


def apns_push(number: int, **fields: Any) -> Push:
    """A push to a phone of its own."""
    return push_to("apns", token(number), **fields)


def fcm_push(number: int = 1, **fields: Any) -> Push:
    """A push to an Android device of its own."""
    return push_to("fcm", f"token-{number}", **fields)


def push_to(provider: str, address: str, **fields: Any) -> Push:
    """A push about a cart."""
    said = {"app": "shop", "title": "Your cart", "body": "is waiting"} | fields
    return Push(str(uuid.uuid4()), provider=provider, token=address, **said)


def words(outcomes: Iterable[Outcome]) -> Counter[str]:
    """How often each outcome came, with its class and reason."""
    return Counter(map(str, outcomes))
