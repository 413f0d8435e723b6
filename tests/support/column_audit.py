"""Audits measured columns: each takes more than one value over a demo, or has a reason why it can't."""

from __future__ import annotations

from typing import Final

from connectors.clickhouse.query import ask
from connectors.clickhouse.rows import TABLES

NO_COUNTER: Final = "devices of the demo do not number their facts"
NOT_PART: Final = "the demo has no fact that fills it"
EMPTY: Final = "the demo has no fact of this table"

CONSTANT: Final[dict[str, str]] = {
    **dict.fromkeys((f"{table}.app" for table in TABLES), "the demo has one app"),
    **dict.fromkeys((f"{table}.sequence" for table in TABLES), NO_COUNTER),
    **dict.fromkeys(
        (
            f"permission_facts.{name}"
            for name in ("claim", "letter", "first_offset", "last_offset", "outcome")
        ),
        NOT_PART,
    ),
    **dict.fromkeys((f"token_facts.{name}" for name in ("last_seen_ok", "first_seen_gone")), NOT_PART),
    **dict.fromkeys(
        (
            f"activity_facts.{name}"
            for name in (
                "attributes",
                "name",
                "properties",
                "step",
                "trial",
                "ends_at",
                "outcome",
                "quantity",
            )
        ),
        NOT_PART,
    ),
    "permission_facts.counter_since": NO_COUNTER,
    "decision_facts.consent_rule_from": "all decisions of the demo go by today's rule",
    "activity_facts.source": "all activity of the demo comes from devices",
    "decision_facts.source": "processors decide",
    "delivery_facts.source": "processors deliver",
    **dict.fromkeys((f"decision_facts.{name}" for name in ("part", "count", "cause")), "no row is full"),
    **dict.fromkeys((f"decision_facts.{name}" for name in ("arm", "item_version")), NOT_PART),
    "delivery_facts.provider": "pushes of the demo go to a file",
    **dict.fromkeys(
        (f"delivery_facts.{name}" for name in ("error_class", "error", "reason", "next_installation")),
        "a file takes each push",
    ),
    **{
        f"{table}.{column.name}": EMPTY
        for table in ("link_facts", "item_facts", "dead_letter_facts")
        for column in TABLES[table]
    },
}
"""Columns that have one value, or none, in the demo, and why."""

BOTH: Final = {
    ("decision_facts", "holdout"): ("JourneyStarted", "PushDecided"),
}
"""Columns of yes and no, and the kinds of facts that must say both."""


def constant_columns(url: str) -> list[str]:
    """The columns that have one value for no known reason. Raises what ClickHouse raises."""
    found: list[str] = []
    for table, columns in TABLES.items():
        counts = ", ".join(f"uniqExact(toString(`{column.name}`))" for column in columns)
        (row,) = ask(url, f"SELECT {counts} FROM {table}").rows
        names = [f"{table}.{column.name}" for column in columns]
        found += [name for name, count in zip(names, row, strict=True) if count < 2 and name not in CONSTANT]
    for (table, column), kinds in BOTH.items():
        said = ask(url, f"SELECT fact, uniqExact({column}) FROM {table} GROUP BY fact").rows
        both = {str(kind) for kind, count in said if count == 2}
        found += [f"{table}.{column} of {kind}" for kind in kinds if kind not in both]
    return found
