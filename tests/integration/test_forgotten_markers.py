"""The lane's writer on a real broker that has left out markers: transactions hang, and a claim settles them.

A broker that forgets markers does so by luck. Here the coordinator is never asked to write some: the producer
takes the partition for registered, and the broker does not check it. What is left is the same.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from connectors.kafka.embedded import EmbeddedKafka
from processors.lane import markers
from processors.lane.changelog import read_back
from processors.lane.markers import Unmarked, Unsettled
from processors.lane.position import POSITION_KEY
from processors.lane.writer import TransactionalWriter

LOG: Final = "log"
OUT: Final = "out"
TIMEOUT_S: Final = 60.0


def free_port() -> int:
    """A port of the loopback that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A broker that takes records of transactions on partitions that no coordinator knows of."""
    kafka = EmbeddedKafka(
        tmp_path_factory.mktemp("kafka"),
        port=free_port(),
        controller_port=free_port(),
        more_settings={"transaction.partition.verification.enable": "false"},
    )
    try:
        yield kafka.start()
    finally:
        kafka.stop()


class Lane:
    """One partition number of a changelog and an output, in topics of its own, and its owners."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.bootstrap = bootstrap
        self.log, self.out = f"{LOG}-{name}", f"{OUT}-{name}"
        self.name = name

    async def create(self) -> None:
        """Create the topics."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(topic, 1, 1) for topic in (self.log, self.out)])
        finally:
            await admin.close()

    async def owner(self) -> TransactionalWriter:
        """Claim, without settling anything."""
        writer = TransactionalWriter(self.bootstrap, self.name, TIMEOUT_S, (self.out,))
        await writer.claim(0)
        return writer

    def writes(self, number: int) -> dict[str, list[tuple[bytes | None, bytes | None]]]:
        """State and an output that belong together."""
        value = b"%d" % number
        return {self.out: [(b"key", value)], self.log: [(b"row", value), (POSITION_KEY, value)]}

    async def seen(self) -> tuple[list[bytes], list[bytes]]:
        """The numbers on changelog and output, as read_committed readers see them."""
        found: dict[str, list[bytes]] = {self.log: [], self.out: []}
        for topic, values in found.items():
            await read_back(
                self.bootstrap,
                topic,
                [0],
                lambda _, records, values=values: values.extend(  # type: ignore[misc]
                    record.value for record in records if record.key != POSITION_KEY
                ),
            )
        return found[self.log], found[self.out]


def forget(writer: TransactionalWriter, *topics: str) -> None:
    """Have the coordinator never hear of these topics' part of the transactions."""
    manager: Any = writer._producers[0]._txn_manager
    honest = manager.maybe_add_partition_to_txn

    def add(tp: TopicPartition) -> None:
        if tp.topic in topics:
            manager._txn_partitions.add(tp)
        else:
            honest(tp)

    manager.maybe_add_partition_to_txn = add


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markers, "MARKED_S_MAX", 0.3)


def run(bootstrap: str, name: str, course: Callable[[Lane], Awaitable[None]]) -> None:
    """Run a course on fresh topics."""

    async def whole() -> None:
        lane = Lane(bootstrap, name)
        await lane.create()
        await course(lane)

    asyncio.run(whole())


@pytest.mark.parametrize("forgotten", [(LOG,), (OUT,), (LOG, OUT)])
def test_an_acknowledged_commit_without_markers_is_completed(
    bootstrap: str, forgotten: tuple[str, ...]
) -> None:
    """Its owner notices and writes nothing more; the next one commits the rest, and both topics agree."""
    name = "commit-" + "-".join(forgotten)

    async def course(lane: Lane) -> None:
        first = await lane.owner()
        await first.transact(0, lane.writes(1))
        forget(first, *(f"{topic}-{name}" for topic in forgotten))
        with pytest.raises(Unmarked, match="has not marked it on"):
            await first.transact(0, lane.writes(2))
        await first.release(0)
        second = await lane.owner()
        settled = await second.settle(0, lane.log)
        assert settled == {(f"{topic}-{name}", 0): True for topic in forgotten}
        assert await lane.seen() == ([b"1", b"2"], [b"1", b"2"])
        await second.transact(0, lane.writes(3))
        assert await lane.seen() == ([b"1", b"2", b"3"], [b"1", b"2", b"3"])
        assert await second.settle(0, lane.log) == {}
        await second.release(0)

    run(bootstrap, name, course)


@pytest.mark.parametrize("forgotten", [LOG, OUT])
def test_an_abort_without_markers_is_completed(bootstrap: str, forgotten: str) -> None:
    """What an owner never asked to commit is aborted everywhere, where the claim left it out as well."""
    name = f"abort-{forgotten}"

    async def course(lane: Lane) -> None:
        first = await lane.owner()
        await first.transact(0, lane.writes(1))
        forget(first, f"{forgotten}-{name}")

        async def die() -> None:
            raise InterruptedError

        first._producers[0].commit_transaction = die
        with pytest.raises(InterruptedError):
            await first.transact(0, lane.writes(2))
        second = await lane.owner()
        await first.release(0)
        assert await second.settle(0, lane.log) == {(f"{forgotten}-{name}", 0): False}
        assert await lane.seen() == ([b"1"], [b"1"])
        await second.transact(0, lane.writes(3))
        assert await lane.seen() == ([b"1", b"3"], [b"1", b"3"])
        await second.release(0)

    run(bootstrap, name, course)


def test_a_transaction_that_nobody_stamped_is_left_alone(bootstrap: str) -> None:
    """One of an older version: the claim is refused, names the place, and nothing is written."""

    async def course(lane: Lane) -> None:
        old = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{lane.name}-0")
        await old.start()
        await old.begin_transaction()
        old._txn_manager._txn_partitions.add(TopicPartition(lane.log, 0))
        await old.send_and_wait(lane.log, b"1", POSITION_KEY, partition=0)
        await old.send_and_wait(lane.out, b"1", b"key", partition=0)
        await old.commit_transaction()
        await old.stop()
        second = await lane.owner()
        for _ in range(2):
            with pytest.raises(Unsettled, match=f"older version.*{lane.log}/0 from offset 0"):
                await second.settle(0, lane.log)
        assert await lane.seen() == ([], [b"1"])
        await second.release(0)

    run(bootstrap, "unstamped", course)
