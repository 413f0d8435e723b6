"""The benchmarks run to their end on a real broker in their quick form; a wrong fold gives no figures.

The long form takes all of them. Nothing here looks at how fast anything was.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from processors import cli
from processors.benchmarks import contest, suite
from processors.benchmarks.arena import Arena
from processors.benchmarks.sizes import QUICK
from processors.benchmarks.verdict import Void
from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV
from tests.support import planted_worker

pytestmark = pytest.mark.stack

LONG = os.environ.get("OPTIN_TEST_LONG") == "1"
SHORT = ("consent", "raw_c", "timers")
FOLD = ("events_s", "cpu_s_per_million", "rss_mb")
INSERT = ("rows_s", "cpu_s_per_million", "rss_mb")
SHAPES = {
    "consent": FOLD,
    "stock_faust": (*FOLD, "configuration", "other"),
    "raw_c": FOLD,
    "raw_c_unchecked": FOLD,
    "journeys": (*FOLD, "begun", "bytes_per_subject", "row_bytes"),
    "subjects_10k": (*FOLD, "bytes_per_subject", "row_bytes"),
    "subjects_1m": (*FOLD, "bytes_per_subject", "row_bytes"),
    "metrics": INSERT,
    "raw_insert": INSERT,
    "recovery": ("records_s", "cpu_s_per_million", "rss_mb"),
    "latency": ("p50_ms", "p99_ms", "max_ms"),
    "timers": ("bytes_each", "armed_s", "fired_s", "rebuilt_s"),
    "watchers": ("bytes_per_watch", "news_s", "heard_s", "quiet", "news"),
    "campaign": ("dry_subjects_s", "real_subjects_s", "after_kill_s"),
    "revocation": ("facts_s", "journeys", "delivery"),
}
"""What must be in the result of each measurement."""


@pytest.fixture(autouse=True)
def no_named_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark refuses servers that the environment names."""
    for name in (KAFKA_ENV, CLICKHOUSE_ENV):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.timeout(900)
def test_a_run_gives_one_object_with_all_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every measurement's figures under its name, machine and commit; and the cores are given back."""
    names = () if LONG else SHORT
    cores = os.sched_getaffinity(0)
    monkeypatch.setattr(sys, "argv", ["optin", "bench", "--quick", "--json", *names])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    results: dict[str, Any] = json.loads(printed.out)
    expected = SHAPES.keys() if LONG else set(SHORT)

    assert results.keys() == expected | {"machine", "commit", "command"}
    for name in expected:
        assert results[name].keys() >= {*SHAPES[name]}, name
    assert results["machine"]["cores"] == len(cores)
    assert os.sched_getaffinity(0) == cores


def test_every_measurement_has_a_shape() -> None:
    """A new one can't be left out of the run above."""
    assert SHAPES.keys() == {name for one in suite.MEASUREMENTS.values() for name in one.gives}


def test_a_worker_that_folds_wrongly_gets_no_figures(tmp_path: Path) -> None:
    """A planted worker that ignores revocations is fast, and void."""

    def planted(role: str) -> list[str]:
        return [sys.executable, planted_worker.__file__, "ignored_revocation", role]

    with Arena(tmp_path, lambda _: None, planted) as arena, pytest.raises(Void, match="consent: of 500 rows"):
        contest.consent(arena, QUICK)


def test_named_servers_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their topics would be deleted."""
    monkeypatch.setenv(KAFKA_ENV, "127.0.0.1:9092")
    monkeypatch.setattr(sys, "argv", ["optin", "bench", "--quick"])
    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 1
    assert f"unset {KAFKA_ENV} first" in capsys.readouterr().err
