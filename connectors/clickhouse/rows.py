"""How facts become rows: one table of columns for each family of facts.

`TABLES` is what the sink writes by; the migrations create the same columns, and a test compares the two.
A fact's table follows from its topic. A delivery address is never among the columns (tokens go by their id),
nor are the bytes of dead letters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, Final

from connectors.codec import topic_of
from ledger import facts as f
from ledger.consent import register_of, spoken, token_id
from ledger.consent_fold import effective_time
from ledger.token_loss import WRONG
from ledger.void_addresses import is_void


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a fact stands on Kafka, and its first append (ms since 1970)."""

    partition: int
    offset: int
    appended_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A column by name and ClickHouse type, and the value that a fact at a place has in it."""

    name: str
    type: str
    value: Callable[[Any, Place], Any]


NAME: Final = "LowCardinality(String)"
INSTANT: Final = "DateTime64(3, 'UTC')"
"""Written as integer ticks, which are our milliseconds."""
NOTES: Final = "Map(String, String)"


def _field(name: str, kind: str = "String", absent: Any = "") -> Column:
    """A column that holds the fact's field of that name; `absent` where a fact has none."""

    def value(fact: Any, _: Place) -> Any:
        found = getattr(fact, name, None)
        return absent if found is None else found

    return Column(name, kind, value)


def _optional(name: str, kind: str) -> Column:
    return _field(name, f"Nullable({kind})", None)


def _permission(fact: Any) -> tuple[str, str, str]:
    """(permission, cause, register) of a fact that says something about permission."""
    if isinstance(
        fact, f.PermissionGranted | f.PermissionDenied | f.PermissionRevoked | f.PermissionObserved
    ):
        return (*spoken(fact), register_of(fact))
    return "", "", ""


def _token_id(fact: Any) -> str:
    return token_id(fact.provider, fact.token) if isinstance(fact, f.TokenRegistered) else fact.token_id


def _cause(fact: Any) -> str:
    """Why an address is dead; of one that never was an address, its registration says so."""
    if isinstance(fact, f.TokenRegistered):
        return WRONG if is_void(fact.provider, fact.token) else ""
    return str(fact.cause)


def _held_out(fact: Any) -> bool:
    """Whether the journey's pushes are held out: a start says so, a decision by its check of that name."""
    if isinstance(fact, f.PushDecided):
        return any(check.name == "holdout" and not check.passed for check in fact.checks)
    return bool(getattr(fact, "holdout", False))


ENVELOPE: Final = (
    Column("fact", NAME, lambda fact, _: type(fact).__name__),
    _field("event_id"),
    _field("app", NAME),
    _field("occurred_at", INSTANT),
    Column("appended_at", INSTANT, lambda _, place: place.appended_ms),
    Column("effective_at", INSTANT, lambda fact, place: effective_time(fact, place.appended_ms)),
    _field("source", NAME),
    _optional("sequence", "Int64"),
    Column("partition", "UInt32", lambda _, place: place.partition),
    Column("offset", "Int64", lambda _, place: place.offset),
    Column("version", "Int64", lambda _, place: -place.offset),
)
"""What every table begins with. Of two rows of one fact the higher `version`, the earlier place, stays."""

SUBJECT: Final = _field("subject")

PERMISSION_FACTS: Final = (
    *ENVELOPE,
    SUBJECT,
    _field("installation"),
    _field("platform", NAME),
    _field("time_zone", NAME),
    _field("country", NAME),
    _field("prompt", NAME),
    _field("context", NAME),
    _field("answer", NAME),
    _field("copy_version", NAME),
    Column("permission", NAME, lambda fact, _: _permission(fact)[0]),
    Column("cause", NAME, lambda fact, _: _permission(fact)[1]),
    Column("register", NAME, lambda fact, _: _permission(fact)[2]),
    _field("topic", NAME),
    _optional("max_pushes", "UInt32"),
    _field("window", NAME),
    _optional("start_minute", "UInt16"),
    _optional("end_minute", "UInt16"),
    _field("reason", NAME),
    _optional("until", INSTANT),
    _field("claim"),
    _field("letter"),
    _optional("first_offset", "Int64"),
    _optional("last_offset", "Int64"),
    _field("outcome", NAME),
    _optional("counter_since", INSTANT),
)

TOKEN_FACTS: Final = (
    *ENVELOPE,
    SUBJECT,
    _field("installation"),
    _field("provider", NAME),
    Column("token_id", "String", lambda fact, _: _token_id(fact)),
    _field("reason", NAME),
    Column("cause", NAME, lambda fact, _: _cause(fact)),
    _optional("last_seen_ok", INSTANT),
    _optional("first_seen_gone", INSTANT),
)

ACTIVITY_FACTS: Final = (
    *ENVELOPE,
    SUBJECT,
    _field("installation"),
    _field("item"),
    _field("category", NAME),
    _field("change", NAME),
    _optional("quantity", "UInt32"),
    _field("order_id"),
    _field("items", "Array(String)", ()),
    _optional("amount_minor", "Int64"),
    _field("currency", NAME),
    _field("push_id"),
    _field("attributes", NOTES, {}),
    _field("name", NAME),
    _field("properties", NOTES, {}),
    _field("step", NAME),
    _field("trial"),
    _optional("ends_at", INSTANT),
    _field("outcome", NAME),
)

