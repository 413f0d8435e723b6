"""The wire contract: what every record on every topic looks like, for any language.

`facts/<Fact>/v<N>.avsc`         one immutable Avro record per version of a fact (`facts.lock` guards it)
`examples/<Fact>/v<N>.json`      a golden example: the fact as JSON and its exact bytes on the wire
`topics.yaml`                    the topics: keys, configuration, who writes and who reads

A value on a topic of facts is Avro single-object encoding: `C3 01`, the schema's CRC-64-AVRO
fingerprint (8 bytes, little-endian), the record. This package only describes; `connectors.codec`
encodes and decodes. Allowed imports: the standard library, fastavro and yaml; nothing of ours.

Where to add the next thing:
a field or symbol -> the next `v<N>.avsc` (never change a file that was released), with a default;
a new fact -> its folder here, its line in `topics.yaml`, its class in `ledger/facts.py`.
Then `python -m schemas.golden`, `python -m schemas.lock` and `python -m schemas.reference`.

Importing this package reads and checks all of it once; a broken contract is a ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from schemas.catalogue import FactSchema, load_catalogue
from schemas.topic_table import Topic

__all__ = ["FACTS", "FactSchema", "Topic", "by_fingerprint", "fact_schema", "topics"]

_CATALOGUE: Final = load_catalogue(files(__name__))

FACTS: Final[Mapping[tuple[str, int], FactSchema]] = _CATALOGUE.facts
"""Every version of every fact by (name, version), in the order of `topics.yaml`."""

by_fingerprint: Final[Mapping[bytes, FactSchema]] = _CATALOGUE.by_fingerprint
"""Every version of every fact by its 8-byte fingerprint as it stands on the wire."""


def fact_schema(name: str, version: int | None = None) -> FactSchema:
    """The schema of this version of a fact, or of its newest; LookupError when there is none."""
    return _CATALOGUE.fact_schema(name, version)


def topics() -> tuple[Topic, ...]:
    """Every topic, in the order of `topics.yaml`; names are full (`optin.permissions`)."""
    return _CATALOGUE.topics
