"""Which facts the ledger refused before decision 24: decisions of then are derived by it.

Ids had fewer characters, and a text with any character that is not printable by Python's word was refused.
Only what facts of permissions and tokens hold is asked: nothing else is derived again.
"""

from __future__ import annotations

import re
from typing import Final

from ledger import facts as f
from ledger.admission import NAME_PATTERN

_ID: Final = re.compile(NAME_PATTERN, re.ASCII)
_IDS: Final = ("event_id", "subject", "installation", "claim")
_TEXTS: Final = ("context", "copy_version", "category", "reason", "cause", "time_zone", "country", "source")


def formerly_refused(fact: f.SubjectFact) -> bool:
    """Whether a fact that is taken today was refused then; one of permissions left a mark."""
    ids = (getattr(fact, name, None) for name in _IDS)
    texts = (getattr(fact, name, None) for name in _TEXTS)
    return any(one is not None and not _ID.fullmatch(one) for one in ids) or any(
        one is not None and not one.isprintable() for one in texts
    )
