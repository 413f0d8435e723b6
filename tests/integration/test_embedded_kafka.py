"""The embedded broker, our topics on it, and plain publishing and reading, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

import schemas
from connectors.child import Identity
from connectors.codec import decode
from connectors.errors import InvariantBroken, Misconfigured, Transient
from connectors.kafka import embedded, fast_start, jars
from connectors.kafka.embedded import EmbeddedKafka, answers_metadata
from connectors.kafka.publish import FactPublisher
from connectors.kafka.read import read_topic
from connectors.kafka.topics import apply_topics, list_topics
from connectors.placement import partition_of
from ledger.facts import ItemViewed, RecordDeadLettered
from processors.stack import Servers

SUBJECTS = 40
GONE_S = 15.0
"""How long we look for a process to end before the test fails."""


def view(number: int) -> ItemViewed:
    """A fact of one of `SUBJECTS` subjects; its number is in its id and its time."""
    return ItemViewed(
        event_id=f"view-{number}",
        app="shop",
        occurred_at=1_790_000_000_000 + number,
        source="device:simulated",
        subject=f"subject-{number % SUBJECTS}",
        item=f"item-{number % 7}",
    )


async def numbers_on(bootstrap: str, topic: str = "optin.activity") -> dict[int, list[int]]:
    """The numbers of the views on a topic, by partition, in offset order."""
    found: dict[int, list[int]] = {}
    async for records in read_topic(bootstrap, topic):
        for record in records:
            fact = decode(record.value)
            assert isinstance(fact, ItemViewed)
            found.setdefault(record.partition, []).append(fact.occurred_at - 1_790_000_000_000)
    return found


async def publish(bootstrap: str, *numbers: int) -> None:
    """Publish the views of these numbers."""
    async with FactPublisher(bootstrap) as publisher:
        await publisher.publish(view(number) for number in numbers)


def wait_until_gone(identity: Identity) -> None:
    """Wait until a process has ended."""
    deadline = time.monotonic() + GONE_S
    while identity.alive():
        assert time.monotonic() < deadline, f"process {identity.pid} still runs"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A broker with our topics on 4 partitions; stopped, killed and started again by the tests."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        asyncio.run(apply_topics(kafka.bootstrap, 4, 1))
        yield kafka


class TestOneBrokerManyLives:
    """One data folder through a clean stop and a crash."""

    def test_listens_on_the_loopback_address_only(self, kafka: EmbeddedKafka) -> None:
        """Nothing of the broker can be reached from another machine."""
        settings = (kafka.data / "server.properties").read_text()
        outward = socket.gethostbyname(socket.gethostname())
        ports = {line.rpartition(":")[2] for line in settings.splitlines() if "listeners=PLAINTEXT" in line}

        assert kafka.bootstrap.startswith("127.0.0.1:")
        if not outward.startswith("127."):
            for port in ports:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((outward, int(port)), 1)

    def test_kill_keeps_acknowledged_records_and_the_address(self, kafka: EmbeddedKafka) -> None:
        """After kill -9 the broker comes back at the same address with all that it acknowledged."""
        before = kafka.start()
        asyncio.run(publish(before, *range(500)))
        kafka.kill()

        assert kafka.pid is None
        assert before == kafka.start()
        found = asyncio.run(numbers_on(before))
        assert list(range(500)) == sorted(number for part in found.values() for number in part)

    def test_a_clean_restart_by_another_object_finds_the_records_and_the_port(
        self, kafka: EmbeddedKafka
    ) -> None:
        """The folder is all that counts: another process would find the same broker in it."""
        before = kafka.start()
        asyncio.run(publish(before, 1_000))
        kafka.stop()
        with EmbeddedKafka(kafka.data) as again:
            found = asyncio.run(numbers_on(again.bootstrap))

            assert before == again.bootstrap
            assert 1_000 in [number for part in found.values() for number in part]

    def test_a_second_owner_of_the_folder_is_refused(self, kafka: EmbeddedKafka) -> None:
        """Two brokers over one folder are refused in a sentence that names the process."""
        kafka.start()
        with pytest.raises(Misconfigured, match=f"already runs on .* as process {kafka.pid}"):
            EmbeddedKafka(kafka.data).start()

    def test_a_changed_number_of_partitions_is_refused_and_changes_nothing(
        self, kafka: EmbeddedKafka
    ) -> None:
        """The place of every subject hangs on the number, so applying another one is an error."""
        kafka.start()
        with pytest.raises(Misconfigured, match=r"has 4 partitions, not 8 \(and \d+ more topics\)"):
            asyncio.run(apply_topics(kafka.bootstrap, 8, 1))

        states = asyncio.run(list_topics(kafka.bootstrap))
        assert {topic.name for topic in schemas.topics()} == {state.name for state in states}
        assert {4} == {state.partitions for state in states if state.name != "optin.definitions"}

    def test_applying_again_creates_nothing(self, kafka: EmbeddedKafka) -> None:
        """`optin topics apply` may be run at every deployment."""
        kafka.start()
        assert asyncio.run(apply_topics(kafka.bootstrap, 4, 1)) == []


def test_a_named_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    """A port was named for a reason: another one is not taken silently."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"port {port} is taken"):
            EmbeddedKafka(tmp_path, port=port).start()


