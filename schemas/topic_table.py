"""Reads `topics.yaml`, the one table of topics, and refuses entries that break its rules.

The rules guard what a slip would cost: a ledger that forgets, a topic of personal data that never
does, a letter too big for its box, a misspelt setting that a broker would refuse at the worst time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any, Final, Literal

import yaml

LEDGER: Final = "optin.permissions"
KEPT: Final = (LEDGER, "optin.links", "optin.control")
"""Kept for ever: the ledger, the claims that it follows from, and what was put in force when."""
DEAD_LETTERS: Final = "optin.dead-letters"

NAME: Final = re.compile(r"optin\.[a-z][a-z0-9-]*")
FACT_KEYS: Final = ("subject", "installation", "item", "request")
"""Keys that are a field of each fact on the topic, by its name."""
KEYS: Final = (*FACT_KEYS, "none", "item_and_subject", "source_key", "content_hash", "table_key")
"""`none`: no key, but a partition that the producer names."""
ROLES: Final = ("app_backend", "journeys", "delivery", "metrics", "operator")
"""Who may write and read: app backends, our processor roles, people at the command line."""

CONFIG_OF_EVERY: Final = frozenset({"cleanup.policy", "max.message.bytes"})
CONFIG_OF_KEPT: Final = frozenset({"retention.ms"})
CONFIG_OF_COMPACTED: Final = frozenset({"min.cleanable.dirty.ratio", "segment.bytes"})
CONFIG_OPTIONAL: Final = frozenset(
    {"message.timestamp.type", "retention.bytes", "segment.ms", "max.compaction.lag.ms"}
)


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    `name` is full (`optin.permissions`). `key` is one of `KEYS`. `partitions` is a number, or
    `default`: the deployment's count, the same for all such topics. `config` holds the topic
    settings of Kafka as strings. `facts` may be empty: then the values are not facts.
    """

    name: str
    key: str
    partitions: int | Literal["default"]
    description: str
    facts: tuple[str, ...]
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    config: Mapping[str, str]


def read_topics(file: Traversable) -> tuple[Topic, ...]:
    """The topics of `file` in its order; ValueError, with what to do, if a rule is broken."""
    document = yaml.load(file.read_text(encoding="utf-8"), _LOADER)  # noqa: S506 - both are safe
    if not isinstance(document, dict) or list(document) != ["topics"]:
        raise ValueError("topics.yaml must hold one list, `topics`")
    topics = tuple(_topic(entry) for entry in document["topics"])
    for name, count in Counter(topic.name for topic in topics).items():
        if count > 1:
            raise ValueError(f"topics.yaml lists {name} twice: merge the two entries")
    for topic in topics:
        _check_words(topic)
        _check_config(topic)
    _check_letters_fit(topics)
    return topics


_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml where it was built in


def _topic(entry: Any) -> Topic:
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        message = "topics.yaml: each entry must be a mapping, and so must its config"
        raise ValueError(message)  # noqa: TRY004 - a rule of the file, as all others here
    name = entry.get("name", "an entry without a name")
    wanted = {field.name for field in fields(Topic)}
    if entry.keys() != wanted:
        raise ValueError(
            f"topics.yaml, {name}: needs exactly the keys {sorted(wanted)}; "
            f"missing {sorted(wanted - entry.keys())}, unknown {sorted(entry.keys() - wanted)}"
        )
    if not all(isinstance(entry[key], list) for key in ("facts", "producers", "consumers")):
        raise ValueError(f"topics.yaml, {name}: write facts, producers and consumers as lists")
    if not all(type(value) in {int, float, str} for value in entry["config"].values()):
        raise ValueError(f"topics.yaml, {name}: write each config value as a number or a string")
    return Topic(
        name=name,
        key=entry["key"],
        partitions=entry["partitions"],
        description=" ".join(str(entry["description"]).split()),
        facts=tuple(entry["facts"]),
        producers=tuple(entry["producers"]),
        consumers=tuple(entry["consumers"]),
        config=MappingProxyType({key: str(value) for key, value in entry["config"].items()}),
    )


