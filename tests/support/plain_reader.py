"""Reads our topics the plain way, importing nothing of ours: aiokafka, fastavro and the schema files."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from fastavro import parse_schema, schemaless_reader
from fastavro.schema import fingerprint, to_parsing_canonical_form

FACTS = Path(__file__).parents[2] / "schemas" / "facts"
SCHEMAS: dict[bytes, Any] = {}
for _file in FACTS.glob("*/*.avsc"):
    _raw = json.loads(_file.read_text("utf-8"))
    _id = bytes.fromhex(fingerprint(to_parsing_canonical_form(_raw), "CRC-64-AVRO"))
    SCHEMAS[_id] = (_file.parent.name, parse_schema(_raw))


def decode(value: bytes) -> tuple[str, dict[str, Any]] | None:
    """(name, fields) of a fact in single-object encoding, None for anything else."""
    if value[:2] != b"\xc3\x01" or value[2:10] not in SCHEMAS:
        return None
    name, schema = SCHEMAS[value[2:10]]
    fields = schemaless_reader(io.BytesIO(value[10:]), schema, None)
    assert isinstance(fields, dict)
    return name, fields


async def read(bootstrap: str, topic: str, isolation_level: str = "read_committed") -> list[Any]:
    """All committed records of a topic, partition by partition in offset order."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, isolation_level=isolation_level
    )
    await consumer.start()
    try:
        await consumer._client.set_topics([topic])
        places = [TopicPartition(topic, n) for n in sorted(consumer.partitions_for_topic(topic))]
        ends = await consumer.end_offsets(places)
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        found: dict[TopicPartition, list[Any]] = defaultdict(list)
        while any([await consumer.position(place) < ends[place] for place in places]):
            for place, records in (await consumer.getmany(*places, timeout_ms=200)).items():
                found[place] += records
        return [record for place in places for record in found[place]]
    finally:
        await consumer.stop()