def test_a_broker_that_cannot_start_tells_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that fails ends at once, with what the broker said."""
    monkeypatch.setattr(embedded, "SETTINGS", embedded.SETTINGS + "num.io.threads=none\n")
    with pytest.raises((Transient, Misconfigured), match=r"num\.io\.threads"):
        EmbeddedKafka(tmp_path).start()


def test_the_broker_ends_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    """Kill -9 of the owner leaves no broker behind, and the next start on the folder works."""
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from connectors.kafka.embedded import EmbeddedKafka\n"
        "kafka = EmbeddedKafka(Path(sys.argv[1]))\n"
        "kafka.start()\n"
        "print(kafka.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    with owner:
        assert owner.stdout is not None
        broker = Identity.of(int(owner.stdout.readline()))
        assert broker is not None
        os.kill(owner.pid, signal.SIGKILL)
    wait_until_gone(broker)
    with EmbeddedKafka(tmp_path) as kafka:
        assert asyncio.run(answers_metadata(kafka.bootstrap))


def test_resolved_archives_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the archives are there, not even the resolver is asked."""
    jars.runtime(lambda _: None)

    def refuse(*_: object) -> str:
        raise AssertionError("asked for a download")

    monkeypatch.setattr(jars, "_fetch", refuse)
    assert "kafka_2.13" in jars.runtime(lambda _: None).classpath


def test_a_missing_archive_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of archives is trusted only as long as all of them exist."""
    monkeypatch.setenv("OPTIN_CACHE", str(tmp_path))
    (tmp_path / f"kafka-{jars.VERSION}.classpath").write_text(str(tmp_path / "gone.jar"))
    monkeypatch.setattr(jars, "_fetch", lambda cache, *_: f"{cache}/fetched.jar")

    assert jars.runtime(lambda _: None).classpath == f"{tmp_path}/fetched.jar"


def test_the_class_cache_is_used_when_it_is_there(tmp_path: Path) -> None:
    """The JVM is told of the cache of its own version only."""
    runtime = jars.Runtime(sys.executable, __file__, tmp_path)
    without = fast_start.flags(runtime, 512)
    fast_start.cache_file(runtime).touch()

    assert not any("AOTCache=" in flag for flag in without)
    assert f"-XX:AOTCache={fast_start.cache_file(runtime)}" in fast_start.flags(runtime, 512)


@pytest.fixture
def topic(stack: Servers) -> str:
    """An empty topic for one test, on the broker that all tests share."""
    name = f"test-{uuid.uuid4().hex}"

    async def create() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(name, 8, 1)])
        finally:
            await admin.close()

    asyncio.run(create())
    return name


async def send(bootstrap: str, topic: str, count: int) -> None:
    """Put `count` records on a topic, each with a key of its own."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for number in range(count):
            await producer.send(topic, b"value", key=b"key-%d" % number)
        await producer.flush()


