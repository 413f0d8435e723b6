"""Compares final states: figures over a wrong result are void."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from msgspec.structs import replace

from connectors.errors import InvariantBroken
from ledger.consent import Consent, Installation

Row = TypeVar("Row")


class Void(InvariantBroken):
    """What was measured gave a wrong result, so its figures mean nothing.

    Operator action: none; it is a bug of what was measured. Report the message.
    """


def refuse_wrong_rows(who: str, found: Mapping[str, Row], expected: Mapping[str, Row]) -> None:
    """Raise `Void` unless both hold the same rows under the same keys.

    Of consent without the places of first appends: a plain fold appends nothing.
    """
    missing = len(expected.keys() - found.keys())
    foreign = len(found.keys() - expected.keys())
    wrong = sum(
        1 for key, row in expected.items() if key in found and _unplaced(found[key]) != _unplaced(row)
    )
    if missing or foreign or wrong:
        raise Void(
            f"{who}: of {len(expected):,} rows of a plain fold of the same facts {wrong:,} differ,"
            f" {missing:,} are missing, and {foreign:,} more are there: the figures are void"
        )


def _unplaced(row: Any) -> Any:
    if not isinstance(row, Consent):
        return row
    return replace(row, installations={key: _nowhere(one) for key, one in row.installations.items()})


def _nowhere(installation: Installation) -> Installation:
    return replace(
        installation,
        grants=tuple(replace(word, appended=0, offset=0) for word in installation.grants),
        refusals=tuple(replace(word, appended=0, offset=0) for word in installation.refusals),
        tokens=tuple(replace(token, appended=0) for token in installation.tokens),
        unlinked_appended=0,
        unlinked_offset=0,
    )


def refuse_unequal(who: str, what: str, found: Any, expected: Any) -> None:
    """Raise `Void` unless the two are equal."""
    if found != expected:
        raise Void(f"{who}: {what} is {found}, not {expected}: the figures are void")
