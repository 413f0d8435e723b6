"""What is wrong in a definitions folder: where, what, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final, NamedTuple

LISTED_MAX: Final = 20


class Problem(NamedTuple):
    """One mistake, as people can act on it."""

    file: str
    line: int
    what: str
    remedy: str

    def __str__(self) -> str:
        end = "" if self.remedy.endswith("?") else "."
        return f"{self.file}:{self.line}: {self.what}. {self.remedy}{end}"


class Wrong(ValueError):  # noqa: N818 - named for what it says of a value
    """A value that a validator refuses, with the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy


def one_of(word: str, known: Iterable[str]) -> str:
    """A remedy for an unknown word: the one that was probably meant, else all there are."""
    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]}?"
    return f"Write one of {_listed(words)}" if words else "There are none"


def _listed(words: list[str]) -> str:
    more = len(words) - LISTED_MAX
    return f"{', '.join(words[:LISTED_MAX])} and {more} more" if more > 0 else ", ".join(words)
