"""Which facts the ledger takes in: limits on identifiers, texts and times.

Everything here is about one fact alone. A refused fact goes to dead-letters with the reason; nothing of
it is folded. Reasons are fixed words, safe as labels; details never repeat the offending value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias

from ledger import facts as f
from ledger.consent import SKEW_MS
from ledger.unreadable import NO_OFFSET

ID_LENGTH_MAX: Final = 128
TEXT_LENGTH_MAX: Final = 1_024
WORD_LENGTH_MAX: Final = 64
ITEMS_MAX: Final = 200
PUSHES_MAX: Final = 1_000
EARLIEST_MS: Final = 946_684_800_000
"""2000-01-01: anything dated earlier is a broken clock or a wrong unit."""
QUANTITY_MAX: Final = 1_000_000
PRICE_MINOR_MAX: Final = 1_000_000_000_000
NOTES_MAX: Final = 32
"""Attributes or properties of one fact."""
NOTE_LENGTH_MAX: Final = 256
MINUTES: Final = 1_440
LATEST_MS: Final = 4_102_444_800_000
"""2100-01-01."""

Rejection: TypeAlias = tuple[str, str]
"""(reason, detail)"""

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+=~-]{0,127}", re.ASCII)
_PHONE: Final = re.compile(r"\+[0-9 .()-]{9,24}|[0-9]{10,15}|[0-9]+[ .()-][0-9 .()-]{7,20}", re.ASCII)
"""A number of up to 15 digits (E.164), or digits with the signs that people write between them. Longer bare
numbers are ids of a database; a shorter numeric id needs a letter in front."""
_IDS: Final = (
    "event_id",
    "app",
    "subject",
    "installation",
    "order_id",
    "push_id",
    "item",
    "topic",
    "token_id",
    "claim",
    "name",
    "step",
    "trial",
    "letter",
)
_ID_LINES: Final = tuple(
    re.compile("\n".join([_ID.pattern] * count), re.ASCII) for count in range(len(_IDS) + 1)
)
"""So many identifiers in one text, a line each: one match costs a fifth of five."""
_WORDS: Final = ("reason", "cause", "time_zone", "country", "token_id")
"""Kept in a subject's state and repeated in each decision, so they are short."""
_TEXTS: Final = ("context", "copy_version", "category")
_NOTE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+=~-]{0,63}", re.ASCII)
_CURRENCY: Final = re.compile(r"[A-Z]{3}", re.ASCII)

_OURS: Final = (f.LinkFact, f.UnreadableFactSettled)
"""Facts on topics of app backends that nobody but us may say."""
_COUNTED: Final = (
    *(f.PermissionGranted, f.PermissionDenied, f.PermissionRevoked, f.PermissionObserved),
    f.InstallationClaimed,
)
"""Facts that say when their installation's counter began."""
_THEIRS: Final = ("is said by `optin dead-letters`", "follows from a claim on optin.links: publish that")


def subject_of(key: bytes | None) -> str | None:
    """The subject that a record's key names, if the ledger would take such a subject in; else None."""
    try:
        subject = (key or b"").decode()
    except UnicodeDecodeError:
        return None
    return subject if _ID.fullmatch(subject) and not _is_personal(subject) else None


