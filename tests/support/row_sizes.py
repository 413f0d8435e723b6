"""How large a subject's rows get: a typical one, and the largest that the bounds allow.

    python -m tests.support.row_sizes

prints the table of docs/reference/changelog.md: bytes on the changelog, and bytes in a worker's memory once
the row was decoded (by tracemalloc, over many decodings).
"""

from __future__ import annotations

import sys
import tracemalloc
import uuid
from typing import Any, Final

import msgspec

from ledger.admission import ID_LENGTH_MAX, LATEST_MS, NOTE_LENGTH_MAX, TEXT_LENGTH_MAX, WORD_LENGTH_MAX
from ledger.consent import (
    INSTALLATIONS_MAX,
    SUPPRESSIONS_MAX,
    TOKENS_MAX,
    TOPICS_MAX,
    UNREADABLE_MAX,
    Consent,
    Frequency,
    Installation,
    Quiet,
    Switch,
    Token,
    Unreadable,
    installation_key,
    token_id,
)
from ledger.consent_fold import AHEAD_MAX
from ledger.profile import (
    ATTRIBUTES_MAX,
    CURRENCIES_MAX,
    LAST_ITEMS_MAX,
    STEPS_MAX,
    TELLINGS_MAX,
    Attribute,
    Profile,
    Telling,
)
from ledger.reach import Reach
from ledger.subject import (
    BEGUN_MAX,
    CONTACTS_MAX,
    ENTERED_MAX,
    FAILED_MAX,
    HELD_MAX,
    INSTANCES_MAX,
    ITEMS_MAX,
    KEPT_BYTES_MAX,
    RECENT_IDS_MAX,
    REMOVED_MAX,
    Candidate,
    Contact,
    FailedStep,
    Instance,
    Subject,
)
from ledger.words import COUNTED, RANKS, REFUSALS_MAX, REGISTERS, Word
from processors.agents import reach_rows, subject_rows
from processors.lane.table import RowCodec
from tests.support.given import NOON

T: Final = LATEST_MS
LARGE: Final = 2**64 - 1
UUID: Final = "7c9e6679-7425-5e0d-9f1e-0a1b2c3d4e5f"
HASH: Final = "0123456789abcdef"
JOURNEY: Final = "cart_abandonment"
DECODINGS: Final = {"typical": 2_000, "maximal": 4}


def full_id(prefix: str, number: int) -> str:
    """A distinct id of the greatest length."""
    return f"{prefix}{number}".ljust(ID_LENGTH_MAX, "x")


def word(prefix: str = "") -> str:
    """A text of the greatest length that a row keeps."""
    return prefix.ljust(WORD_LENGTH_MAX, "x")


APP: Final = full_id("app", 0)
KEPT: Final[dict[str, str | int | float | bool]] = {"field": "x" * (KEPT_BYTES_MAX - 5)}


def typical() -> tuple[Subject, Reach]:
    """A phone and a browser, some choices, an open cart, two months of a push every third day."""
    token = token_id("apns", "t")
    words = (
        Word(RANKS["authorized"], NOON, 1, NOON, 70_000),
        Word(RANKS["denied"], NOON, 1, NOON, 70_001, mark=2**32 - 1),
    )
    consent = Consent(
        installations={
            f"shop/{UUID}": Installation(
                NOON, "ios", "Europe/Berlin", "DE", tokens=(Token(token, NOON, -1, NOON),), grants=words[:1]
            ),
            "shop/3f1c9a52b7d44e6c": Installation(NOON, "web", "Europe/Berlin", "DE", refusals=words[1:]),
        },
        topics={"cart_reminders": Switch(NOON, on=True), "news": Switch(NOON, on=False)},
        frequency=Frequency(NOON, 2, "calendar_week"),
    )
    subject = Subject(
        consent=consent,
        last_active={f"shop/{UUID}": NOON, "shop/3f1c9a52b7d44e6c": NOON},
        recent=tuple(LARGE - n for n in range(RECENT_IDS_MAX)),
        instances=(Instance(UUID, JOURNEY, HASH, "shop", NOON, ("boots-3", "scarf-9"), holdout=False),),
        contacts=tuple(
            Contact(UUID, NOON, "marketing", JOURNEY, (f"shop/{UUID}",), 86_400_000) for _ in range(10)
        ),
        begun=tuple(LARGE - n for n in range(12)),
        removed=tuple((LARGE - n, NOON) for n in range(12)),
        profile=Profile(
            *(NOON - 10_000_000, NOON, 1_025, 2, NOON - 5_000_000),
            value={"EUR": 15_900},
            opens=3,
            last_items=tuple(f"item-{n}" for n in range(LAST_ITEMS_MAX)),
            attributes={"plan": Attribute("gold", NOON), "city": Attribute("Hamburg", NOON)},
        ),
    )
    return subject, Reach(consent=consent, addresses={token: ("apns", "t" * 64)})


def _number(clock: int) -> tuple[int, ...]:
    return (T, T) if clock == COUNTED else ()


