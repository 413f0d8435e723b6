"""Stored rows: the bytes of every version read as what they said, and a newer version stops an older binary.

Golden files stand in `rows/`, one for each kind of row and version: the bytes (`hex`) and, for people, the
MessagePack arrays in them (`layout`). Files of earlier versions are never edited.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import msgpack
import msgspec
import pytest

from ledger import facts as f
from ledger import reach, subject
from ledger.consent import Consent, Frequency, Installation, Quiet, Register, Switch, Token, Unreadable
from ledger.definitions import in_force
from ledger.fold import fold
from ledger.former_rule import upgraded
from ledger.links import LINK_VERSION, Link
from ledger.profile import Attribute, Profile, Telling
from ledger.reach import Reach
from ledger.subject import STATE_VERSION, Candidate, Contact, FailedStep, Instance, Subject
from ledger.versions import NewerState
from ledger.words import RANKS, Word
from processors.agents import identity_linker, reach_rows, subject_rows
from processors.agents.reach_rows import ROW_VERSION, Attempt, Worked
from processors.lane import position
from processors.lane.position import POSITION_KEY, Position
from processors.lane.table import LaneTable, Partition, UnreadableState
from tests.support.given import ANN, NOON, fact, journey, policy, setting

ROWS: Final = Path(__file__).parent / "rows"
T: Final = 1_772_366_400_000
LIVE: Final = "5f4dcc3b5aa765d61d8327deb882cf99"

PHONE: Final = Installation(
    T,
    "ios",
    "Europe/Berlin",
    "DE",
    Register("authorized", T + 1, 7),
    Register("denied", T + 2, -1, "os_settings"),
    Register("authorized", T + 3),
    Register("denied", T + 4, -1, "observed"),
    (Token(LIVE, T + 5), Token("gone", T + 4, T + 6)),
)
CONSENT: Final = Consent(
    {"shop/phone": PHONE},
    {"carts": Switch(T + 7, on=False)},
    Frequency(T + 8, 2, "rolling_week"),
    Quiet(T + 9, 1_260, 450),
    Switch(T + 10, on=True, until=NOON),
    {"legal": Switch(T + 11, on=True)},
    None,
    {"1f": T + 12},
)
SUBJECT: Final = Subject(
    consent=CONSENT,
    last_active={"shop/phone": T + 14},
    recent=(1, 2**63 + 5),
    instances=(
        Instance("i-1", "cart", "0123456789abcdef", "shop", T + 3_600_000, ("boots", "hat"), holdout=False),
    ),
    held=(
        Candidate(
            *("d-1", 1, T + 15, 1_772_434_800_000, "i-0", "cart", "0123456789abcdef", "shop"),
            items=("scarf", "hat"),
            left=("scarf",),
            holdout=False,
        ),
    ),
    contacts=(Contact("d-0", T + 16, "marketing", "cart", ("shop/phone",), 86_400_000, T + 17, -1),),
    begun=(3,),
    removed=((4, T + 18),),
)
POSITION: Final = Position(
    next={"optin.permissions": 12, "optin.tokens": 3},
    runs=[("optin.permissions", 10, 12)],
    now=T + 20,
    done=True,
)

SINCE_2: Final = msgspec.structs.replace(
    CONSENT,
    installations={"shop/phone": msgspec.structs.replace(PHONE, linked_at=T + 22, unlinked_at=T + 20)},
    unreadable=(Unreadable(7, 9, T + 21),),
)
"""The consent of above, and what version 2 added to it."""

FIRST: Final[dict[str, Any]] = {
    "subject": SUBJECT,
    "subject-erased": Subject(consent=Consent(erased_at=T + 13)),
    "subject-empty": Subject(),
    "reach": Reach(consent=CONSENT, addresses={LIVE: ("console", "t-1")}),
    "attempt": Attempt("p-1", "ann", "shop", "d-0", "phone", 2, T + 19),
    "position": POSITION,
    "link": Link(subject="ann", last=T + 23, sequence=4, recent=(5, 6)),
}
"""What the rows of version 1 say, as rows of today."""

SECOND: Final[dict[str, Any]] = {
    **FIRST,
    "subject": msgspec.structs.replace(SUBJECT, consent=SINCE_2),
    "reach": Reach(consent=SINCE_2, addresses={LIVE: ("console", "t-1")}),
    "position": msgspec.structs.replace(POSITION, rows=2),
}
"""What the rows of version 2 say."""

KEPT: Final = {"ends_at": T + 24, "properties.order": "o-1"}
PROFILE: Final = Profile(
    *(T + 25, T + 26, 5, 2, T + 27),
    value={"EUR": 7_900},
    opens=3,
    last_items=("boots",),
    onboarding_steps=("photo",),
    attributes={"plan": Attribute("gold", T + 28)},
)
THIRD: Final[dict[str, Any]] = {
    **SECOND,
    "subject": msgspec.structs.replace(
        SECOND["subject"],
        instances=tuple(
            msgspec.structs.replace(
                one, at=2, key="o-1", kept=KEPT, opted_in=True, arm="a:b", pushed=True, since=T
            )
            for one in SUBJECT.instances
        ),
        held=tuple(
            msgspec.structs.replace(one, at=1, kept=KEPT, arm="a:b", key="o-1", ended_as="exited")
            for one in SUBJECT.held
        ),
        profile=PROFILE,
        entered=((5, T + 30),),
    ),
    "attempt": msgspec.structs.replace(
        FIRST["attempt"], tries=1, waits=True, unknowns=True, decision=b"\xc3\x01"
    ),
}
"""What the rows of version 3 say."""

TODAY: Final = msgspec.structs.replace(
    SINCE_2,
    installations={
        "shop/phone": Installation(
            *(T, "ios", "Europe/Berlin", "DE", None, None, None, None),
            tokens=(Token(LIVE, T + 5, -1, T + 6),),
            linked_at=T + 22,
            unlinked_at=T + 20,
            grants=(Word(RANKS["authorized"], T + 1, 0, T + 2, 40, 7, T), Word(5, T + 3, 1, T + 4, 41)),
            refusals=(Word(RANKS["denied"], T + 5, 2, T + 6, 42, mark=2**32 - 1),),
            unlinked_appended=T + 21,
            unlinked_offset=39,
        )
    },
    rule_from=38,
)
"""The consent of above as version 4 keeps it."""
FOURTH: Final[dict[str, Any]] = {
    **THIRD,
    "subject": msgspec.structs.replace(THIRD["subject"], consent=TODAY),
    "worked": Worked(LIVE, "ann", T + 31, T + 32),
}
"""What the rows of version 4 say."""

NEWEST: Final[dict[str, Any]] = {
    **FOURTH,
    "subject": msgspec.structs.replace(
        FOURTH["subject"],
        failed=(FailedStep("letter-1", T + 40),),
        profile=msgspec.structs.replace(
            FOURTH["subject"].profile, tellings=(Telling(2**32 - 1, T + 41, 1_999, "EUR"),)
        ),
    ),
    "reach": Reach(consent=TODAY, addresses={LIVE: ("console", "t-1")}),
    "link": msgspec.structs.replace(FIRST["link"], counter_since=T, claimed_at=T + 24),
}
"""What the rows of today's version say: every element has a value somewhere."""