def rejection(fact: f.Fact, key: bytes | None, appended_ms: int) -> Rejection | None:
    """Say why a decoded fact is not accepted as (reason, detail), or None.

    `key` is the record's key, `appended_ms` the fact's first append as the broker stamped it.
    """
    belongs_under = f.key_of(fact)
    if belongs_under is not None and key != belongs_under.encode():
        return "key_mismatch", "the record's key is not the UTF-8 bytes of what the fact is about"
    subject = getattr(fact, "subject", None)
    if subject is not None and _is_personal(subject):
        return (
            "personal_subject",
            "the subject looks like a phone number or an e-mail address; begin a numeric id with s-",
        )
    if not EARLIEST_MS <= fact.occurred_at <= LATEST_MS:
        return "absurd_time", "occurred_at must be milliseconds between the years 2000 and 2100"
    if fact.occurred_at > appended_ms + SKEW_MS and not isinstance(fact, f.LinkFact):
        return "from_the_future", "occurred_at is later than the append by more than the skew"
    if isinstance(fact, _COUNTED) and (since := fact.counter_since) is not None:
        if not EARLIEST_MS <= since <= LATEST_MS:
            return "absurd_time", "counter_since must be milliseconds between the years 2000 and 2100"
        if since > appended_ms + SKEW_MS:
            return "from_the_future", "counter_since is later than the append by more than the skew"
    origin = _origin(fact.source)
    if origin is None:
        return "unknown_source", f"source must start with one of {', '.join(f.ORIGINS)}"
    if origin != "processor" and isinstance(fact, _OURS):
        return "not_yours", f"{type(fact).__name__} {_THEIRS[isinstance(fact, f.LinkFact)]}"
    return _absurd_value(fact)


@lru_cache(1_024)
def _origin(source: str) -> str | None:
    origin = source.partition(":")[0]
    return origin if origin in f.ORIGINS else None


@lru_cache(1 << 16)
def _is_personal(subject: str) -> bool:
    return "@" in subject or _PHONE.fullmatch(subject) is not None


class _Fields(NamedTuple):
    ids: tuple[str, ...]
    all_ids: Callable[[f.Fact], tuple[str | None, ...]]
    texts: tuple[tuple[str, int], ...]
    """With their longest length."""


@cache
def _fields_of(kind: type[f.Fact]) -> _Fields:
    """The identifiers and the texts of a kind of fact."""
    names = kind.__struct_fields__
    limits = [*((name, WORD_LENGTH_MAX) for name in _WORDS), *((name, TEXT_LENGTH_MAX) for name in _TEXTS)]
    ids = tuple(name for name in _IDS if name in names)  # at least `event_id` and `app`
    return _Fields(ids, attrgetter(*ids), tuple((n, limit) for n, limit in limits if n in names))


def _absurd_value(fact: f.Fact) -> Rejection | None:
    names, all_ids, texts = _fields_of(type(fact))
    ids = [value for value in all_ids(fact) if value is not None]
    if not _ID_LINES[len(ids)].fullmatch("\n".join(ids)):
        wrong = next(n for n in names if not ((v := getattr(fact, n)) is None or _ID.fullmatch(v)))
        return "absurd_identifier", f"{wrong} must be 1 to {ID_LENGTH_MAX} plain characters"
    for name, longest in texts:
        value = getattr(fact, name)
        if value is not None and not _plain(value, longest):
            return "absurd_text", f"{name} must be printable, at most {longest} bytes of UTF-8"
    if fact.sequence is not None and fact.sequence < 0:
        return "absurd_number", "sequence must not be negative"
    if not _plain(fact.source, TEXT_LENGTH_MAX):
        return "absurd_text", "source must be printable text"
    own_limits = _OWN_LIMITS.get(type(fact))
    return own_limits(fact) if own_limits else None


def _token(fact: f.TokenRegistered) -> Rejection | None:
    # Addresses are long (a Web Push subscription is JSON) but never unbounded.
    if not 0 < _bytes(fact.token) <= 4 * TEXT_LENGTH_MAX:
        return "absurd_text", "token must be 1 to 4096 bytes of UTF-8"
    return None


def _token_loss(fact: f.TokenInvalidated) -> Rejection | None:
    ok, gone = fact.last_seen_ok, fact.first_seen_gone
    for name, at in (("last_seen_ok", ok), ("first_seen_gone", gone)):
        if at is not None and (refused := _instant(name, at)):
            return refused
    if ok is not None and gone is not None and ok > gone:
        return "absurd_time", "last_seen_ok must not be later than first_seen_gone"
    return None


def _frequency(fact: f.FrequencyChosen) -> Rejection | None:
    if not 0 <= fact.max_pushes <= PUSHES_MAX or fact.window not in f.WINDOWS:
        return "absurd_number", f"max_pushes must be 0 to {PUSHES_MAX} in a known window"
    return None


