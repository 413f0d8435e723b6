"""Compares final states: figures over a wrong result are void."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from connectors.errors import InvariantBroken

Row = TypeVar("Row")


class Void(InvariantBroken):
    """What was measured gave a wrong result, so its figures mean nothing.

    Operator action: none; it is a bug of what was measured. Report the message.
    """


def refuse_wrong_rows(who: str, found: Mapping[str, Row], expected: Mapping[str, Row]) -> None:
    """Raise `Void` unless both hold the same rows under the same keys."""
    missing = len(expected.keys() - found.keys())
    foreign = len(found.keys() - expected.keys())
    wrong = sum(1 for key, row in expected.items() if key in found and found[key] != row)
    if missing or foreign or wrong:
        raise Void(
            f"{who}: of {len(expected):,} rows of a plain fold of the same facts {wrong:,} differ,"
            f" {missing:,} are missing, and {foreign:,} more are there: the figures are void"
        )


def refuse_unequal(who: str, what: str, found: Any, expected: Any) -> None:
    """Raise `Void` unless the two are equal."""
    if found != expected:
        raise Void(f"{who}: {what} is {found}, not {expected}: the figures are void")