VALUES: Final = {1: FIRST, 2: {**SECOND, "link": NEWEST["link"]}, 3: THIRD, 4: FOURTH, 5: NEWEST}
REGISTERS_OF_BEFORE: Final = {"device_counted", "device", "server", "imported"}
"""Elements that rows of before version 4 had."""
BEGAN: Final = {"worked": 4}
"""The first version of a kind of row, where that is not 1."""
FILES: Final = sorted(ROWS.glob("*.json"))
WITH_TIMERS: Final = [path for path in FILES if not path.name.startswith("position")]


def codec_of(name: str) -> Any:
    """(encode, decode) of a kind of row."""
    kinds: dict[str, Any] = {
        "subject": subject_rows.ROWS,
        "position": position,
        "link": identity_linker.ROWS,
    }
    return kinds.get(name.partition("-")[0], reach_rows.ROWS)


def version_of(row: Any) -> int:
    """Today's version of a kind of row."""
    if isinstance(row, Link):
        return LINK_VERSION
    if isinstance(row, Subject):
        return STATE_VERSION
    return position.VERSION if isinstance(row, Position) else ROW_VERSION


def golden(name: str, version: int) -> dict[str, Any]:
    """One golden file."""
    loaded: dict[str, Any] = json.loads((ROWS / f"{name}.v{version}.json").read_text())
    return loaded


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_the_bytes_of_every_version_read_as_what_they_said(path: Path) -> None:
    """Elements that came later have their defaults; the row is one of today's version from then on.

    Words on permission go on by today's rule, as `former_rule` says.
    """
    row = json.loads(path.read_text())
    raw = bytes.fromhex(row["hex"])

    assert codec_of(row["row"]).decode(raw) == said(row["row"], row["version"])
    assert plain(msgpack.unpackb(raw)) == row["layout"]


