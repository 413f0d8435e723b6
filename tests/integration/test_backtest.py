"""All shipped journeys together through real Kafka: equal, fact for fact, to the core without any of it."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from connectors import codec
from processors.backtest import Outcome, differences, run_partition
from processors.definitions.archive import read_archive
from processors.definitions.loader import load
from processors.stack import Servers
from tests.support import generated_log
from tests.support.plain_reader import read
from tests.support.replays import replay
from tests.support.stack import PARTITIONS

LONG = os.environ.get("OPTIN_TEST_LONG") == "1"
DATA = os.environ.get("OPTIN_TEST_DATA")
LOGS = {
    "taobao": "taobao-userbehavior/UserBehavior.csv",
    "otto": "otto-sample/train.jsonl",
    "generated": None,
}
SMALL_USERS = 40

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("shop", LOGS if LONG else ["generated"])
def test_all_journeys_through_kafka_are_what_the_core_says(
    shop: str, tmp_path: Path, fresh_stack: Servers
) -> None:
    """Every start, end, decision and eviction has the same bytes; so a backtest finds no difference."""
    printed = replay(log_of(shop, tmp_path), tmp_path / "data", fresh_stack, dataset=kind(shop), shipped=True)
    assert b"cart_abandonment" in printed

    definitions = load(
        tmp_path / "data" / "definitions", asyncio.run(read_archive(fresh_stack.kafka_bootstrap))
    )
    outcome, derived = Outcome(), Counter[bytes]()
    for number in range(PARTITIONS):
        asyncio.run(
            run_partition(
                fresh_stack.kafka_bootstrap,
                number,
                definitions,
                outcome,
                lambda fact: derived.update([codec.encode(fact)]),
            )
        )

    topic = asyncio.run(read(fresh_stack.kafka_bootstrap, "optin.decisions"))
    assert Counter(record.value for record in topic) == derived
    assert len(outcome.derived) == len(outcome.recorded) > 0
    assert list(differences(outcome, definitions)) == []


def log_of(shop: str, folder: Path) -> Path:
    """The log of a shop; skips where the real one is not."""
    name = LOGS[shop]
    if name is None:
        path = folder / "generated.csv"
        generated_log.write(path, users=SMALL_USERS)
        return path
    if not DATA or not (Path(DATA) / name).exists():
        pytest.skip(f"OPTIN_TEST_DATA has no {name}: CONTRIBUTING.md says where the real log comes from")
    return Path(DATA) / name


def kind(shop: str) -> str:
    """The format of a shop's log."""
    return "otto" if shop == "otto" else "taobao"
