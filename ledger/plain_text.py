"""Which characters a text may hold: all that people write with, none that harm whoever shows it.

Refused are controls, what turns the order of other characters around, what hides, and what is no character.
Taken are joiners, direction marks, no-break and wide spaces, emoji of any age, and private-use characters.
Sources: Unicode Standard 15, sections 23.2 (layout controls), 23.7 (noncharacters) and 23.8 (specials); UTR
36, section 2.10, on text that is reordered.
"""

from __future__ import annotations

import re
from typing import Final

_REFUSED: Final = (
    ("a control character", r"\x00-\x1f\x7f-\x9f"),
    ("a line separator", r"\u2028\u2029"),
    ("a character that reorders text", r"\u202a-\u202e\u2066-\u2069"),
    ("a character that hides", r"\ufeff\u206a-\u206f\ufff9-\ufffb\U000e0001\U0001d173-\U0001d17a"),
    ("half of a surrogate pair", r"\ud800-\udfff"),
    (
        "a noncharacter",
        r"\ufdd0-\ufdef" + "".join(chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF)),
    ),
)
_TAGS: Final = "\U000e0020-\U000e007f"
_FLAGS: Final = re.compile(f"\U0001f3f4[{_TAGS}]+")
"""A flag of a region is a black flag with tags after it (UTS 51); tags anywhere else hide."""

_ANY: Final = re.compile("[" + "".join(characters for _, characters in _REFUSED) + _TAGS + "]")


def flaw(text: str, *, lines: bool = False) -> str | None:
    """What is wrong with a text, in words, or None. `lines`: it may have several lines, and tabs."""
    if text.isprintable():
        return None
    looked_at = _FLAGS.sub("", text)
    if lines:
        looked_at = looked_at.replace("\n", "").replace("\r", "").replace("\t", "")
    found = _ANY.search(looked_at)
    if found is None:
        return None
    what = next(
        (name for name, some in _REFUSED if re.match(f"[{some}]", found[0])), "a character that hides"
    )
    return f"{what} (U+{ord(found[0]):04X})"