def plain(element: Any) -> Any:
    """An element as JSON can say it: bytes in hex."""
    if isinstance(element, list):
        return [plain(one) for one in element]
    return element.hex() if isinstance(element, bytes) else element


@pytest.mark.parametrize("path", WITH_TIMERS, ids=[path.stem for path in WITH_TIMERS])
def test_when_a_row_wants_to_be_woken_is_read_from_its_bytes_alone(path: Path) -> None:
    """A takeover decodes no row to set its timer, whichever version wrote it."""
    row = json.loads(path.read_text())
    codec, raw = codec_of(row["row"]), bytes.fromhex(row["hex"])

    assert codec.wake_at_encoded(raw) == codec.wake_at(codec.decode(raw))


def said(name: str, version: int) -> Any:
    """What a golden file says; a position keeps the version of who wrote it."""
    row = VALUES[version][name]
    if isinstance(row, Position):
        return msgspec.structs.replace(row, version=version)
    if isinstance(row, Link) and version == 1:
        return msgspec.structs.replace(row, claimed_at=row.last)
    is_former = (isinstance(row, Subject) and version < 4) or (isinstance(row, Reach) and version < 5)
    return msgspec.structs.replace(row, consent=upgraded(row.consent)) if is_former else row


@pytest.mark.parametrize("name", NEWEST)
def test_a_row_of_today_has_its_golden_bytes(name: str) -> None:
    """A change of layout is seen here first: add elements at the end, raise the version, add a file."""
    row = NEWEST[name]

    assert codec_of(name).encode(row).hex() == golden(name, version_of(row))["hex"]


def test_every_version_of_every_row_has_a_file_and_every_element_a_value() -> None:
    """Nothing is read that no golden file holds; in the newest full rows no element is its default."""
    for name, row in NEWEST.items():
        files = {path.name for path in ROWS.glob(f"{name}.v*.json")}
        assert files == {
            f"{name}.v{version}.json" for version in range(BEGAN.get(name, 1), version_of(row) + 1)
        }
    full = NEWEST["subject"]
    for row in (
        full,
        full.consent,
        full.consent.installations["shop/phone"],
        full.profile,
        NEWEST["position"],
    ):
        defaults = type(row)()
        same = {n for n in row.__struct_fields__ if getattr(row, n) == getattr(defaults, n)}
        assert same <= {"version", "erased_at", *REGISTERS_OF_BEFORE}


def test_a_row_of_version_1_is_folded_on() -> None:
    """After an upgrade the first fact finds the row as it was, and writes it in today's version."""
    before = subject.decode(bytes.fromhex(golden("subject", 1)["hex"]))

    definitions = in_force(policy(), (journey(),), {"0123456789abcdef": journey()})
    known = dataclasses.replace(setting(), definitions=definitions)

    after, _ = fold(before, ANN, fact(f.TopicSubscribed, NOON, topic="news"), NOON, NOON, known)

    layout = msgpack.unpackb(subject.encode(after))
    assert layout[0] == STATE_VERSION
    assert layout[1][1] == {"carts": [T + 7, False, None], "news": [NOON, True, None]}
    assert layout[2:4] == golden("subject", 1)["layout"][2:4]
    assert layout[6:9] == golden("subject", 1)["layout"][6:9]
    assert [of[:7] for of in layout[4]] == golden("subject", 1)["layout"][4]
    assert [of[:11] for of in layout[5]] == golden("subject", 1)["layout"][5]
    here = reach_rows.ROWS.decode(bytes.fromhex(golden("reach", 1)["hex"]))
    moved = reach.fold(here, fact(f.MarketingResumed, NOON), NOON)
    assert msgpack.unpackb(reach_rows.ROWS.encode(moved))[0][0] == reach.REACH_VERSION


