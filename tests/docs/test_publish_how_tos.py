"""The programs in the how-tos on publishing run as they stand there; their facts land where they belong."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from connectors.kafka.jars import cache_folder, runtime
from connectors.kafka.topics import apply_topics, delete_topics, list_topics
from connectors.placement import partition_of
from processors.stack import KAFKA_ENV
from processors.wall_clock import wall_ms
from tests.support.how_to_pages import HOW_TO, commands, files
from tests.support.plain_reader import FACTS, decode, read
from tests.support.replays import wait_until
from tests.support.stack import TestServers

KEYS: Final = json.loads((HOW_TO / "known-keys.json").read_text("utf-8"))["keys"]
OF_48: Final = {entry["key"]: entry["of_48"] for entry in KEYS}
OF_8: Final = {entry["key"]: entry["of_8"] for entry in KEYS}
RUN_S_MAX: Final = 540
VISIBLE_S_MAX: Final = 30
QUIET_NPM: Final = {
    "npm_config_prefer_offline": "true",
    "npm_config_audit": "false",
    "npm_config_fund": "false",
}
PLACES: Final = """
import java.nio.charset.StandardCharsets;
import org.apache.kafka.common.utils.Utils;

public class Places {
  public static void main(String[] counts) throws Exception {
    for (String key : new String(System.in.readAllBytes(), StandardCharsets.UTF_8).split("\\n")) {
      int hash = Utils.toPositive(Utils.murmur2(key.getBytes(StandardCharsets.UTF_8)));
      System.out.println(hash % 8 + " " + hash % 48);
    }
  }
}
"""
"""Java's own client, asked directly: `BuiltInPartitioner` places a key by exactly this expression."""


@dataclass(frozen=True, slots=True)
class Program:
    """One program of a page: its name among the page's files, the number of its block of commands."""

    page: str
    client: str
    block: int = 0
    tools: tuple[str, ...] = ()
    fetches: bool = True
    """Whether its toolchain downloads the libraries when it is built for the first time."""


PROGRAMS: Final = [
    Program("publish-python.md", "aiokafka", 0, fetches=False),
    Program("publish-python.md", "confluent-kafka", 1, fetches=False),
    Program("publish-java.md", "kafka-clients", tools=("javac", "mvn")),
    Program("publish-go.md", "franz-go", tools=("go",)),
    Program("publish-node.md", "platformatic-kafka", tools=("node", "npm")),
]


