"""What is wrong in a definitions folder: where, what, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

LISTED_MAX: Final = 20
SHOWN_MAX: Final = 60


class Problem(NamedTuple):
    """One mistake, as people can act on it."""

    file: str
    line: int
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.advice}"

    @property
    def advice(self) -> str:
        """What is wrong and what to do, without the place."""
        return _sentences(self.what, self.remedy)


class Wrong(ValueError):  # noqa: N818 - named for what it says of a value
    """A value that a validator refuses, with the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    @property
    def advice(self) -> str:
        """What is wrong and what to do."""
        return _sentences(self.what, self.remedy)


def _sentences(what: str, remedy: str) -> str:
    return f"{what}. {remedy}{'' if remedy.endswith('?') else '.'}"


def one_of(word: str, known: Iterable[str], otherwise: str = "There are none") -> str:
    """A remedy for an unknown word: the one that was probably meant, else all there are, else `otherwise`."""
    close = meant(word, known)
    if close is not None:
        return f"Did you mean {close}?"
    words = sorted(known)
    if len(words) == 1:
        return f"Write {words[0]}"
    return f"Write one of {_listed(words)}" if words else otherwise


def meant(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    by_small = {one.casefold(): one for one in sorted(known)}
    close = difflib.get_close_matches(word[:SHOWN_MAX].casefold(), by_small, n=1, cutoff=0.6)
    return by_small[close[0]] if close else None


def shown(value: Any) -> str:
    """A value as a message shows it: on one line, and not all of a long one."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return repr(value) if len(value) <= SHOWN_MAX else f"{value[:SHOWN_MAX]!r}..."
    if isinstance(value, int | float):
        return "a huge number" if abs(value) >= 10**SHOWN_MAX else str(value)
    return "a list" if isinstance(value, list | tuple) else "a group of fields"


def _listed(words: list[str]) -> str:
    more = len(words) - LISTED_MAX
    return f"{', '.join(words[:LISTED_MAX])} and {more} more" if more > 0 else ", ".join(words)
