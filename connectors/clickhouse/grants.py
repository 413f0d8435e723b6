"""What each role may do inside the engine: its users file, with grants, bounds and constraints.

The embedded engine knows one user, `default`. That user has no grant of its own but three roles, and a
session takes one of them before it runs anything of a client. No role has a source: neither files nor URLs,
other servers or programs can be read or written by SQL. What grants do not reach is refused by `admission`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from connectors.clickhouse.accounts import OWN, Role

ENGINES: Final = ("MergeTree", "ReplacingMergeTree", "AggregatingMergeTree", "SummingMergeTree", "Memory")
GIB: Final = 1 << 30

GRANTS: Final[Mapping[Role, tuple[str, ...]]] = {
    "analyst": ("SELECT, SHOW ON optin.*",),
    "metrics": ("SELECT, SHOW, INSERT ON optin.*",),
    "admin": (
        "SELECT, SHOW, INSERT, ALTER, DROP, TRUNCATE, OPTIMIZE ON optin.*",
        "CREATE DATABASE, CREATE TABLE, CREATE VIEW ON optin.*",
        "CREATE TEMPORARY TABLE ON *.*",
        *(f"TABLE ENGINE ON {engine}" for engine in ENGINES),
    ),
}
"""No role sees the database `default`: the embedded engine has the files of the machine in it."""
BOUNDS: Final[Mapping[str, tuple[int, int]]] = {
    "max_memory_usage": (2 * GIB, 4 * GIB),
    "max_execution_time": (60, 300),
    "max_threads": (4, 16),
    "max_result_rows": (10_000_000, 50_000_000),
    "max_result_bytes": (GIB, 2 * GIB),
    "max_temporary_data_on_disk_size_for_query": (4 * GIB, 16 * GIB),
}
"""Of one statement: what holds for `analyst` unless it asks, and what nobody gets beyond."""


def bounds_of(role: Role) -> dict[str, int]:
    """The settings that a session of the role begins with."""
    return {name: usual if role == "analyst" else most for name, (usual, most) in BOUNDS.items()}


def write_configuration(folder: Path) -> Path:
    """Write the engine's configuration and users file into `folder`; returns the path of the first."""
    users, config = folder / "users.xml", folder / "config.xml"
    profile = "".join(f"<{name}>{most}</{name}>" for name, (_, most) in BOUNDS.items())
    limits = "".join(f"<{name}><min>1</min><max>{most}</max></{name}>" for name, (_, most) in BOUNDS.items())
    roles = "".join(f"<{role}><grants>{_queries(GRANTS[role])}</grants></{role}>" for role in OWN)
    users.write_text(
        f"<clickhouse><profiles><default>{profile}<constraints>{limits}</constraints></default></profiles>"
        f"<quotas><default/></quotas><roles>{roles}</roles><users><default><password></password>"
        "<profile>default</profile><quota>default</quota><networks><ip>::1</ip><ip>127.0.0.1</ip></networks>"
        f"<grants>{_queries(OWN)}</grants></default></users></clickhouse>"
    )
    config.write_text(
        f"<clickhouse><user_directories><users_xml><path>{escape(str(users))}</path></users_xml>"
        "</user_directories></clickhouse>"
    )
    return config


def _queries(grants: tuple[str, ...]) -> str:
    return "".join(f"<query>GRANT {grant}</query>" for grant in grants)
