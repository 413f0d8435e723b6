"""Metrics come from the catalogue alone, with labels of closed sets, and the lane's news becomes them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from connectors import codec
from connectors.errors import Transient
from connectors.rules.cel import CelRules
from connectors.rules.liquid import LiquidTexts
from ledger import definitions as d
from ledger import facts as f
from processors.agents import metrics_streamer, subject_rows
from processors.agents.intake import Accepted
from processors.agents.metrics_streamer import MetricsStreamer
from processors.agents.subject_rows import SubjectHandler
from processors.agents.tally import REVOCATIONS, tell_refused
from processors.lane.probe import Look
from processors.lane.table import LaneTable, Partition, RowCodec
from processors.lane.transaction import Transaction
from processors.telemetry import catalogue as c
from processors.telemetry.exposition import Exposition
from processors.telemetry.health import Health
from processors.telemetry.lane_meter import LaneMeter
from processors.telemetry.meters import FORGETFUL
from processors.telemetry.metric import SERIES_MAX, Counter, Gauge, Histogram, Metric
from processors.wall_clock import wall_ms
from tests.support.given import HOUR, NOON, ZONES, fact, journey, policy
from tests.support.scrape import Samples, samples_of

ABOUT: Final[dict[str, Any]] = {"meaning": "m", "rises": "r", "roles": ("journeys",)}


def shown(meters: Exposition) -> Samples:
    """What Prometheus would read now."""
    return samples_of(meters.text().decode())


def exposition(role: str = "journeys") -> Exposition:
    """The whole catalogue for one role."""
    return Exposition(role, c.CATALOGUE)


class TestTheCatalogue:
    """Rows keep the rules of their kind, and the sets that they share with the code."""

    def test_every_metric_is_shown_by_its_roles_and_by_no_other(self) -> None:
        """The registry of a role has its rows of the catalogue."""
        for role in c.ROLES:
            text = exposition(role).text().decode()
            found = {family.name for family in text_string_to_metric_families(text)}
            wanted = {metric.name.removesuffix("_total") for metric in c.CATALOGUE if role in metric.roles}
            assert {name for name in found if name.startswith("optin_")} == wanted

    def test_names_are_there_once(self) -> None:
        """No two rows share a name."""
        names = [metric.name for metric in c.CATALOGUE]
        assert len(names) == len(set(names))

    @pytest.mark.parametrize(
        ("kind", "fields"),
        [
            (Gauge, {"name": "lag"}),
            (Gauge, {"name": "optin_Lag"}),
            (Counter, {"name": "optin_sent"}),
            (Gauge, {"name": "optin_sent_total"}),
            (Gauge, {"name": "optin_lag", "meaning": ""}),
            (Gauge, {"name": "optin_lag", "rises": ""}),
            (Gauge, {"name": "optin_lag", "roles": ()}),
            (Gauge, {"name": "optin_lag", "labels": {"item": tuple(map(str, range(SERIES_MAX + 1)))}}),
            (Histogram, {"name": "optin_wait_seconds", "buckets": (1, 1, 2)}),
            (Histogram, {"name": "optin_wait_seconds", "buckets": ()}),
        ],
    )
    def test_a_row_that_breaks_a_rule_is_refused(self, kind: type[Metric], fields: dict[str, Any]) -> None:
        """A wrong name, a row that explains nothing, too many series, and buckets out of order."""
        with pytest.raises(ValueError, match=r"^\w+: "):
            kind(**{**ABOUT, **fields})

    def test_revocations_are_the_facts_that_the_handlers_time(self) -> None:
        """The label's values are the names of the facts."""
        assert set(c.REVOCATIONS) == {kind.__name__ for kind in REVOCATIONS}