@pytest.fixture(scope="module")
def wide_kafka(servers: TestServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker whose permissions have 48 partitions: of 8, a client may find the right one by luck."""
    with servers.fresh(tmp_path_factory.mktemp("wide")) as fresh:
        bootstrap = fresh.kafka_bootstrap
        asyncio.run(_widen(bootstrap))
        assert wait_until(lambda: wide(bootstrap), VISIBLE_S_MAX)
        yield bootstrap
        asyncio.run(delete_topics(bootstrap))
        asyncio.run(apply_topics(bootstrap, int(os.environ.get("OPTIN_PARTITIONS", "8")), 1))


def wide(bootstrap: str) -> bool:
    """Whether the broker shows the 48 partitions."""
    found = asyncio.run(list_topics(bootstrap))
    return ("optin.permissions", 48) in [(topic.name, topic.partitions) for topic in found]


async def _widen(bootstrap: str) -> None:
    await delete_topics(bootstrap)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic("optin.permissions", 48, 1)])
    finally:
        await admin.close()


def run(command: str, folder: Path, bootstrap: str) -> None:
    """Run a page's commands in `folder`; what Python's take is installed from our locks already."""
    command = re.sub(r"(?m)^pip install .*$", "", command)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-eu", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path, KAFKA_ENV: bootstrap, **QUIET_NPM},
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]


def refuse_missing_tools(program: Program) -> Path:
    """Skip where a toolchain is missing or would have to fetch everything first; gives a build's mark."""
    missing = [tool for tool in program.tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    built = cache_folder() / "how-to" / f"{program.client}.built"
    if program.fetches and not built.exists() and os.environ.get("OPTIN_TEST_LONG") != "1":
        pytest.skip(
            f"the libraries of {program.client} are not fetched yet, which may take minutes: run once with"
            " OPTIN_TEST_LONG=1"
        )
    return built


@pytest.mark.timeout(600)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.client)
def test_a_program_puts_every_fact_where_its_subject_belongs(
    program: Program, wide_kafka: str, tmp_path: Path
) -> None:
    """Byte for byte the fact that the page means, on the partition that Java's client chooses."""
    built = refuse_missing_tools(program)
    for name, content in files(program.page).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, "utf-8")
    shutil.copy(FACTS / "PermissionRevoked" / "v1.avsc", tmp_path / "PermissionRevoked.avsc")
    (tmp_path / "subjects.txt").write_text("".join(f"{key}\n" for key in OF_48), "utf-8")
    before = {(r.partition, r.offset) for r in asyncio.run(read(wide_kafka, "optin.permissions"))}
    started = wall_ms()

    run(commands(program.page)[program.block], tmp_path, wide_kafka)

    records = [
        record
        for record in asyncio.run(read(wide_kafka, "optin.permissions"))
        if (record.partition, record.offset) not in before
    ]
    assert {record.key.decode(): record.partition for record in records} == OF_48
    assert len(records) == len(OF_48)
    ids = set()
    for record in records:
        name, fields = decode(record.value) or ("", {})
        assert name == "PermissionRevoked"
        assert started <= fields.pop("occurred_at") <= wall_ms()
        ids.add(fields.pop("event_id"))
        assert fields == {
            "app": "shop",
            "source": "server:support-desk",
            "sequence": None,
            "subject": record.key.decode(),
            "installation": "phone-1",
            "cause": "support",
        }
    assert len(ids) == len(OF_48)
    built.parent.mkdir(parents=True, exist_ok=True)
    built.touch()


def test_the_table_of_keys_is_what_we_compute() -> None:
    """Keys of every length modulo 4, with and without bytes above 127, whose hash is and is not negative."""
    for key, partition in OF_48.items():
        assert partition_of(key.encode(), 48) == partition
        assert partition_of(key.encode(), 8) == OF_8[key]
    assert {len(key.encode()) % 4 for key in OF_48} == {0, 1, 2, 3}
    assert any(not key.isascii() for key in OF_48)


def test_the_table_of_keys_is_what_javas_client_computes(tmp_path: Path) -> None:
    """Not by our own reckoning, but by the class that Java's producer calls."""
    if shutil.which("javac") is None:
        pytest.skip("javac is not installed")
    classpath = runtime(print).classpath
    (tmp_path / "Places.java").write_text(PLACES, "utf-8")
    done = subprocess.run(
        ["java", "-cp", classpath, "Places.java"],
        cwd=tmp_path,
        input="\n".join(OF_48).encode(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()

    assert done.stdout.decode().split("\n")[:-1] == [f"{OF_8[key]} {OF_48[key]}" for key in OF_48]


def test_a_client_that_is_right_for_8_only_would_be_seen() -> None:
    """The unsigned hash modulo 8 is Java's place; modulo 48 it is not, for some keys of the table."""
    from aiokafka.partitioner import murmur2

    def unsigned(key: str, partitions: int) -> int:
        return int((murmur2(key.encode()) & 0xFFFFFFFF) % partitions)

    assert {key: unsigned(key, 8) for key in OF_8} == OF_8
    assert {key: unsigned(key, 48) for key in OF_48} != OF_48


def test_every_page_is_listed_and_run() -> None:
    """A new page is linked from the overview and run by the test above."""
    pages = {page.name for page in HOW_TO.glob("publish-*.md")} - {"publish-facts.md"}
    overview = (HOW_TO / "publish-facts.md").read_text("utf-8")

    assert {program.page for program in PROGRAMS} == pages
    assert all(f"]({page})" in overview for page in pages)
