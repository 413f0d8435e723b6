"""The golden examples of the wire contract as facts of the core."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import schemas
from connectors.codec import topic_of
from ledger.facts import FACTS, Fact
from schemas import fact_schema, topics

T = TypeVar("T", bound=Fact)
FOLDER = Path(schemas.__file__).parent / "examples"


def example_of(kind: type[T]) -> T:
    """The example of a fact's newest version."""
    version = fact_schema(kind.__name__).version
    example: dict[str, Any] = json.loads((FOLDER / kind.__name__ / f"v{version}.json").read_text("utf-8"))
    return msgspec.convert(example["fact"], kind)


READ = {topic.name for topic in topics() if "metrics" in topic.consumers}
MEASURED = [kind for kind in FACTS if topic_of(kind) in READ]
"""What the metrics role reads: what goes on inside a role is nobody else's business."""
