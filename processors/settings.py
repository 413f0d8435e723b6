"""All settings of a process, in one table: environment variables with the prefix `OPTIN_`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from connectors.errors import Misconfigured

PORT_MAX: Final = 65_535

OTHER_SETTINGS: Final = {
    "OPTIN_CACHE": ("~/.cache/optin", "where Kafka's archives are kept, for the embedded stack"),
    "OPTIN_CLICKHOUSE_USERS": (
        "",
        "embedded ClickHouse: JSON of names and passwords, or a file (0600) of it; unset: generated ones",
    ),
    "OPTIN_CLICKHOUSE_READERS": (
        "",
        "embedded ClickHouse: which of these names may only read, comma-separated",
    ),
}
"""What is read outside `Settings`, by the embedded parts before any worker exists: default, meaning."""

ENDS_FILE: Final = "ends.json"
"""Where the inputs of a run by the event clock end, in its data folder."""

PREFIX: Final = "OPTIN_"
FOR_TESTS: Final = "OPTIN_TEST_"
"""Names with this prefix belong to the tests."""
SERVICE_LINK: Final = re.compile(
    r"OPTIN_\w*(_SERVICE_HOST|_SERVICE_PORT(_\w+)?|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)"
)
"""What Kubernetes puts into each pod of a namespace that has a Service named `optin-...`."""


class Settings(BaseSettings):
    """What a worker needs to know. Times carry their unit in the name."""

    model_config = SettingsConfigDict(env_prefix="OPTIN_", frozen=True, extra="ignore")

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="Kafka brokers, host:port, comma-separated")
    clickhouse_url: SecretStr = Field(
        SecretStr("http://default@127.0.0.1:8123/optin"), description="ClickHouse over HTTP, with user"
    )
    schema_registry_url: SecretStr | None = Field(
        None,
        description="schema registry with Confluent's HTTP API, with user; unset: its framing is refused",
    )
    partitions: int = Field(8, ge=1, le=1_000, description="partitions of topics when they are created")
    replication: int = Field(1, ge=1, le=9, description="copies of each partition when topics are created")
    data: Path = Field(Path(".optin-data/live"), description="folder of everything kept on this machine")
    definitions: Path | None = Field(
        None, description="folder of definitions until some are published; shipped ones if unset"
    )
    clock: Literal["wall", "event"] = Field("wall", description="wall in production, event for replays")
    instance: str | None = Field(None, description="stable name of this worker (static membership)")
    session_timeout_s: float = Field(10.0, ge=3, description="a silent worker's partitions move after this")
    transaction_timeout_s: float = Field(15.0, ge=5, description="longest open transaction at the broker")
    chunk_records: int = Field(1_000, ge=1, le=10_000, description="records of one chunk")
    window_chunks: int = Field(4, ge=1, le=64, description="unfinished chunks of one input partition")
    group_chunks: int = Field(4, ge=1, le=64, description="chunks that share a transaction under load")
    merge_records: int = Field(2_000, ge=1, description="records and dues of one event-clock transaction")
    failed_share_max: float = Field(0.05, ge=0, le=1, description="more failed steps than this stop a role")
    bad_share_max: float = Field(0.5, ge=0, le=1, description="more refused records than this stop journeys")
    push_credentials: Path | None = Field(
        None,
        description="file of the providers' credentials; unset: pushes to addresses of the provider `console`"
        " go to a file on this machine, all others wait",
    )
    retry_s: float = Field(
        10.0, gt=0, le=900, description="first wait until a push that no provider took is tried again"
    )
    probe_per_s: float = Field(
        0.0,
        ge=0,
        le=1_000,
        description="silent pushes a second that look for apps that went, by each app and provider; 0: none",
    )
    lease_s: float = Field(
        10.0,
        gt=0,
        description="longest time from the read barrier to the provider; a push has at least so much left",
    )
    clock_skew_s: float = Field(2.0, ge=0, description="how far clocks of two workers may differ")
    barrier_timeout_s: float = Field(10.0, gt=0, description="longest wait for consent to be folded")
    stalled_s_max: float = Field(60.0, gt=5, description="lag without progress ends the process after this")
    metrics_rows_max: int = Field(50_000, ge=1, description="rows of one ClickHouse insert")
    metrics_wait_s: float = Field(1.0, gt=0, description="longest time a fact waits for its insert")
    metrics_from_beginning: bool = Field(False, description="read everything again from offset 0")
    metrics_port: int = Field(
        0, ge=0, le=PORT_MAX, description="port of /metrics, /healthz and /readyz; nothing is measured with 0"
    )
    metrics_host: str = Field("127.0.0.1", description="address it listens on; 0.0.0.0 for all")

    @field_validator("kafka_bootstrap")
    @classmethod
    def _hosts_and_ports(cls, value: str) -> str:
        for broker in value.split(","):
            host, _, port = broker.strip().rpartition(":")
            if not host or not (port.isdecimal() and 0 < int(port) <= PORT_MAX):
                raise ValueError(f"{broker.strip()!r} is not host:port")
        return value

    @field_validator("schema_registry_url", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @property
    def ends_file(self) -> Path:
        """Where the ends of bounded inputs are recorded (event clock)."""
        return self.data / ENDS_FILE

    @property
    def pushes_file(self) -> Path:
        """Where the console sender writes."""
        return self.data / "pushes.jsonl"


def known_names() -> frozenset[str]:
    """All environment variables that mean something here, but for those of the tests."""
    return frozenset({PREFIX + name.upper() for name in Settings.model_fields} | OTHER_SETTINGS.keys())


def refuse_unknown_names(environment: Mapping[str, str]) -> None:
    """Raise `Misconfigured` for an `OPTIN_...` variable that is no setting; it names the nearest one.

    A misspelt name would leave a setting at its default in silence: pushes would go to a file.
    """
    known = known_names()
    unknown = sorted(
        name
        for name, value in environment.items()
        if name.startswith(PREFIX)
        and name not in known
        and not name.startswith(FOR_TESTS)
        and not SERVICE_LINK.fullmatch(name)
        and not (name.endswith("_PORT") and value.startswith(("tcp://", "udp://", "sctp://")))
    )
    if not unknown:
        return
    first = unknown[0]
    near = difflib.get_close_matches(first, known, n=1, cutoff=0.75)
    meant = f"did you mean {near[0]}?" if near else "it has no effect: unset it."
    others = f" (also unknown: {', '.join(unknown[1:])})" if unknown[1:] else ""
    raise Misconfigured(
        f"{first} is no setting: {meant} docs/reference/settings.md lists all of them{others}"
    )


def read_settings() -> Settings:
    """Read the environment. Raises `Misconfigured`, which names the variable."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "OPTIN_" + "_".join(str(part) for part in first["loc"]).upper()
        raise Misconfigured(f"{name}: {first['msg']}") from error
