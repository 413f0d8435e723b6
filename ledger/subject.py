"""The state of one subject: consent, profile, journeys and contacts, in one row with one writer.

The row is encoded as MessagePack arrays (docs/reference/changelog.md gives the layout). Structs only
grow at their end, with defaults; `version` is the first element (`ledger.versions` says when it is raised).
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger import versions
from ledger.consent import EMPTY, Consent
from ledger.former_rule import upgraded
from ledger.profile import NOTHING, Profile

STATE_VERSION: Final = 5
"""2 added `Consent.unreadable`, and `linked_at` and `unlinked_at` of an installation; 3 what journeys of
several steps take (`Instance.at` and what follows, the same of `Candidate`), the profile, and `entered`; 4
what an installation keeps from `grants` on instead of registers, `Token.appended`, `Consent.rule_from`; 5
`failed`."""
_WORDS_SINCE: Final = 4
"""The version whose words replaced the registers of before (`former_rule`)."""

RECENT_IDS_MAX: Final = 16
"""Activity facts and orders of which a second copy is recognised, per subject."""
CONTACTS_MAX: Final = 500
"""Installations that contacts within the longest window may name together. A marketing send names one and is
never forgotten: at the bound the gate sends no more (`gate`). Of transactional ones the oldest give way."""
INSTANCES_MAX: Final = 16
HELD_MAX: Final = 8
"""Open instances and held candidates; the oldest gives way and comes to a proper end, `evicted`."""
BEGUN_MAX: Final = 32
REMOVED_MAX: Final = 64
ENTERED_MAX: Final = 64
"""Starts of journeys that are remembered for their cooldowns."""
KEPT_MAX: Final = 8
KEPT_BYTES_MAX: Final = 512
"""Fields of a trigger that an instance keeps, and how many bytes they may take with their names."""
FAILED_MAX: Final = 8
"""Failed steps that are told apart (`ledger.failed_steps`)."""
ITEMS_MAX: Final = 100
"""Items of one instance; the oldest gives way (a cart of more is spoken of by its newest items)."""


class Instance(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An open journey instance that waits until `due`."""

    instance: str
    journey: str
    journey_version: str
    app: str
    due: int
    items: tuple[str, ...]
    holdout: bool
    at: int = 0
    """The step that it waits in."""
    key: str = ""
    kept: dict[str, str | int | float | bool] = {}
    opted_in: bool = False
    """Whether its marketing was welcome when it began."""
    arm: str = ""
    pushed: bool = False
    """Whether it came to a push."""
    since: int = -1
    """When its latest trigger occurred."""


class Candidate(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A candidate that waits: decided at `hold_until` as revision `revision` + 1.

    One of revision -1 was not decided on yet: it is gathered with others, to decide by priority.
    """

    decision_id: str
    revision: int
    candidate_at: int
    hold_until: int
    instance: str
    journey: str
    journey_version: str
    app: str
    items: tuple[str, ...]
    left: tuple[str, ...]
    """Items not ordered since."""
    holdout: bool
    at: int = -1
    """Its step; -1: the first push of its journey."""
    kept: dict[str, str | int | float | bool] = {}
    arm: str = ""
    key: str = ""
    ended_as: str = ""
    """The outcome by which the flow it belongs to ended since."""


class Contact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A `send`: one slot of the caps, and what opens and orders are attributed to."""

    decision_id: str
    at: int
    category: str
    journey: str
    installations: tuple[str, ...]
    attribution_ms: int
    opened_at: int = -1
    ordered_at: int = -1


class FailedStep(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A step that raised at `at` (ms); `letter`: the id of its dead letter; `timer`: no fact began it."""

    letter: str
    at: int
    timer: bool = False


class Subject(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One subject's row."""

    version: int = STATE_VERSION
    consent: Consent = EMPTY
    last_active: dict[str, int] = {}
    recent: tuple[int, ...] = ()
    instances: tuple[Instance, ...] = ()
    held: tuple[Candidate, ...] = ()
    contacts: tuple[Contact, ...] = ()
    begun: tuple[int, ...] = ()
    """Triggers that began an instance, by their hash: a late copy of one begins nothing again."""
    removed: tuple[tuple[int, int], ...] = ()
    """(hash of a journey and an item, when a removal of that journey last took it out): an older trigger that
    arrives later is over."""
    profile: Profile = NOTHING
    entered: tuple[tuple[int, int], ...] = ()
    """(hash of a journey, app and key, when an instance of it last began)."""
    failed: tuple[FailedStep, ...] = ()
    """Steps that failed and that nobody has seen to; see `failed_steps`."""


NEW: Final = Subject()

_encoder = msgspec.msgpack.Encoder(order="sorted")
_decoder = msgspec.msgpack.Decoder(Subject)


def encode(subject: Subject) -> bytes:
    """Write a row."""
    return _encoder.encode(subject)


def decode(raw: bytes) -> Subject:
    """Read a row of this or an older version, as one of this version.

    Raises `versions.NewerState` for a row of a newer binary, `msgspec.DecodeError` for junk.
    """
    subject = versions.decode(_decoder, raw, 0, STATE_VERSION)
    if subject.version == STATE_VERSION:
        return subject
    versions.check(subject.version, STATE_VERSION)
    consent = subject.consent if subject.version >= _WORDS_SINCE else upgraded(subject.consent)
    return msgspec.structs.replace(subject, version=STATE_VERSION, consent=consent)


class _Due(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The beginning of an `Instance`, as far as its due time."""

    instance: msgspec.Raw
    journey: msgspec.Raw
    journey_version: msgspec.Raw
    app: msgspec.Raw
    due: int


class _Held(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The beginning of a `Candidate`, as far as its due time."""

    decision_id: msgspec.Raw
    revision: msgspec.Raw
    candidate_at: msgspec.Raw
    hold_until: int


class _Dues(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The beginning of a `Subject`, of which only the due times are looked at."""

    version: int = 1
    consent: msgspec.Raw = msgspec.Raw()
    last_active: msgspec.Raw = msgspec.Raw()
    recent: msgspec.Raw = msgspec.Raw()
    instances: tuple[_Due, ...] = ()
    held: tuple[_Held, ...] = ()
    contacts: msgspec.Raw = msgspec.Raw()
    begun: msgspec.Raw = msgspec.Raw()
    removed: msgspec.Raw = msgspec.Raw()
    profile: msgspec.Raw = msgspec.Raw()
    entered: msgspec.Raw = msgspec.Raw()
    failed: tuple[FailedStep, ...] = ()


_dues_decoder = msgspec.msgpack.Decoder(_Dues)


def wake_at(subject: Subject | _Dues) -> int | None:
    """When this subject next wants to be looked at without a fact (ms), or None.

    While a timer's failure is open nobody is woken: it would fail again, at once and for ever.
    """
    if not subject.instances and not subject.held:
        return None  # almost everybody, and asked after each change
    if any(failed.timer for failed in subject.failed):
        return None
    dues = [instance.due for instance in subject.instances]
    dues += [candidate.hold_until for candidate in subject.held]
    return min(dues)


def wake_at_encoded(raw: bytes) -> int | None:
    """`wake_at` of an encoded row, several times faster than decoding it: a takeover asks it of every row.

    Raises like `decode`, though not for junk in what it does not look at.
    """
    dues = versions.decode(_dues_decoder, raw, 0, STATE_VERSION)
    versions.check(dues.version, STATE_VERSION)
    return wake_at(dues)