LINK_FACTS: Final = (
    *ENVELOPE,
    _field("installation"),
    SUBJECT,
    _optional("counter_since", INSTANT),
)

ITEM_FACTS: Final = (
    *ENVELOPE,
    _field("item"),
    _optional("price_minor", "Int64"),
    _field("currency", NAME),
    _optional("previous_minor", "Int64"),
    _optional("in_stock", "Bool"),
    _optional("quantity", "UInt32"),
)

DECISION_FACTS: Final = (
    *ENVELOPE,
    SUBJECT,
    _field("journey", NAME),
    _field("journey_version", NAME),
    _field("policy_version", NAME),
    _field("instance"),
    _field("trigger_event_id"),
    Column("holdout", "Bool", lambda fact, _: _held_out(fact)),
    _field("outcome", NAME),
    _field("decision_id"),
    _field("revision", "UInt32", 0),
    _optional("candidate_at", INSTANT),
    _field("step", NAME),
    _field("category", NAME),
    _field("topic", NAME),
    _field("verdict", NAME),
    _field("reason", NAME),
    _optional("hold_until", INSTANT),
    _optional("send_before", INSTANT),
    _field("attribution_ms", "Int64", 0),
    _field("installations", "Array(String)", ()),
    _field("items", "Array(String)", ()),
    Column("checks.name", f"Array({NAME})", lambda fact, _: [c.name for c in getattr(fact, "checks", ())]),
    Column("checks.passed", "Array(Bool)", lambda fact, _: [c.passed for c in getattr(fact, "checks", ())]),
    Column("checks.detail", "Array(String)", lambda fact, _: [c.detail for c in getattr(fact, "checks", ())]),
    _optional("permissions_next", "Int64"),
    _optional("tokens_next", "Int64"),
    _field("part", NAME),
    _field("count", "UInt32", 0),
    _field("cause"),
    _field("message", NAME),
    _field("arm", NAME),
    _optional("item_version", "Int64"),
    _optional("consent_rule_from", "Int64"),
)

DELIVERY_FACTS: Final = (
    *ENVELOPE,
    SUBJECT,
    _field("push_id"),
    _field("decision_id"),
    _field("installation"),
    _field("attempt", "UInt32", 0),
    _field("provider", NAME),
    _field("error_class", NAME),
    _field("error"),
    _field("reason", NAME),
    _field("next_installation"),
)

DEAD_LETTER_FACTS: Final = (
    *ENVELOPE,
    _field("topic", NAME),
    Column("source_partition", "UInt32", lambda fact, _: getattr(fact, "partition", 0)),
    Column("source_offset", "Int64", lambda fact, _: getattr(fact, "offset", 0)),
    Column("source_appended_at", INSTANT, lambda fact, _: max(getattr(fact, "appended_at", 0), 0)),
    _field("reason", NAME),
    _field("detail"),
    Column("value_bytes", "UInt32", lambda fact, _: len(getattr(fact, "value", None) or b"")),
    _field("letter"),
    _field("outcome", NAME),
)

TABLES: Final[dict[str, tuple[Column, ...]]] = {
    "permission_facts": PERMISSION_FACTS,
    "token_facts": TOKEN_FACTS,
    "activity_facts": ACTIVITY_FACTS,
    "link_facts": LINK_FACTS,
    "item_facts": ITEM_FACTS,
    "decision_facts": DECISION_FACTS,
    "delivery_facts": DELIVERY_FACTS,
    "dead_letter_facts": DEAD_LETTER_FACTS,
}

_TABLE_OF_TOPIC: Final = {
    "optin.permissions": "permission_facts",
    "optin.tokens": "token_facts",
    "optin.activity": "activity_facts",
    "optin.links": "link_facts",
    "optin.items": "item_facts",
    "optin.decisions": "decision_facts",
    "optin.deliveries": "delivery_facts",
    "optin.dead-letters": "dead_letter_facts",
}

NOT_MEASURED: Final = frozenset({"token", "snapshot", "title", "body", "shown", "key", "value"})
"""Fields without a column: addresses, inputs of the gate, texts, and the bytes of dead letters."""


@cache
def table_of(kind: type[f.Fact]) -> str:
    """The table that a kind of fact belongs into."""
    return _TABLE_OF_TOPIC[topic_of(kind)]


def columns_of(table: str, rows: Sequence[tuple[f.Fact, Place]]) -> list[list[Any]]:
    """The rows of one table, column by column, in the order of `TABLES`."""
    return [[column.value(fact, place) for fact, place in rows] for column in TABLES[table]]


NAMES: Final = {table: [*map(attrgetter("name"), columns)] for table, columns in TABLES.items()}
TYPES: Final = {table: [*map(attrgetter("type"), columns)] for table, columns in TABLES.items()}
"""Names and types of each table's columns, as the client wants them."""
