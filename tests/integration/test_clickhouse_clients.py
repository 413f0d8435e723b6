"""Clients of other languages read every view of the embedded ClickHouse as analysts, by their defaults."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import chdb
import clickhouse_connect
import pytest

from connectors.clickhouse import native_blocks, native_frames
from connectors.clickhouse.accounts import stored_accounts
from connectors.clickhouse.embedded import EmbeddedClickHouse
from connectors.clickhouse.http_bodies import BrokenBody
from connectors.clickhouse.migrate import migrate

CLIENTS: Final = Path(__file__).parents[1] / "support" / "clickhouse_clients"
RUN_S_MAX: Final = 540
TOOLS: Final = {"go": ("go",), "java": ("javac", "mvn"), "node": ("node", "npm")}
COMMANDS: Final = {
    "go": "go mod tidy && go run .",
    "java": (
        "mvn -q -B dependency:copy-dependencies -DoutputDirectory=libs && javac -cp 'libs/*' Clients.java"
        " && java -cp 'libs/*:.' Clients"
    ),
    "node": "npm install --no-audit --no-fund --silent && node main.js",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    """A server with our tables and views."""
    with EmbeddedClickHouse(tmp_path_factory.mktemp("clients")) as server:
        migrate(server.url)
        yield server


def views(server: EmbeddedClickHouse) -> list[str]:
    """The names of all views."""
    client = clickhouse_connect.get_client(dsn=server.url)
    found = client.query(
        "SELECT name FROM system.tables WHERE database = 'optin' AND engine = 'View' ORDER BY 1"
    )
    return [name for (name,) in found.result_rows]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", COMMANDS)
def test_a_client_reads_every_view(language: str, served: EmbeddedClickHouse, tmp_path: Path) -> None:
    """As the account `analyst`, with and without compression."""
    missing = [tool for tool in TOOLS[language] if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    if os.environ.get("OPTIN_TEST_LONG") != "1":
        pytest.skip("it fetches its libraries, which may take minutes: OPTIN_TEST_LONG=1")
    folder = shutil.copytree(CLIENTS / language, tmp_path / language)
    named = views(served)
    done = subprocess.run(
        ["sh", "-eu", "-c", COMMANDS[language]],
        cwd=folder,
        env={
            **os.environ,
            "CLICKHOUSE_ADDRESS": urlsplit(served.address).netloc,
            "CLICKHOUSE_PASSWORD": stored_accounts(served.data)["analyst"].password,
        },
        input="".join(f"SELECT * FROM {name}\n" for name in named),
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    assert len(named) >= 10
    assert done.stdout.count("OK ") >= len(named)


def test_python_reads_every_view(served: EmbeddedClickHouse) -> None:
    """clickhouse-connect, which asks for a revision of the protocol when it is honoured."""
    client = clickhouse_connect.get_client(dsn=served.url_of("analyst"))

    assert client.protocol_version == 54_405
    for name in views(served):
        client.query(f"SELECT * FROM {name}")
    rows = client.query(
        "SELECT number, toString(number), [number], map('k', number) FROM numbers(70000)"
    ).result_rows
    assert rows[69_999] == (69_999, "69999", [69_999], {"k": 69_999})


COLUMNS: Final = (
    *("number", "toString(number)", "[number]", "map('k', [number])", "toLowCardinality('x')", "NULL"),
    *("toDecimal64(1.5, 2)", "(1, 'a')::Tuple(x UInt8, `y z` String)", "toIntervalDay(1)", "now64(3)"),
    *("CAST('a', 'Enum8(\\'a\\' = 1, \\'b, (\\' = 2)')", "[[1, 2], []]", "toNullable(toString(number))"),
    *("toFixedString('ab', 2)", "[('a', 1)]", "toLowCardinality(toNullable(toString(number % 300)))"),
    *("[toLowCardinality('a'), 'b']", "toDate('2026-01-01')", "repeat('x', 200)", "toIPv6('::1')", "1.5"),
    *("1 = 1", "generateUUIDv4()"),
)


def test_every_block_and_column_is_found() -> None:
    """So many bytes are added as there are blocks and columns, each where one begins."""
    query = f"SELECT {', '.join(COLUMNS)} FROM numbers(70000)"
    native = bytes(chdb.query(query, "Native").bytes())  # type: ignore[no-untyped-call]
    plain = native_blocks.with_revision(native, 54_405)
    custom = native_blocks.with_revision(native, 54_483)
    blocks = plain.count(native_blocks.BLOCK_INFO)

    assert plain.replace(native_blocks.BLOCK_INFO, b"") == native
    assert len(custom) - len(plain) == blocks * len(COLUMNS) >= 2 * len(COLUMNS)
    assert native_blocks.with_revision(native, 0) is native
    for broken in (native[:-1], native[:10], b"\xff"):
        with pytest.raises((ValueError, IndexError, struct.error)):
            native_blocks.with_revision(broken, 54_483)


def test_frames_are_read_back_and_broken_ones_refused() -> None:
    """Whatever their pieces; by the checksum, the sizes and the end."""
    data = bytes(range(256)) * 9_000
    frames = native_frames.framed(data)

    assert b"".join(native_frames.unframed(iter([frames[:5], frames[5:]]))) == data
    assert list(native_frames.unframed(iter([]))) == []
    flipped = bytearray(frames)
    flipped[100] ^= 1
    huge = frames[:17] + struct.pack("<II", 2**31, 2**31) + frames[25:]
    for broken in (frames[:-1], bytes(flipped), huge, frames[:20]):
        with pytest.raises(BrokenBody):
            list(native_frames.unframed(iter([broken])))