def _quiet_hours(fact: f.QuietHoursChosen) -> Rejection | None:
    if not (0 <= fact.start_minute < MINUTES and 0 <= fact.end_minute < MINUTES):
        return "absurd_number", "quiet hours are minutes of a day, 0 to 1439"
    return None


def _order(fact: f.OrderPlaced) -> Rejection | None:
    if not 0 < len(fact.items) <= ITEMS_MAX or not all(map(_ID.fullmatch, fact.items)):
        return "absurd_identifier", f"items must be 1 to {ITEMS_MAX} item ids"
    return None


def _cart(fact: f.CartUpdated) -> Rejection | None:
    if not 0 < fact.quantity <= QUANTITY_MAX:
        return "absurd_number", "quantity must be 1 to 1000000"
    return None


def _until(fact: f.MarketingPaused | f.SubjectSuppressed) -> Rejection | None:
    return None if fact.until is None else _instant("until", fact.until)


def _trial(fact: f.TrialStarted) -> Rejection | None:
    return _instant("ends_at", fact.ends_at)


def _price(fact: f.ItemPriceChanged) -> Rejection | None:
    if not all(0 <= price <= PRICE_MINOR_MAX for price in (fact.price_minor, fact.previous_minor or 0)):
        return "absurd_number", f"prices must be 0 to {PRICE_MINOR_MAX}"
    if not _CURRENCY.fullmatch(fact.currency):
        return "absurd_text", "currency must be three capital letters, as ISO 4217 has them"
    return None


def _stock(fact: f.ItemStockChanged) -> Rejection | None:
    if not 0 <= (fact.quantity or 0) <= QUANTITY_MAX:
        return "absurd_number", f"quantity must be 0 to {QUANTITY_MAX}"
    return None


def _settled(fact: f.UnreadableFactSettled) -> Rejection | None:
    if fact.first_offset == fact.last_offset == NO_OFFSET:
        return None
    if not 0 <= fact.first_offset <= fact.last_offset:
        return "absurd_number", "offsets must not be negative, nor the last before the first"
    return None


def _instant(name: str, at: int) -> Rejection | None:
    if not EARLIEST_MS <= at <= LATEST_MS:
        return "absurd_time", f"{name} must be milliseconds between the years 2000 and 2100"
    return None


def _notes(notes: dict[str, str]) -> Rejection | None:
    """Attributes and properties: words of the app's own, which go to ClickHouse as they are."""
    if len(notes) > NOTES_MAX:
        return "absurd_number", f"a fact takes at most {NOTES_MAX} attributes or properties"
    if not all(_NOTE_NAME.fullmatch(name) for name in notes):
        return "absurd_identifier", "names of attributes and properties must be 1 to 64 plain characters"
    if not all(_plain(value, NOTE_LENGTH_MAX) for value in notes.values()):
        return "absurd_text", f"values must be printable, at most {NOTE_LENGTH_MAX} bytes of UTF-8"
    return None


def _plain(text: str, longest: int) -> bool:
    return _bytes(text) <= longest and text.isprintable()


def _bytes(text: str) -> int:
    """How long a text is where it is kept: what bounds a row is bytes."""
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


_OWN_LIMITS: Final[dict[type[f.Fact], Callable[[Any], Rejection | None]]] = {
    f.TokenRegistered: _token,
    f.TokenInvalidated: _token_loss,
    f.FrequencyChosen: _frequency,
    f.QuietHoursChosen: _quiet_hours,
    f.MarketingPaused: _until,
    f.SubjectSuppressed: _until,
    f.OrderPlaced: _order,
    f.CartUpdated: _cart,
    f.SubjectAttributesSet: lambda fact: _notes(fact.attributes),
    f.CustomActivity: lambda fact: _notes(fact.properties),
    f.TrialStarted: _trial,
    f.ItemPriceChanged: _price,
    f.ItemStockChanged: _stock,
    f.UnreadableFactSettled: _settled,
}
"""Limits of a kind of fact beyond those that go by the names of its fields."""