class TestPublishing:
    """Facts through the publisher and back through the reader."""

    def test_every_fact_arrives_once_and_in_order_of_its_subject(self, fresh_stack: Servers) -> None:
        """Many batches, all partitions: nothing lost, nothing doubled, each subject in order."""
        bootstrap, count = fresh_stack.kafka_bootstrap, 20_000
        asyncio.run(publish(bootstrap, *range(count)))
        found = asyncio.run(numbers_on(bootstrap))

        assert list(range(count)) == sorted(number for part in found.values() for number in part)
        for numbers in found.values():
            for subject in range(SUBJECTS):
                of_subject = [number for number in numbers if number % SUBJECTS == subject]
                assert sorted(of_subject) == of_subject

    def test_a_fact_lies_where_other_clients_would_put_it(self, stack: Servers, topic: str) -> None:
        """Our placement is that of Java's default partitioner, which aiokafka's own producer follows."""

        async def scenario() -> list[tuple[bytes, int]]:
            async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap) as producer:
                return [
                    (key, (await producer.send_and_wait(topic, b"-", key=key)).partition)
                    for key in (f"subject-{number}".encode() for number in range(50))
                ]

        for key, partition in asyncio.run(scenario()):
            assert partition_of(key, 8) == partition

    def test_published_counts_what_is_acknowledged(self, stack: Servers) -> None:
        """The counter adds up over several calls."""

        async def scenario() -> tuple[int, int, int]:
            async with FactPublisher(stack.kafka_bootstrap) as publisher:
                first = await publisher.publish([view(1), view(2)])
                second = await publisher.publish(iter([view(3)]))
                return first, second, publisher.published

        assert asyncio.run(scenario()) == (2, 1, 3)

    def test_a_fact_without_a_subject_is_refused(self, stack: Servers) -> None:
        """A dead letter is keyed and placed like the record in it: not the publisher's job."""
        letter = RecordDeadLettered(
            event_id="letter",
            app="shop",
            occurred_at=0,
            source="processor",
            topic="optin.activity",
            partition=0,
            offset=0,
            appended_at=0,
            key=None,
            value=None,
            reason="empty",
            detail="",
        )

        async def scenario() -> None:
            async with FactPublisher(stack.kafka_bootstrap) as publisher:
                await publisher.publish([letter])

        with pytest.raises(InvariantBroken, match="RecordDeadLettered has nothing to be keyed by"):
            asyncio.run(scenario())

    def test_no_broker_is_a_transient_error(self) -> None:
        """Nobody there: it may come back, so the caller may try again."""

        async def scenario() -> None:
            async with FactPublisher("127.0.0.1:1"):
                pass

        with pytest.raises(Transient, match=r"127\.0\.0\.1:1"):
            asyncio.run(scenario())


class TestReading:
    """What the reader sees, and what it does not."""

    def test_reads_chosen_partitions_from_chosen_offsets(self, stack: Servers, topic: str) -> None:
        """A later read takes up where an earlier one ended."""
        bootstrap = stack.kafka_bootstrap

        async def offsets(
            partitions: list[int] | None = None, from_offsets: dict[int, int] | None = None
        ) -> list[tuple[int, int]]:
            return [
                (record.partition, record.offset)
                async for records in read_topic(bootstrap, topic, partitions, from_offsets)
                for record in records
            ]

        asyncio.run(send(bootstrap, topic, 400))
        whole = asyncio.run(offsets())
        partition, _ = whole[0]
        expected = [(number, offset) for number, offset in whole if number == partition and offset >= 5]

        assert len(whole) == 400
        assert asyncio.run(offsets([partition], {partition: 5})) == expected

    def test_sees_neither_aborted_records_nor_what_comes_later(self, stack: Servers, topic: str) -> None:
        """The end is the one at the first step; a transaction that aborted never was."""
        bootstrap = stack.kafka_bootstrap

        async def scenario() -> list[bytes]:
            async with AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic) as producer:
                async with producer.transaction():
                    await producer.send(topic, b"kept", partition=0)
                await producer.begin_transaction()
                await producer.send(topic, b"aborted", partition=0)
                await producer.flush()
                await producer.abort_transaction()
                seen: list[bytes] = []
                async for records in read_topic(bootstrap, topic):
                    seen += [record.value for record in records]
                    async with producer.transaction():
                        await producer.send(topic, b"later", partition=0)
                return seen

        assert asyncio.run(scenario()) == [b"kept"]

    def test_an_empty_topic_gives_nothing(self, stack: Servers, topic: str) -> None:
        """No record, no list, no wait."""

        async def scenario() -> list[object]:
            return [records async for records in read_topic(stack.kafka_bootstrap, topic)]

        assert asyncio.run(scenario()) == []

    def test_a_missing_topic_is_named(self, stack: Servers) -> None:
        """The error says which topic is missing and how to create it."""
        with pytest.raises(Misconfigured, match=r"optin\.nowhere: run `optin topics apply`"):
            asyncio.run(numbers_on(stack.kafka_bootstrap, "optin.nowhere"))

    def test_leaves_no_group_behind(self, stack: Servers) -> None:
        """Any number of readers leave no trace at the broker."""

        async def groups() -> set[str]:
            admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
            await admin.start()
            try:
                return {name for name, *_ in await admin.list_consumer_groups()}
            finally:
                await admin.close()

        async def scenario() -> tuple[set[str], set[str]]:
            before = await groups()
            async for _ in read_topic(stack.kafka_bootstrap, "optin.tokens"):
                pass
            return before, await groups()

        before, after = asyncio.run(scenario())
        assert before == after
