"""Steps between servers and roles: the tables, and the definitions that decisions will cite."""

from __future__ import annotations

import asyncio
from pathlib import Path

from processors.definitions.archive import publish_definitions
from processors.stack import Prepare, Servers


def migrate_tables(servers: Servers) -> None:
    """Bring ClickHouse's tables and views up to date."""
    from connectors.clickhouse.migrate import migrate

    migrate(servers.clickhouse_url)


def publish(folder: Path | None) -> Prepare:
    """A step that publishes the folder's definitions (None: the shipped ones)."""

    def step(servers: Servers) -> None:
        asyncio.run(publish_definitions(servers.kafka_bootstrap, folder))

    return step