class TestMeasuring:
    """Only what is in the catalogue, under its labels."""

    def test_counters_begin_at_zero(self) -> None:
        """The first dead letter of a kind is a step from 0, which a rule sees."""
        assert shown(exposition())["optin_dead_letters_total", "reason=truncated"] == 0

    @pytest.mark.parametrize(
        "labels", [{"reason": "ann@example.org"}, {}, {"reason": "empty", "lane": "subjects"}]
    )
    def test_a_label_outside_its_set_is_refused(self, labels: dict[str, str]) -> None:
        """Neither an unknown value nor a missing or further label gets into a series."""
        with pytest.raises(ValueError, match="optin_dead_letters_total"):
            exposition().add(c.DEAD_LETTERS, 1, **labels)

    def test_a_metric_outside_the_catalogue_is_refused(self) -> None:
        """Also one that borrows the name of a row."""
        meters = exposition()
        with pytest.raises(ValueError, match="not in the catalogue"):
            meters.add(Counter(**ABOUT, name="optin_invented_total"))
        with pytest.raises(ValueError, match="not in the catalogue"):
            meters.add(Counter(**ABOUT, name=c.REBALANCES.name))

    def test_a_metric_of_another_role_is_refused(self) -> None:
        """A journeys worker sends no push."""
        with pytest.raises(ValueError, match="or not a metric of journeys"):
            exposition().add(c.PUSHES, outcome="accepted")

    def test_what_nobody_knows_is_not_shown(self) -> None:
        """A cleared gauge is gone, and comes back with its next value."""
        meters = exposition()
        meters.set(c.LAG, 3, topic="optin.tokens")
        meters.clear(c.LAG)
        assert not any(name == c.LAG.name for name, _ in shown(meters))
        meters.set(c.LAG, 4, topic="optin.tokens")
        assert shown(meters)[c.LAG.name, "topic=optin.tokens"] == 4

    def test_an_unknown_reason_of_a_dead_letter_counts_as_other(self) -> None:
        """A reason that the catalogue missed neither ends the worker nor makes a series."""
        meters = exposition()
        transaction = Transaction(owning(0), 0, 0)
        tell_refused("invented", transaction, meters)
        assert shown(meters)["optin_dead_letters_total", "reason=other"] == 0
        for tell in transaction.durable:
            tell()
        assert shown(meters)["optin_dead_letters_total", "reason=other"] == 1


def owning(partition: int) -> LaneTable:
    """An empty table that owns one partition."""
    table = LaneTable(
        "changelog",
        RowCodec(encode=bytes, decode=bytes, wake_at=lambda _: None, wake_at_encoded=lambda _: None),
    )
    table.partitions[partition] = Partition()
    return table


def look(lag: dict[tuple[str, int], int], *, coordinator_known: bool = True) -> Look:
    """What the watchdog saw."""
    return Look(lag, 1.5, coordinator_known, {"subjects": 7}, {"subjects": 2})


class TestTheLaneMeter:
    """The lane's news as metrics and as health."""

    def test_settled_and_unsettled_transactions_are_told(self) -> None:
        """By lane, the former by their fate."""
        meters = exposition()
        meter = LaneMeter(meters, Health())
        meter.settled("subjects", "committed")
        meter.settled("subjects", "committed")
        meter.settled("links", "aborted")
        meter.unsettled("links")
        read = shown(meters)
        assert read["optin_settled_partitions_total", "fate=committed,lane=subjects"] == 2
        assert read["optin_settled_partitions_total", "fate=aborted,lane=links"] == 1
        assert read["optin_unsettled_lane", "lane=links"] == 1

    def test_lag_is_summed_and_its_worst_partition_shown(self) -> None:
        """By topic, never by subject; rows and timers by lane."""
        meters = exposition()
        LaneMeter(meters, Health()).looked(look({("optin.tokens", 0): 3, ("optin.tokens", 4): 9}))
        found = shown(meters)
        assert found["optin_input_lag_records", "topic=optin.tokens"] == 12
        assert found["optin_input_lag_records_max", "topic=optin.tokens"] == 9
        assert found["optin_since_progress_seconds", ""] == 1.5
        assert found["optin_table_rows", "lane=subjects"] == 7
        assert found["optin_timers_pending", "lane=subjects"] == 2

    def test_lag_of_a_topic_that_went_elsewhere_is_gone(self) -> None:
        """Another worker has it now, or nobody knows it because the broker is silent."""
        meters = exposition()
        meter = LaneMeter(meters, Health())
        meter.looked(look({("optin.tokens", 0): 3, ("optin.activity", 0): 3}))
        meter.looked(look({("optin.tokens", 0): 3}))
        assert ("optin_input_lag_records", "topic=optin.activity") not in shown(meters)
        meter.broker_silent()
        assert not any(name.startswith("optin_input_lag") for name, _ in shown(meters))

    def test_a_rebalance_is_counted_with_its_pause(self) -> None:
        """From the first revocation, however many follow, until folding goes on."""
        now = [100.0]
        meters = exposition()
        meter = LaneMeter(meters, Health(), lambda: now[0])
        meter.revoked()
        now[0] = 104.0
        meter.revoked()
        now[0] = 106.0
        meter.recovering()
        meter.recovered("subjects", 500, 0.5, 1.5)
        meter.ready()
        found = shown(meters)
        assert found["optin_rebalances_total", ""] == 1
        assert found["optin_rebalance_pause_seconds_sum", ""] == 6
        assert found["optin_claim_seconds_sum", "lane=subjects"] == 0.5
        assert found["optin_recovery_seconds_sum", "lane=subjects"] == 1.5
        assert found["optin_recovered_records_total", "lane=subjects"] == 500

    def test_chunks_folds_and_transactions_are_counted(self) -> None:
        """Each chunk by its size; one fold and one transaction for a group of them."""
        meters = exposition()
        meter = LaneMeter(meters, Health())
        meter.folded("subjects", [10, 30], 0.25)
        meter.committed("subjects", 40, 0.5)
        found = shown(meters)
        assert found["optin_chunk_records_count", "lane=subjects"] == 2
        assert found["optin_chunk_records_sum", "lane=subjects"] == 40
        assert found["optin_fold_seconds_sum", "lane=subjects"] == 0.25
        assert found["optin_records_folded_total", "lane=subjects"] == 40
        assert found["optin_transaction_seconds_count", "lane=subjects"] == 1


