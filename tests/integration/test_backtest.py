"""All shipped journeys together through real Kafka: equal, fact for fact, to the core without any of it."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from connectors import codec
from ledger import facts as f
from ledger.definitions import Definitions
from processors.backtest import Outcome, differences, run_partition
from processors.definitions.loader import load, shipped
from processors.stack import Servers
from processors.topic_names import ACTIVITY, DECISIONS, DELIVERIES
from tests.support import generated_log
from tests.support.column_audit import constant_columns
from tests.support.plain_reader import read
from tests.support.replays import demo, replay
from tests.support.stack import PARTITIONS

LONG = os.environ.get("OPTIN_TEST_LONG") == "1"
DATA = os.environ.get("OPTIN_TEST_DATA")
LOGS = {
    "taobao": "taobao-userbehavior/UserBehavior.csv",
    "otto": "otto-sample/train.jsonl",
    "generated": None,
}
SMALL_USERS = 40
DEMO_SUBJECTS = 2_000 if LONG else 500

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("shop", LOGS if LONG else ["generated"])
def test_all_journeys_through_kafka_are_what_the_core_says(
    shop: str, tmp_path: Path, fresh_stack: Servers
) -> None:
    """Every start, end, decision and eviction has the same bytes; so a backtest finds no difference."""
    printed = replay(log_of(shop, tmp_path), tmp_path / "data", fresh_stack, dataset=kind(shop), shipped=True)

    assert b"cart_abandonment" in printed
    assert_like_the_core(load(tmp_path / "data" / "definitions"), fresh_stack)


def test_the_demo_week_through_kafka_is_what_the_core_says(tmp_path: Path, fresh_stack: Servers) -> None:
    """With the opens of its pushes, each of a push that its provider took."""
    printed = demo(tmp_path / "data", fresh_stack, DEMO_SUBJECTS)

    assert b"One person's story" in printed
    assert_like_the_core(shipped({}), fresh_stack)
    told = [codec.decode(one.value) for one in asyncio.run(read(fresh_stack.kafka_bootstrap, DELIVERIES))]
    accepted = {(one.subject, one.push_id) for one in told if isinstance(one, f.PushAccepted)}
    activity = [codec.decode(one.value) for one in asyncio.run(read(fresh_stack.kafka_bootstrap, ACTIVITY))]
    opened = {(one.subject, one.push_id) for one in activity if isinstance(one, f.PushOpened)}
    assert opened
    assert opened <= accepted
    # And what is measured of it says something in each column.
    assert not constant_columns(fresh_stack.clickhouse_url)


def assert_like_the_core(definitions: Definitions, servers: Servers) -> None:
    """What was recorded is what the core derives of the same facts."""
    outcome, derived = Outcome(), Counter[bytes]()
    for number in range(PARTITIONS):
        asyncio.run(
            run_partition(
                servers.kafka_bootstrap,
                number,
                definitions,
                outcome,
                lambda fact: derived.update([codec.encode(fact)]),
            )
        )

    topic = asyncio.run(read(servers.kafka_bootstrap, DECISIONS))
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
