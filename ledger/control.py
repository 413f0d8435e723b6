"""What operators told one partition of the journeys role: definitions in force, and launches of campaigns.

One row beside those of the subjects, under a key that no subject can have. It is encoded as a map, theirs as
arrays, so that one look at the first byte tells them apart.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger import facts as f

KEY: Final = b"\x00control"
LAUNCHES_MAX: Final = 64
"""Launches that are remembered, so that a second copy of one does nothing; the oldest ended one gives way."""
QUESTIONS_MAX: Final = 16
"""Audiences that are counted at a time; one more replaces the oldest, whose asker hears nothing."""

RECALLED_MAX: Final = 256
"""Versions that stay recalled; instances of older ones ended long ago, or end as they would have."""

RUNNING: Final = "running"
PAUSED: Final = "paused"
CANCELLED: Final = "cancelled"
DONE: Final = "done"


class Launch(msgspec.Struct, frozen=True, gc=False):
    """How far a launch came. `cursor`: the last subject that was looked at, in the order of their bytes."""

    launch: str
    version: str
    dry_run: bool
    judged_at: int
    state: str = RUNNING
    cursor: bytes = b""
    next_at: int = 0
    considered: int = 0
    wanted: int = 0
    counts: dict[str, int] = {}


class Question(msgspec.Struct, frozen=True, gc=False):
    """An audience that is being counted, and how far."""

    request: str
    rule: str
    sample_max: int
    cursor: bytes = b""
    subjects: int = 0
    matching: int = 0
    sample: tuple[str, ...] = ()


class Control(msgspec.Struct, frozen=True, gc=False):
    """The row. `policy_version` is empty until something was activated."""

    version: int = 1
    policy_version: str = ""
    journey_versions: tuple[str, ...] = ()
    activated_at: int = -1
    launches: tuple[Launch, ...] = ()
    questions: tuple[Question, ...] = ()
    recalled: tuple[str, ...] = ()
    """Versions of journeys that were recalled, the latest last; see `ledger.recall`."""


NOTHING: Final = Control()

_MAPS: Final = frozenset({*range(0x80, 0x90), 0xDE})
"""First bytes of a map in MessagePack, of up to 15 entries or with two bytes for their number."""

_encoder = msgspec.msgpack.Encoder(order="sorted")
_decoder = msgspec.msgpack.Decoder(Control)


def encode(control: Control) -> bytes:
    """Write the row."""
    return _encoder.encode(control)


def decode(raw: bytes) -> Control:
    """Read the row. Raises `msgspec.DecodeError` for junk."""
    return _decoder.decode(raw)


def is_control(raw: bytes) -> bool:
    """Whether an encoded row is this one and not a subject's."""
    return raw[0] in _MAPS


def wake_at(control: Control) -> int | None:
    """When the next part of a launch or of a count is due (ms), or None."""
    if control.questions:
        return 0
    return min((one.next_at for one in control.launches if one.state == RUNNING), default=None)


def hear(control: Control, fact: f.ControlFact, now: int) -> Control:
    """Fold one control fact at `now` (ms); a second copy changes nothing."""
    replace = msgspec.structs.replace
    match fact:
        case f.DefinitionsActivated():
            if fact.occurred_at < control.activated_at:
                return control
            return replace(
                control,
                policy_version=fact.policy_version,
                journey_versions=fact.journey_versions,
                activated_at=fact.occurred_at,
                recalled=tuple(one for one in control.recalled if one not in fact.journey_versions),
            )
        case f.DefinitionsRecalled():
            if fact.occurred_at < control.activated_at:
                return control  # what was put in force since is in force
            before = tuple(one for one in control.recalled if one not in fact.versions)
            recalled = (*before, *fact.versions)[-RECALLED_MAX:]
            return control if recalled == control.recalled else replace(control, recalled=recalled)
        case f.CampaignLaunched():
            if any(one.launch == fact.launch for one in control.launches):
                return control
            judged_at = -1 if fact.judged_at is None else fact.judged_at
            launched = Launch(fact.launch, fact.campaign_version, fact.dry_run, judged_at, next_at=now)
            return replace(control, launches=_bounded((*control.launches, launched)))
        case f.CampaignPaused():
            return _steered(control, fact.launch, RUNNING, PAUSED, now)
        case f.CampaignResumed():
            return _steered(control, fact.launch, PAUSED, RUNNING, now)
        case f.CampaignCancelled():
            stopped = _steered(control, fact.launch, RUNNING, CANCELLED, now)
            return _steered(stopped, fact.launch, PAUSED, CANCELLED, now)
        case f.AudienceAsked():
            asked = Question(fact.request, fact.rule, fact.sample_max)
            others = tuple(one for one in control.questions if one.request != fact.request)
            return replace(control, questions=(*others, asked)[-QUESTIONS_MAX:])
        case _:
            return control


def _steered(control: Control, launch: str, before: str, after: str, now: int) -> Control:
    replace = msgspec.structs.replace
    launches = tuple(
        replace(one, state=after, next_at=now) if (one.launch, one.state) == (launch, before) else one
        for one in control.launches
    )
    return control if launches == control.launches else replace(control, launches=launches)


def _bounded(launches: tuple[Launch, ...]) -> tuple[Launch, ...]:
    over = len(launches) - LAUNCHES_MAX
    if over <= 0:
        return launches
    ended = [one for one in launches if one.state in {CANCELLED, DONE}][:over]
    return tuple(one for one in launches if one not in ended)