def _check_words(topic: Topic) -> None:
    if not NAME.fullmatch(topic.name):
        raise ValueError(f"topics.yaml, {topic.name}: name it optin.<lower-case-words>")
    if topic.key not in KEYS:
        raise ValueError(f"topics.yaml, {topic.name}: key must be one of {', '.join(KEYS)}")
    count = topic.partitions
    if count != "default" and (type(count) is not int or count < 1):
        raise ValueError(f"topics.yaml, {topic.name}: partitions must be `default` or a number from 1")
    if not topic.description:
        raise ValueError(f"topics.yaml, {topic.name}: say in description what the topic carries")
    for side, roles in (("producers", topic.producers), ("consumers", topic.consumers)):
        if not roles or not set(roles) <= set(ROLES):
            raise ValueError(
                f"topics.yaml, {topic.name}: {side} must name at least one of {', '.join(ROLES)}, "
                "and nobody else"
            )


def _check_config(topic: Topic) -> None:
    policy = topic.config.get("cleanup.policy")
    if policy not in {"delete", "compact"}:
        raise ValueError(f"topics.yaml, {topic.name}: cleanup.policy must be delete or compact")
    needed = CONFIG_OF_EVERY | (CONFIG_OF_COMPACTED if policy == "compact" else CONFIG_OF_KEPT)
    missing = needed - topic.config.keys()
    unknown = topic.config.keys() - needed - CONFIG_OPTIONAL
    if missing or unknown:
        raise ValueError(
            f"topics.yaml, {topic.name}: with cleanup.policy={policy} the config needs "
            f"{sorted(missing)} and does not know {sorted(unknown)}: mend the name, or add a "
            "setting of Kafka's that is new here to schemas/topic_table.py"
        )
    if policy == "compact" and topic.facts:
        raise ValueError(
            f"topics.yaml, {topic.name}: compaction would forget facts; a topic of facts needs "
            "cleanup.policy=delete"
        )
    if topic.key in FACT_KEYS and topic.config.get("message.timestamp.type") != "LogAppendTime":
        raise ValueError(
            f"topics.yaml, {topic.name}: set message.timestamp.type=LogAppendTime; on a topic "
            f"keyed by {topic.key} the record's time is the trusted time of receipt"
        )
    if policy == "delete":
        _check_retention(topic)


def _check_retention(topic: Topic) -> None:
    retention_ms = _number(topic, "retention.ms")
    if topic.name in KEPT:
        if retention_ms != -1 or topic.config.get("retention.bytes") != "-1":
            raise ValueError(
                f"topics.yaml, {topic.name}: the ledger is kept for ever; set retention.ms and "
                "retention.bytes to -1"
            )
    elif retention_ms <= 0:
        raise ValueError(
            f"topics.yaml, {topic.name}: set a positive retention.ms; only {' and '.join(KEPT)} are "
            "kept for ever, and what a person did is not"
        )


def _check_letters_fit(topics: tuple[Topic, ...]) -> None:
    """A dead letter carries another topic's record whole."""
    limits = {topic.name: _number(topic, "max.message.bytes") for topic in topics}
    letter = limits.pop(DEAD_LETTERS, None)
    if letter is None:
        raise ValueError(f"topics.yaml needs {DEAD_LETTERS}: records that can't be read go there")
    for name, limit in limits.items():
        if letter < 2 * limit:
            raise ValueError(
                f"topics.yaml, {name}: max.message.bytes={limit} does not fit twice into "
                f"{DEAD_LETTERS}'s {letter}: lower it here or raise it there"
            )


def _number(topic: Topic, key: str) -> int:
    try:
        return int(topic.config[key])
    except ValueError:
        raise ValueError(f"topics.yaml, {topic.name}: {key} must be a whole number") from None
