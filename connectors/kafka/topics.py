"""Creates our topics as `schemas/topics.yaml` describes them; nothing else creates topics.

The number of partitions is fixed when a topic is created: the place of every subject hangs on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

import schemas
from connectors.errors import Misconfigured, Transient

PREFIX: Final = "optin."
REQUEST_MS: Final = 20_000
VISIBLE_S: Final = 20.0
"""How long a created or deleted topic may take to show (or vanish) in the broker's metadata."""
POLL_S: Final = 0.05
BACKOFF_MS: Final = 10
"""aiokafka waits so long once for each topic that it does not know yet; its default is 100."""


class TopicState(msgspec.Struct, frozen=True):
    """A topic of ours as the broker knows it."""

    name: str
    partitions: int
    replication: int


async def apply_topics(bootstrap: str, partitions: int, replication: int) -> list[str]:
    """Create what is missing, align the settings of the rest; returns the names of the created ones.

    `partitions` holds for topics whose description says `default`. Returns when all topics take
    records. Raises Misconfigured, before anything is changed, if a topic exists with another number
    of partitions, and Transient if the broker does not answer. Running it again changes nothing.
    """
    wanted = {topic.name: topic for topic in schemas.topics()}
    counts = {
        name: partitions if topic.partitions == "default" else int(topic.partitions)
        for name, topic in wanted.items()
    }
    async with _admin(bootstrap) as admin:
        existing = {state.name: state for state in await _states(admin)}
        _refuse_changed_counts(existing, counts)
        missing = [name for name in wanted if name not in existing]
        await _create(
            admin,
            [
                NewTopic(name, counts[name], replication, topic_configs=dict(wanted[name].config))
                for name in missing
            ],
        )
        await _align(admin, {name: wanted[name].config for name in existing if name in wanted})
        await _until(admin, present=set(wanted))
    if missing:
        await _take_records(bootstrap, {name: counts[name] for name in missing})
    return missing


async def list_topics(bootstrap: str) -> list[TopicState]:
    """Our topics (those with the prefix) as the broker knows them, by name; raises Transient."""
    async with _admin(bootstrap) as admin:
        return await _states(admin)


async def partition_count(bootstrap: str, topic: str) -> int:
    """How many partitions any topic has; raises Misconfigured if there is none, and Transient."""
    async with _admin(bootstrap) as admin:
        (told,) = await admin.describe_topics([topic])
    if told["error_code"] or not told["partitions"]:
        raise Misconfigured(f"Kafka at {bootstrap} has no topic {topic}: run `optin topics apply`.")
    return len(told["partitions"])


async def delete_topics(bootstrap: str) -> list[str]:
    """Delete all topics with our prefix and all they hold; for tests and for taking a stack away.

    Returns the names when the broker no longer knows them. Raises Transient.
    """
    async with _admin(bootstrap) as admin:
        names = [state.name for state in await _states(admin)]
        if names:
            await admin.delete_topics(names, timeout_ms=REQUEST_MS)
            await _until(admin, absent=set(names))
    return names


def _refuse_changed_counts(existing: Mapping[str, TopicState], counts: Mapping[str, int]) -> None:
    changed = [
        name for name, count in counts.items() if name in existing and existing[name].partitions != count
    ]
    if changed:
        name, others = changed[0], len(changed) - 1
        raise Misconfigured(
            f"{name} has {existing[name].partitions} partitions, not {counts[name]}"
            f"{f' (and {others} more topics)' if others else ''}. The number is fixed when a topic is "
            "created: set OPTIN_PARTITIONS to the one that exists, or begin with an empty data folder."
        )


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_MS)
    try:
        await admin.start()
        yield admin
    except (KafkaError, OSError, TimeoutError) as error:
        raise Transient(f"Kafka at {bootstrap}: {error!r}. Does it run, and is it named right?") from error
    finally:
        await admin.close()


async def _states(admin: Any) -> list[TopicState]:
    return sorted(
        (
            TopicState(
                told["topic"],
                len(told["partitions"]),
                min((len(part["replicas"]) for part in told["partitions"]), default=0),
            )
            for told in await admin.describe_topics()
            if told["topic"].startswith(PREFIX)
        ),
        key=lambda state: state.name,
    )


async def _create(admin: Any, topics: list[NewTopic]) -> None:
    if not topics:
        return
    answer = await admin.create_topics(topics, timeout_ms=REQUEST_MS)
    for name, code, *told in answer.topic_errors:
        failure = for_code(code)
        # Somebody applying at the same moment created it from the same description.
        if code and failure is not TopicAlreadyExistsError:
            raise Misconfigured(f"topic {name} could not be created: {failure.__name__} {told}")


async def _align(admin: Any, configs: Mapping[str, Mapping[str, str]]) -> None:
    """Set the settings of existing topics that differ from their description."""
    if not configs:
        return
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, dict(config)) for name, config in configs.items()]
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(asked):
        for _code, _message, _kind, name, entries in answer.resources:
            found[name] = {entry[0]: entry[1] for entry in entries}
    differing = [
        resource
        for resource in asked
        if any(found[resource.name].get(key) != value for key, value in resource.configs.items())
    ]
    if differing:
        for answer in await admin.alter_configs(differing):
            for code, message, _kind, name in answer.resources:
                if code:
                    raise Misconfigured(f"the settings of topic {name} were refused: {message}")


async def _take_records(bootstrap: str, counts: Mapping[str, int]) -> None:
    """Wait until the brokers opened the partitions: they are announced a moment before that."""
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        request_timeout_ms=REQUEST_MS,
        retry_backoff_ms=BACKOFF_MS,
    ) as consumer:
        await consumer.end_offsets(
            [TopicPartition(name, number) for name, count in counts.items() for number in range(count)]
        )


async def _until(
    admin: Any, present: frozenset[str] | set[str] = frozenset(), absent: set[str] | None = None
) -> None:
    """Wait until the broker's metadata shows the topics with a leader each, or no longer."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + VISIBLE_S
    while True:
        told = await admin.describe_topics()
        ready = {
            topic["topic"]
            for topic in told
            if topic["partitions"] and all(part["leader"] >= 0 for part in topic["partitions"])
        }
        named = {topic["topic"] for topic in told}
        if present <= ready and not (absent or set()) & named:
            return
        if loop.time() > deadline:
            raise Transient(f"topics did not settle within {VISIBLE_S:.0f} s; look at Kafka's log.")
        await asyncio.sleep(POLL_S)