def test_decisions_are_counted_once_they_are_durable() -> None:
    """By their verdict: somebody without permission who left a cart is decided on, and not pushed to."""
    meters, table = exposition(), owning(0)
    table.codec = subject_rows.ROWS
    handler = SubjectHandler(
        d.in_force(policy(), (journey(),), {}), ZONES, CelRules(), LiquidTexts(), 1, meters=meters
    )
    cart = fact(f.CartUpdated, item="boots", change="added")
    began = Transaction(table, 0, NOON)
    handler.fold(Accepted(cart, SimpleNamespace(key=b"ann", offset=0), NOON), began)
    table.apply(0, began.rows, began.position())
    transaction = Transaction(table, 0, NOON + 2 * HOUR)
    row = transaction.get(b"ann")
    assert row is not None
    handler.fire(b"ann", row, transaction)
    assert shown(meters)["optin_decisions_total", "verdict=withhold"] == 0
    for tell in transaction.durable:
        tell()
    assert shown(meters)["optin_decisions_total", "verdict=withhold"] == 1
    assert shown(meters)["optin_decisions_total", "verdict=send"] == 0


class Refusing:
    """A ClickHouse that takes nothing a few times."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.streamer: MetricsStreamer | None = None
        self.refused: list[bool] = []

    def insert(self, rows: Sequence[Any]) -> None:
        """Refuse, or take all."""
        del rows
        assert self.streamer is not None
        self.refused.append(self.streamer.refused())
        if self.left:
            self.left -= 1
            raise Transient("not now")


def test_inserts_that_clickhouse_refuses_are_counted_and_tell_on_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each refused try counts. The worker is unready until ClickHouse answered, and after each refusal."""
    monkeypatch.setattr(metrics_streamer, "BACKOFF_S", 0.001)
    sink, meters = Refusing(2), exposition("metrics")
    finished = asyncio.Event()
    app = SimpleNamespace(consumer=SimpleNamespace(finish=lambda _: finished.set()))
    streamer = sink.streamer = MetricsStreamer(app, sink, 1, 0.01, meters=meters)
    health = Health()
    health.enter("ready")
    health.unready_while("clickhouse_refuses", streamer.refused)
    assert health.reasons() == ("clickhouse_refuses",)
    place = {"topic": "optin.permissions", "partition": 0}
    good = codec.encode(fact(f.PermissionDenied))
    records = [
        SimpleNamespace(**place, offset=number, key=b"ann", value=value, headers=(), timestamp=wall_ms())
        for number, value in enumerate((good, good, b"junk"))
    ]

    async def run() -> None:
        running = asyncio.create_task(streamer.run())
        await streamer.feed(SimpleNamespace(value=records))
        await finished.wait()
        running.cancel()

    asyncio.run(run())
    found = shown(meters)
    # Two refusals of the question at the start, its answer, and the batch.
    assert sink.refused == [True, True, True, False]
    assert health.reasons() == ()
    assert found["optin_insert_retries_total", ""] == 2
    assert found["optin_rows_inserted_total", ""] == 2
    assert found["optin_insert_seconds_count", ""] == 1
    assert found["optin_records_not_measured_total", ""] == 1


def test_meters_that_nobody_asks_forget() -> None:
    """Without an endpoint all measuring is an empty call."""
    FORGETFUL.add(c.REBALANCES)
    FORGETFUL.observe(c.FOLD, 1.0, lane="subjects")
