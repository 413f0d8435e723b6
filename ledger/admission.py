"""Which facts the ledger takes in: limits on identifiers, texts and times.

Everything here is about one fact alone. A refused fact goes to dead-letters with the reason; nothing of
it is folded. Reasons are fixed words, safe as labels; details never repeat the offending value. Of a fact of
many lines (the items of an order, attributes, properties) an odd line is left out, and the others count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sized
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, get_args

import msgspec

from ledger import facts as f
from ledger.consent import SKEW_MS
from ledger.plain_text import flaw
from ledger.unreadable import NO_OFFSET

ID_LENGTH_MAX: Final = 128
TEXT_LENGTH_MAX: Final = 1_024
WORD_LENGTH_MAX: Final = 64
ITEMS_MAX: Final = 200
"""Lines of one order that count."""
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

F = TypeVar("F", bound=f.Fact)

Rejection: TypeAlias = tuple[str, str]
"""(reason, detail)"""

NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._:+=~-]{0,127}"
"""Names that an app or this system gives: no `/`, by which keys are put together."""
ID_PATTERN: Final = r"[A-Za-z0-9_{][A-Za-z0-9._:+=~|/{}-]{0,127}"
"""Ids that other systems give: also `auth0|5f7c`, `gid://shopify/Product/1`, `{8a7b}`, `_1`. Never `@`."""
ID_WORDS: Final = "1 to 128 of A-Z a-z 0-9 . _ : + = ~ - | / { }, the first a letter, a digit, _ or {"
_ID: Final = re.compile(ID_PATTERN, re.ASCII)
_PHONE: Final = re.compile(
    r"(.*[|/:])?\+[0-9 .()-]{9,24}|[0-9]{10,15}|[0-9]+[ .()-][0-9 .()-]{7,20}", re.ASCII
)
"""Up to 15 digits (E.164), or digits with the signs that people write between them; with a `+` also
behind the name of a system (`sms|+49...`). Longer bare numbers are ids of a database; a shorter numeric id
needs a letter in front."""
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
_GIVEN: Final = frozenset({"event_id", "subject", "installation", "order_id", "item", "trial", "claim"})
"""Of these, ids that other systems give."""
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
    may_lack: bool
    """Whether some of them may be absent."""
    lines: re.Pattern[str]
    """All of the ids in one text, a line each, absent ones empty: one match costs a fifth of five."""
    texts: tuple[tuple[str, int], ...]
    """With their longest length."""


@cache
def _fields_of(kind: type[f.Fact]) -> _Fields:
    """The identifiers and the texts of a kind of fact."""
    names = kind.__struct_fields__
    limits = [*((name, WORD_LENGTH_MAX) for name in _WORDS), *((name, TEXT_LENGTH_MAX) for name in _TEXTS)]
    ids = tuple(name for name in _IDS if name in names)  # at least `event_id` and `app`
    types = {field.name: field.type for field in msgspec.structs.fields(kind)}
    may_lack = any(type(None) in get_args(types[name]) for name in ids)
    each = "(?:{})?" if may_lack else "{}"
    lines = re.compile("\n".join(each.format(_pattern(name)) for name in ids), re.ASCII)
    return _Fields(
        ids, attrgetter(*ids), may_lack, lines, tuple((n, limit) for n, limit in limits if n in names)
    )


def _pattern(name: str) -> str:
    return ID_PATTERN if name in _GIVEN else NAME_PATTERN


def _absurd_value(fact: f.Fact) -> Rejection | None:
    names, all_ids, may_lack, lines, texts = _fields_of(type(fact))
    ids: Any = all_ids(fact)
    if may_lack:
        if "" in ids or not lines.fullmatch("\n".join([value or "" for value in ids])):
            return _absurd_identifier(names, ids)
    elif not lines.fullmatch("\n".join(ids)):
        return _absurd_identifier(names, ids)
    for name, longest in texts:
        value = getattr(fact, name)
        if value is not None and (wrong := _flaw(value, longest, lines=name in _TEXTS)):
            return "absurd_text", f"{name} {wrong}"
    if fact.sequence is not None and fact.sequence < 0:
        return "absurd_number", "sequence must not be negative"
    if wrong := _flaw(fact.source, TEXT_LENGTH_MAX):
        return "absurd_text", f"source {wrong}"
    own_limits = _OWN_LIMITS.get(type(fact))
    return own_limits(fact) if own_limits else None


def _absurd_identifier(names: tuple[str, ...], ids: tuple[str | None, ...]) -> Rejection:
    for name, value in zip(names, ids, strict=True):
        if value is not None and not re.fullmatch(_pattern(name), value, re.ASCII):
            words = (
                ID_WORDS
                if name in _GIVEN
                else ID_WORDS.replace(" | / { }", "").replace(", _ or {", " or a digit")
            )
            return "absurd_identifier", f"{name} must be {words}"
    raise AssertionError("together they are as odd as one of them")


def admitted(fact: F) -> tuple[F, int]:
    """An accepted fact without its odd lines, and how many these are; a quantity of 0 is a removal."""
    trim = _TRIM.get(type(fact))
    return (fact, 0) if trim is None else trim(fact)


def _order(fact: f.OrderPlaced) -> tuple[f.OrderPlaced, int]:
    good = tuple(filter(_ID.fullmatch, fact.items))[:ITEMS_MAX]
    return _with_lines(fact, "items", fact.items, good)


def _cart_change(fact: f.CartUpdated) -> tuple[f.CartUpdated, int]:
    return (fact if fact.quantity else msgspec.structs.replace(fact, change="removed")), 0


def _with_lines(fact: F, name: str, lines: Sized, good: Sized) -> tuple[F, int]:
    left_out = len(lines) - len(good)
    return (msgspec.structs.replace(fact, **{name: good}), left_out) if left_out else (fact, 0)


def _good_notes(notes: dict[str, str]) -> dict[str, str]:
    """Attributes and properties: words of the app's own, which go to ClickHouse as they are."""
    good = {
        name: value
        for name, value in notes.items()
        if _NOTE_NAME.fullmatch(name) and not _flaw(value, NOTE_LENGTH_MAX, lines=True)
    }
    return dict([*good.items()][:NOTES_MAX])


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


def _cart(fact: f.CartUpdated) -> Rejection | None:
    if not 0 <= fact.quantity <= QUANTITY_MAX:
        return "absurd_number", "quantity must be 0 to 1000000"
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


def _flaw(text: str, longest: int, *, lines: bool = False) -> str | None:
    """What is wrong with a text, in words, or None."""
    if _bytes(text) > longest:
        return f"must be at most {longest} bytes of UTF-8"
    wrong = flaw(text, lines=lines)
    return wrong and f"holds {wrong}"


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
    f.CartUpdated: _cart,
    f.TrialStarted: _trial,
    f.ItemPriceChanged: _price,
    f.ItemStockChanged: _stock,
    f.UnreadableFactSettled: _settled,
}
"""Limits of a kind of fact beyond those that go by the names of its fields."""

_TRIM: Final[dict[type[f.Fact], Callable[[Any], tuple[Any, int]]]] = {
    f.OrderPlaced: _order,
    f.SubjectAttributesSet: lambda fact: _with_lines(
        fact, "attributes", fact.attributes, _good_notes(fact.attributes)
    ),
    f.CustomActivity: lambda fact: _with_lines(
        fact, "properties", fact.properties, _good_notes(fact.properties)
    ),
    f.CartUpdated: _cart_change,
}
"""Facts of lines, some of which may be odd."""
