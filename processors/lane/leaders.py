"""Asks the leaders of Kafka partitions about their producers, and has them write transaction markers.

aiokafka has neither request. Both go over a producer's own connections, at versions that every broker since
2.8 knows: DescribeProducers (KIP-664, reading a topic suffices) and WriteTxnMarkers, which a broker with
authorization takes from whoever may alter the cluster (since 3.8) or acts for it.
"""

# aiokafka's protocol classes have no types.
# mypy: disable-error-code="misc"

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

from processors.lane.changelog import read_back
from processors.lane.markers import Fenced, Headers, Place, Producing, Unsettled
from processors.lane.position import POSITION_KEY

RETRY_S: Final = 0.05
READ_S_MAX: Final = 30.0

_PARTITIONS: Final = CompactArray(
    ("name", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
)


class _DescribeProducersResponse(Response):
    API_KEY = 61
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("error_message", CompactString("utf-8")),
                        (
                            "producers",
                            CompactArray(
                                ("producer_id", Int64),
                                ("producer_epoch", Int32),
                                ("last_sequence", Int32),
                                ("last_timestamp", Int64),
                                ("coordinator_epoch", Int32),
                                ("current_txn_start_offset", Int64),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeProducersStruct(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 61
    API_VERSION = 0
    RESPONSE_TYPE = _DescribeProducersResponse
    SCHEMA = Schema(("topics", _PARTITIONS), ("tags", TaggedFields))


class DescribeProducers(Request[_DescribeProducersStruct]):
    """Ask a leader for the producers of some of its partitions."""

    API_KEY = 61

    def __init__(self, places: Iterable[Place]) -> None:
        self._places = list(places)

    def build(self, request_struct_class: type[_DescribeProducersStruct]) -> _DescribeProducersStruct:
        """See `Request.build`."""
        return request_struct_class([(topic, [number], {}) for topic, number in self._places], {})


class _WriteMarkersResponse(Response):
    API_KEY = 27
    API_VERSION = 1
    SCHEMA = Schema(
        (
            "markers",
            CompactArray(
                ("producer_id", Int64),
                (
                    "topics",
                    CompactArray(
                        ("name", CompactString("utf-8")),
                        (
                            "partitions",
                            CompactArray(("partition", Int32), ("error_code", Int16), ("tags", TaggedFields)),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _WriteMarkersStruct(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 27
    API_VERSION = 1
    RESPONSE_TYPE = _WriteMarkersResponse
    SCHEMA = Schema(
        (
            "markers",
            CompactArray(
                ("producer_id", Int64),
                ("producer_epoch", Int16),
                ("committed", Boolean),
                ("topics", _PARTITIONS),
                ("coordinator_epoch", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class WriteMarkers(Request[_WriteMarkersStruct]):
    """Have a leader end what a producer has open on one of its partitions."""

    API_KEY = 27

    def __init__(self, place: Place, producing: Producing, epoch: int, *, committed: bool) -> None:
        topics: list[Any] = [(place[0], [place[1]], {})]
        coordinator_epoch = max(0, producing.coordinator_epoch)
        self._marker: tuple[Any, ...] = (producing.producer, epoch, committed, topics, coordinator_epoch, {})

    def build(self, request_struct_class: type[_WriteMarkersStruct]) -> _WriteMarkersStruct:
        """See `Request.build`."""
        return request_struct_class([self._marker], {})


class KafkaLeaders:
    """`markers.Leaders` and `markers.Changelogs` over a producer's connections."""

    def __init__(self, producer: AIOKafkaProducer, bootstrap: str) -> None:
        self._client = producer.client
        self._bootstrap = bootstrap

    def now_ms(self) -> int:
        """See `markers.Leaders.now_ms`."""
        return int(time.time() * 1000)

    async def describe(self, places: Iterable[Place]) -> Mapping[Place, list[Producing]]:
        """See `markers.Leaders.describe`."""
        found: dict[Place, list[Producing]] = {}
        left = list(places)
        while left:
            by_leader: defaultdict[int, list[Place]] = defaultdict(list)
            for place in left:
                by_leader[await self._leader(place)].append(place)
            answers = await asyncio.gather(
                *(self._ask(node, DescribeProducers(some)) for node, some in by_leader.items())
            )
            for answer in answers:
                for topic, partitions, _ in answer.topics if answer is not None else ():
                    for number, error, _, producers, _ in partitions:
                        if not _failed(error, (topic, number), "list the producers of"):
                            found[topic, number] = [
                                Producing(producer, epoch, last, opened, coordinator, at_ms)
                                for producer, epoch, last, at_ms, coordinator, opened, _ in producers
                            ]
            left = [place for place in left if place not in found]
            if left:
                await self._again()
        return found

    async def mark(self, place: Place, producing: Producing, epoch: int, *, committed: bool) -> None:
        """See `markers.Leaders.mark`."""
        request = WriteMarkers(place, producing, epoch, committed=committed)
        while True:
            answer = await self._ask(await self._leader(place), request)
            if answer is not None:
                ((_, ((_, ((_, error, _),), _),), _),) = answer.markers
                if not _failed(error, place, "write transaction markers to"):
                    return
            await self._again()

    async def last_open(self, place: Place, open_at: int) -> Headers | None:
        """See `markers.Changelogs.last_open`."""
        reader = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, group_id=None, enable_auto_commit=False, check_crcs=False
        )
        await reader.start()
        try:
            tp = TopicPartition(*place)
            reader.assign([tp])
            end = (await reader.end_offsets([tp]))[tp]
            reader.seek(tp, open_at)
            last = _Last()
            async with asyncio.timeout(READ_S_MAX):
                while await reader.position(tp) < end:
                    for records in (await reader.getmany(tp, timeout_ms=500)).values():
                        last.take(place[1], records)
        finally:
            await reader.stop()
        return last.headers

    async def last_committed(self, place: Place) -> Headers | None:
        """See `markers.Changelogs.last_committed`."""
        last = _Last()
        await read_back(self._bootstrap, place[0], [place[1]], last.take)
        return last.headers

    async def _leader(self, place: Place) -> int:
        tp = TopicPartition(*place)
        while True:
            leader = self._client.cluster.leader_for_partition(tp)
            if leader is not None and leader >= 0:
                return int(leader)
            await self._client._wait_on_metadata(place[0])
            if self._client.cluster.leader_for_partition(tp) is None:
                await self._again()

    async def _ask(self, node: int, request: Request[Any]) -> Any:
        """One round trip; None when the node does not answer."""
        try:
            return await self._client.send(node, request)
        except kafka.IncompatibleBrokerVersion as error:
            name = type(request).__name__
            raise Unsettled(f"the broker does not take {name}: Kafka 2.8 or later does") from error
        except kafka.KafkaError:
            return None

    async def _again(self) -> None:
        await asyncio.sleep(RETRY_S)
        await self._client.force_metadata_update()


class _Last:
    """The last position record that was read."""

    def __init__(self) -> None:
        self.headers: Headers | None = None

    def take(self, _: int, records: Iterable[Any]) -> None:
        """Look through records in offset order."""
        for record in records:
            if record.key == POSITION_KEY:
                self.headers = record.headers


_FENCED: Final[tuple[Callable[..., Any], ...]] = (kafka.InvalidProducerEpoch, kafka.ProducerFenced)


def _failed(code: int, place: Place, what: str) -> bool:
    """Whether to ask again. Raises `Fenced`, or `Unsettled` for what waiting does not mend."""
    if not code:
        return False
    error = kafka.for_code(code)
    name = f"{place[0]}/{place[1]}"
    if error in _FENCED:
        raise Fenced(f"{name} knows of a later owner")
    if getattr(error, "retriable", False):
        return True
    if error in {kafka.ClusterAuthorizationFailedError, kafka.TopicAuthorizationFailedError}:
        raise Unsettled(f"not allowed to {what} {name}: the worker's principal lacks the permission")
    raise Unsettled(f"the broker refuses to {what} {name}: {error.__name__}")
