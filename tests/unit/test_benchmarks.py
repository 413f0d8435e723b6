"""The benchmarks refuse wrong results, pick what counts, and show what they found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from connectors.errors import Misconfigured
from ledger.consent import EMPTY
from processors.benchmarks import flame, load, page, suite, timers
from processors.benchmarks.arena import Moment
from processors.benchmarks.contest import rates
from processors.benchmarks.latency import percentiles
from processors.benchmarks.revocation import Acknowledged, Seen
from processors.benchmarks.suite import GOALS, Goal, chosen, median
from processors.benchmarks.verdict import Void, refuse_unequal, refuse_wrong_rows
from processors.lane.timers import Timers

PEOPLE = 40
FIGURES = {"events_s": 60_000, "cpu_s_per_million": 16.0, "rss_mb": 300}
MACHINE = {"cores": 2, "cpu": "Quick", "load_1m": 0.1, "python": "3.11", "system": "Linux"}


def folded() -> dict[str, Any]:
    """What a plain fold of some facts gives."""
    return load.plain_fold(load.consent_facts(8 * PEOPLE, PEOPLE))


class TestTheLoad:
    """What all contestants fold."""

    def test_nobody_comes_twice_before_all_have_come_once(self) -> None:
        """So each fact costs a row, however large a chunk is."""
        subjects = [fact.subject for fact in load.consent_facts(2 * PEOPLE, PEOPLE)]

        assert len(set(subjects[:PEOPLE])) == PEOPLE
        assert subjects[:PEOPLE] == subjects[PEOPLE:]

    def test_everybody_gets_facts_of_every_kind(self) -> None:
        """A fold that forgets one kind is wrong for everybody."""
        kinds: dict[str, Counter[str]] = {}
        for fact in load.consent_facts(8 * PEOPLE, PEOPLE):
            kinds.setdefault(fact.subject, Counter())[type(fact).__name__] += 1

        assert {tuple(sorted(count.values())) for count in kinds.values()} == {(2, 2, 2, 2)}

    def test_a_part_of_the_load_is_that_part(self) -> None:
        """Facts have numbers, so two halves are the whole."""
        halves = [*load.consent_facts(10, PEOPLE), *load.consent_facts(10, PEOPLE, first=10)]

        assert halves == list(load.consent_facts(20, PEOPLE))


class TestTheVerdict:
    """A wrong result is refused."""

    def test_the_same_rows_pass(self) -> None:
        """A right result has figures."""
        refuse_wrong_rows("we", folded(), folded())

    @pytest.mark.parametrize(
        ("planted", "said"),
        [
            ({"person-1": EMPTY}, "1 differ, 0 are missing, and 0 more"),
            ({"stranger": EMPTY}, "0 differ, 0 are missing, and 1 more"),
        ],
    )
    def test_a_wrong_or_foreign_row_makes_it_void(self, planted: dict[str, Any], said: str) -> None:
        """One row is enough."""
        with pytest.raises(Void, match=said):
            refuse_wrong_rows("we", {**folded(), **planted}, folded())

    def test_a_missing_row_makes_it_void(self) -> None:
        """A lost subject is found."""
        found = folded()
        del found["person-3"]

        with pytest.raises(Void, match="0 differ, 1 are missing"):
            refuse_wrong_rows("we", found, folded())

    def test_another_count_makes_it_void(self) -> None:
        """The message tells both."""
        with pytest.raises(Void, match="the count of rows is 9, not 10"):
            refuse_unequal("we", "the count of rows", 9, 10)


class TestTimers:
    """The measurement of timers."""

    def test_a_thousand_timers_are_armed_fired_and_rebuilt(self) -> None:
        """The measurement gives all of its figures."""
        found = {**timers.heap(1_000), **timers.rebuild(1_000)}

        assert found.keys() == {"pending", "bytes_each", "armed_s", "fired_s", "rebuilt_s", "rebuild_s"}
        assert found["pending"] == 1_000

    def test_timers_that_fire_out_of_order_are_void(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A planted heap that gives the last key first is caught."""

        class Hasty(Timers):
            def pop(self) -> bytes:
                key = max(self._armed)
                del self._armed[key]
                return key

        monkeypatch.setattr(timers, "Timers", Hasty)

        with pytest.raises(Void, match="firing in order"):
            timers.heap(100)

    def test_a_timer_that_is_lost_is_void(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A planted heap that forgets every tenth is caught, at arming and at rebuilding."""

        class Forgetful(Timers):
            def arm(self, key: bytes, due: int | None) -> None:
                if not key.endswith(b"7"):
                    super().arm(key, due)

        monkeypatch.setattr(timers, "Timers", Forgetful)
        monkeypatch.setattr("processors.lane.table.Timers", Forgetful)

        with pytest.raises(Void, match="the count of fired ones is 90, not 100"):
            timers.heap(100)
        with pytest.raises(Void, match="the count of rebuilt ones is 90, not 100"):
            timers.rebuild(100)


class TestFigures:
    """What is made of clocks and counts."""

    def test_rates_are_between_two_moments(self) -> None:
        """What was before the first moment is not counted."""
        found = rates(Moment(10.0, 3.0), Moment(12.0, 4.0), 100_000)

        assert found == {"events_s": 50_000, "cpu_s_per_million": 10.0}

    def test_percentiles_are_of_the_waits(self) -> None:
        """Median, 99th percentile and maximum, in ms."""
        found = percentiles([number / 1_000 for number in range(1, 101)])

        assert found == {"p50_ms": 51.0, "p99_ms": 100.0, "max_ms": 100.0}

    def test_the_median_round_counts(self) -> None:
        """The slowest and the fastest are told, not chosen; of two the slower one counts."""
        rounds = [{"events_s": rate, "rss_mb": rate} for rate in (3, 9, 5)]

        assert median(rounds) == {"events_s": 5, "rss_mb": 5, "rounds": [3, 9, 5]}
        assert median(rounds[:2])["events_s"] == 3

    def test_a_revocation_waits_until_its_partition_was_seen_behind_it(self) -> None:
        """Not until another partition was, and as many times as the batch has revocations."""
        seen = Seen()
        seen.note({0: 10, 1: 50}, 1.0)
        seen.note({0: 20}, 1.5)
        seen.note({0: 30}, 4.0)
        batches = [Acknowledged(0, 25, 2.0, 2), Acknowledged(0, 10, 0.5, 1), Acknowledged(1, 40, 0.75, 0)]

        assert sorted(seen.waits(batches)) == [0.5, 2.0, 2.0]


class TestGoals:
    """What figures are held against."""

    def test_a_goal_of_what_was_not_measured_says_nothing(self) -> None:
        """A part of the measurements is judged by the goals that it can tell of."""
        assert [goal.of({"consent": FIGURES}) for goal in GOALS].count(None) == len(GOALS) - 2

    @pytest.mark.parametrize(("value", "met"), [(17.9, True), (18.0, True), (18.1, False)])
    def test_less_is_better_where_it_is(self, value: float, met: bool) -> None:
        """CPU time has a ceiling, not a floor."""
        assert Goal("CPU", 18, lambda _: value, at_most=True).met(value) == met

    def test_a_missed_goal_is_called_missed(self) -> None:
        """The table is honest about it."""
        slow = {"consent": {**FIGURES, "events_s": 54_999}}

        assert [row[3] for row in page.goal_rows(slow)] == ["missed", "met"]


class TestTheSuite:
    """Which measurements a run makes."""

    def test_everything_is_measured_where_nothing_is_named(self) -> None:
        """In the order of the table."""
        assert chosen([]) == tuple(suite.MEASUREMENTS)

    def test_the_order_is_that_of_the_table(self) -> None:
        """And what is measured together is measured once."""
        assert chosen(["raw_insert", "raw_c", "metrics"]) == ("raw_c", "metrics")

    def test_an_unknown_name_is_refused(self) -> None:
        """With the names that there are."""
        with pytest.raises(Misconfigured, match="there is no measurement speed; there are consent, "):
            chosen(["raw_c", "speed"])


class TestThePage:
    """What docs/benchmarks.md shows."""

    def test_the_figures_of_the_page_are_those_of_its_result(self) -> None:
        """Whoever edits either by hand is found."""
        written = page.PAGE.read_text()
        expected = f"{page.BEGIN}\n\n{page.END}"  # no result, no figures
        if page.RESULT.exists():
            expected = page.filled(written, json.loads(page.RESULT.read_text()))

        assert expected in written

    def test_a_result_is_shown_with_its_circumstances(self) -> None:
        """Machine, load, commit and command stand above the figures."""
        results = {"consent": FIGURES, "machine": MACHINE, "commit": "abc", "command": "optin bench"}
        shown = page.filled(f"before\n{page.BEGIN}1,234{page.END}\nafter\n", results)

        assert "1,234" not in shown
        for words in ("`optin bench` at commit `abc`", "2 cores (Quick)", "load average 0.1", "60,000"):
            assert words in shown

    def test_a_page_without_marks_is_refused(self) -> None:
        """Nothing is appended to a page that has no place for it."""
        with pytest.raises(ValueError, match="once"):
            page.filled("no marks", {})

    def test_every_figure_is_in_some_table(self) -> None:
        """A new figure of a measurement can't be forgotten on the page."""
        results = {
            "timers": {"bytes_each": 111, "armed_s": 222},
            "recovery": {**FIGURES, "claim_s": 0.33},
            "watchers": {"news_s": 444},
        }
        rows = [row for _, _, rows_of in page.TABLES for row in rows_of(results)]

        assert {row[-1] for row in rows} >= {"111", "222", "0.33", "444"}


class TestCosts:
    """Which part of the work a sample belongs to."""

    def test_a_sample_belongs_to_the_innermost_part_that_is_known(self) -> None:
        """Library code below our own decoder is the decoder's cost."""
        lane = "run (/x/processors/lane/lane.py:1)"
        decoding = f"{lane};decode (/x/connectors/codec.py:9);read (/y/io.py:3)"

        assert flame.cost_of(decoding) == "decode a fact"
        assert flame.cost_of(lane) == "the lane"
        assert flame.cost_of("main (/z/unknown.py:1)") == flame.OTHER

    def test_the_largest_cost_comes_first(self) -> None:
        """With its share of all samples."""
        folded = ["a (/x/ledger/consent.py:1) 3", "a (/x/faust/app.py:2) 1"]

        assert flame.costs(folded) == {"fold it": 0.75, "Faust": 0.25}

    def test_a_waiting_thread_costs_nothing(self) -> None:
        """The sampler takes some waits for work."""
        waiting = "run (/x/asyncio/base_events.py:1);select (/x/selectors.py:468) 9"

        assert flame.costs([waiting, "a (/x/ledger/consent.py:1) 1"]) == {"fold it": 1.0}


def test_a_pinned_program_has_the_cores_it_was_given() -> None:
    """From its first instruction, so that all of its threads have them."""
    core = max(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "processors.benchmarks.pinned", str(core), sys.executable, "-c"]
    told = subprocess.run(
        [*command, "import os; print(sorted(os.sched_getaffinity(0)))"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout

    assert told.split() == [f"[{core}]"]