def newer(name: str, place: tuple[int, ...], version: int, *, strange: bool = False) -> bytes:
    """The golden row as a newer binary might write it: another version, perhaps other kinds of elements."""
    layout = golden(name, version_of(NEWEST[name]))["layout"]
    array = layout
    for index in place[:-1]:
        array = array[index]
    array[place[-1]] = version
    if strange:
        layout[1] = "something else"
    packed: bytes = msgpack.packb(layout)
    return packed


TAGS: Final = [
    *(("subject", (0,)), ("reach", (2,)), ("attempt", (2,)), ("worked", (2,))),
    *(("position", (0,)), ("link", (0,))),
]
"""Where the version of each kind of row stands."""


@pytest.mark.parametrize(
    ("name", "place", "strange"),
    [*((*tag, strange) for tag in TAGS for strange in (False, True)), ("reach", (0, 0), False)],
)
def test_a_row_of_a_newer_binary_is_refused(name: str, place: tuple[int, ...], strange: bool) -> None:
    """By its version, with what to do about it, and also where its elements make no sense here."""
    with pytest.raises(ValueError, match=r"version 9, this binary knows [12345]: run the version"):
        codec_of(name).decode(newer(name, place, 9, strange=strange))


def test_junk_is_not_taken_for_a_newer_row() -> None:
    """It is damage, and named as such."""
    for raw in (b"\xc1", b"\x91\xa1x", b"\x90\x90"):
        with pytest.raises(msgspec.DecodeError) as caught:
            subject.decode(raw)
        assert not isinstance(caught.value, NewerState)


class TestOnTheLane:
    """What a lane meets when it reads its changelog back, or touches a row for the first time."""

    KEY = b"ann"

    def table(self, **records: bytes) -> LaneTable:
        """A table that restored a row or a position."""
        table = LaneTable("optin.journeys-subjects-changelog", subject_rows.ROWS)
        table.partitions[3] = Partition()
        keys = {"row": self.KEY, "position": POSITION_KEY}
        table.restore(
            3,
            [
                SimpleNamespace(key=keys[name], value=raw, offset=offset)
                for offset, (name, raw) in enumerate(records.items())
            ],
        )
        return table

    def test_a_newer_position_is_noticed_while_it_is_read_back(self) -> None:
        """Before any record is folded: every transaction writes one."""
        with pytest.raises(UnreadableState, match=r"optin.journeys-subjects-changelog/3: .*version 9"):
            self.table(position=newer("position", (0,), 9))

    def test_newer_rows_are_noticed_by_the_position_beside_them(self) -> None:
        """Whoever wrote them said so in the position, though no row was looked at yet."""
        with pytest.raises(
            UnreadableState,
            match=f"rows of state version {STATE_VERSION + 1}, this binary knows {STATE_VERSION}",
        ):
            self.table(position=newer("position", (5,), STATE_VERSION + 1))

    def test_a_newer_row_is_noticed_when_it_is_touched(self) -> None:
        """The second line, for a changelog that lost its position: nothing is written over the row."""
        table = self.table(row=newer("subject", (0,), 9))

        with pytest.raises(UnreadableState, match="state version 9") as caught:
            table.get(3, self.KEY)
        assert "ann" not in str(caught.value)
        assert table.partitions[3].rows[self.KEY] == newer("subject", (0,), 9)

    def test_a_newer_row_is_noticed_when_its_timer_is_set(self) -> None:
        """Rows are not decoded for it, but their version is looked at."""
        table = self.table(row=newer("subject", (0,), 9))

        with pytest.raises(UnreadableState, match="state version 9"):
            table.rebuild_timers(3)

    def test_a_takeover_leaves_rows_as_bytes(self) -> None:
        """A timer stands for each that wants one; the row itself is decoded when somebody needs it."""
        raw = bytes.fromhex(golden("subject", STATE_VERSION)["hex"])
        table = self.table(row=raw)
        table.rebuild_timers(3)

        assert table.partitions[3].rows[self.KEY] is raw
        assert table.partitions[3].timers.next_due() == subject.wake_at(SUBJECT)

    def test_rows_of_today_and_of_before_are_read(self) -> None:
        """With and without a position that names their version."""
        for version in (1, 2):
            row, place = (bytes.fromhex(golden(name, version)["hex"]) for name in ("subject", "position"))

            table = self.table(position=place, row=row)

            assert table.get(3, self.KEY) == said("subject", version)
