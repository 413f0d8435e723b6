"""The longest text that a template can be known to give, in bytes of UTF-8: its own words and bounded values.

What a loop repeats or a filter makes longer is counted once, so such a template may give more. The text that
is given back is made of the template's own letters, so that it can be measured as it is sent.
"""

from __future__ import annotations

import re
from typing import Final

from connectors.rules.liquid import is_template, length_max
from ledger.admission import NOTE_LENGTH_MAX

_MARKUP: Final = re.compile(r"\{\{(?P<value>.*?)\}\}|\{%.*?%\}", re.DOTALL)
_UNSEEN: Final = re.compile(r"\{%-?\s*comment\s*-?%\}.*?\{%-?\s*endcomment\s*-?%\}", re.DOTALL)
_FROM_OUTSIDE: Final = re.compile(r"\b(?:attributes|trigger)\b")
_LONG_LETTER: Final = "\U0001f389"
_OTHER_VALUE: Final = "0" * 24
"""Counts, ids and times."""


def longest(part: str, source: str) -> str:
    """The longest text that a message's part can be known to give; of a plain part, that part."""
    most = length_max(part)
    if not is_template(source):
        return source[:most]
    seen = _UNSEEN.sub("", source)
    letters = _MARKUP.sub(lambda found: _value(found["value"]), seen)
    return "".join(sorted(letters, key=_bytes, reverse=True)[:most])


def _bytes(letter: str) -> int:
    return len(letter.encode())


def _value(value: str | None) -> str:
    """What is counted for a tag or a value."""
    if value is None:
        return ""
    if _FROM_OUTSIDE.search(value):
        return _LONG_LETTER * (NOTE_LENGTH_MAX // len(_LONG_LETTER.encode()))
    return _OTHER_VALUE