def maximal_consent() -> Consent:
    """As much as the ledger takes in about one subject, each text as long as it may be."""
    clocks = range(len(REGISTERS))
    grants = [Word(RANKS["authorized"], T, clock, T, T, *_number(clock)) for clock in (COUNTED, *clocks)]
    refusals = [
        msgspec.structs.replace(Word(RANKS["denied"], T, clock, T, T, *_number(clock)), mark=2**32 - 1)
        for clock in clocks
        for _ in range(REFUSALS_MAX + 1 + (clock == COUNTED))
    ]

    def tokens(place: str) -> tuple[Token, ...]:
        return tuple(Token(word(f"{place}{n}"), T, T, T) for n in range(TOKENS_MAX))

    told = Installation(
        *(T, "android", word(), word(), None, None, None, None, (), T, T),
        *(tuple(grants), tuple(refusals), T, T),
    )
    return Consent(
        installations={
            **{
                installation_key(APP, full_id("a", n)): msgspec.structs.replace(told, tokens=tokens(f"a{n}-"))
                for n in range(INSTALLATIONS_MAX)
            },
            **{
                installation_key(APP, full_id("b", n)): Installation(tokens=tokens(f"b{n}-"))
                for n in range(INSTALLATIONS_MAX)
            },
        },
        topics={full_id("t", n): Switch(T, on=False) for n in range(TOPICS_MAX)},
        frequency=Frequency(T, 1_000, "calendar_month"),
        quiet=Quiet(T, 1_439, 1_438),
        pause=Switch(T, on=True, until=T),
        suppressions={word(f"r{n}"): Switch(T, on=True, until=T) for n in range(SUPPRESSIONS_MAX)},
        ahead={f"{LARGE - n:x}": T for n in range(AHEAD_MAX)},
        unreadable=tuple(Unreadable(T + 2 * n, T + 2 * n, T) for n in range(UNREADABLE_MAX)),
    )


def maximal() -> tuple[Subject, Reach]:
    """The largest rows of both roles that the bounds allow."""
    consent = maximal_consent()
    items = tuple(full_id("item", n) for n in range(ITEMS_MAX))
    journey = word("journey")
    subject = Subject(
        consent=consent,
        last_active=dict.fromkeys(consent.installations, T),
        recent=tuple(LARGE - n for n in range(RECENT_IDS_MAX)),
        instances=tuple(
            Instance(
                UUID,
                journey,
                HASH,
                APP,
                T,
                items,
                *(False, 49, full_id("key", 0), KEPT, True, word(), True, T),
            )
            for _ in range(INSTANCES_MAX)
        ),
        held=tuple(
            Candidate(
                *(UUID, LARGE, T, T, UUID, journey, HASH, APP, items, items),
                *(False, 49, KEPT, word(), full_id("key", 0), "restarted"),
            )
            for _ in range(HELD_MAX)
        ),
        contacts=tuple(
            Contact(UUID, T, "marketing", journey, (installation_key(APP, full_id("a", 0)),), T, T, T)
            for _ in range(CONTACTS_MAX)
        ),
        begun=tuple(LARGE - n for n in range(BEGUN_MAX)),
        removed=tuple((LARGE - n, T) for n in range(REMOVED_MAX)),
        profile=Profile(
            *(T, T, LARGE, T, T),
            value={f"A{n:02}": LARGE for n in range(CURRENCIES_MAX)},
            opens=T,
            last_items=tuple(full_id("item", n) for n in range(LAST_ITEMS_MAX)),
            onboarding_steps=tuple(full_id("step", n) for n in range(STEPS_MAX)),
            attributes={word(f"a{n}"): Attribute("v" * NOTE_LENGTH_MAX, T) for n in range(ATTRIBUTES_MAX)},
            tellings=tuple(Telling(LARGE - n, T, LARGE, "EUR") for n in range(TELLINGS_MAX)),
        ),
        entered=tuple((LARGE - n, T) for n in range(ENTERED_MAX)),
        failed=tuple(FailedStep(str(uuid.UUID(int=n)), T, True) for n in range(FAILED_MAX)),
    )
    address = "web_push", "t" * 4 * TEXT_LENGTH_MAX
    # One live address for each installation.
    addresses = {full_id("address", n): address for n in range(2 * INSTALLATIONS_MAX)}
    return subject, Reach(consent=consent, addresses=addresses)


def sizes() -> dict[tuple[str, str], tuple[RowCodec, bytes]]:
    """The encoded row of each (size, role)."""
    found = {}
    for size, (subject, reach) in {"typical": typical(), "maximal": maximal()}.items():
        found[size, "journeys"] = subject_rows.ROWS, subject_rows.ROWS.encode(subject)
        found[size, "delivery"] = reach_rows.ROWS, reach_rows.ROWS.encode(reach)
    return found


def in_memory(codec: RowCodec, raw: bytes, times: int) -> int:
    """Bytes of a decoded row in memory, its share of what many take."""
    tracemalloc.start()
    kept: list[Any] = [codec.decode(raw) for _ in range(times)]
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken // len(kept)


def main() -> None:
    """Print the table."""
    for (size, role), (codec, raw) in sizes().items():
        memory = in_memory(codec, raw, DECODINGS[size])
        sys.stdout.write(f"| {size} | {role} | {len(raw):,} | {memory:,} |\n")


if __name__ == "__main__":
    main()
