"""Whether ClickHouse holds exactly the facts that are on the topics, each once."""

from __future__ import annotations

import asyncio
from typing import Final

from connectors.clickhouse.query import ask
from processors.stack import Servers
from tests.support.plain_reader import decode, read

TABLES: Final = {
    "permission_facts": "optin.permissions",
    "token_facts": "optin.tokens",
    "activity_facts": "optin.activity",
    "decision_facts": "optin.decisions",
    "delivery_facts": "optin.deliveries",
    "dead_letter_facts": "optin.dead-letters",
}


def unmeasured(servers: Servers) -> list[str]:
    """What ClickHouse lacks, has too much, or has twice; as sentences."""
    found = []
    for table, topic in TABLES.items():
        records = asyncio.run(read(servers.kafka_bootstrap, topic))
        written = {fact[1]["event_id"] for fact in map(decode, (r.value for r in records)) if fact}
        rows = [row[0] for row in ask(servers.clickhouse_url, f"SELECT event_id FROM {table} FINAL").rows]
        found += [f"{event} of {topic} is not in {table}" for event in written - set(rows)]
        found += [f"{event} of {table} is not on {topic}" for event in set(rows) - written]
        if len(rows) != len(set(rows)):
            found.append(f"{table} holds {len(rows) - len(set(rows))} facts twice")
    return found
