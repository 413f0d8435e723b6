"""The catalogue is the only place of metrics, all of it is used, and alert rules speak of nothing else."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from processors.telemetry import catalogue
from processors.telemetry.catalogue import CATALOGUE, DEAD_LETTER_REASONS, ROLES
from processors.telemetry.metric import Counter, Gauge, Histogram, Metric
from processors.wiring import ROLES as RUNNING
from tests.architecture.sources import ROOT, imported, modules

KNOWS_PROMETHEUS: Final = "processors/telemetry/exposition.py"
DEFINES_METRICS: Final = "processors/telemetry/catalogue.py"
KINDS: Final = frozenset(kind.__name__ for kind in (Metric, Counter, Gauge, Histogram))
METRIC: Final = "processors.telemetry.metric"
ALERTS: Final = ROOT / "deploy/prometheus/alerts.yaml"
SUFFIXES: Final = ("_bucket", "_sum", "_count")
PROMTOOL_S_MAX: Final = 60

REASONS_AT: Final = (
    ("connectors/codec.py", r'Poison\(\s*"(\w+)"'),
    ("ledger/admission.py", r'return \(?\s*"(\w+)", f?"'),
    ("ledger/admission.py", r'^\s+"(\w+)",\n\s+"the '),
    ("ledger/consent_fold.py", r'"(too_many_\w+)"'),
    ("ledger/time_zones.py", r'return "(\w+)", f?"'),
    ("ledger/unreadable.py", r'WRONG_TOPIC: Final = "(\w+)"'),
    ("processors/agents/intake.py", r'Refused\(record, "(\w+)"'),
    ("processors/agents/failed_steps.py", r'^[A-Z_]+: Final = "(\w+)"'),
    ("processors/agents/subject_rows.py", r'Refused\((?:item\.)?record, "(\w+)"'),
)
"""Where reasons of dead letters are words in the code, and how they look there."""
NEVER_READ: Final = {"unencodable"}
"""Reasons for which a fact is not written in the first place."""


def rows() -> dict[str, Metric]:
    """The catalogue's constants by their names."""
    return {name: value for name, value in vars(catalogue).items() if isinstance(value, Metric)}


def built(tree: ast.AST) -> set[str]:
    """The kinds of metric that are made in a module."""
    if METRIC not in imported(tree):
        return set()
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {func.id for func in calls if isinstance(func, ast.Name)} & KINDS


def used(tree: ast.AST) -> set[str]:
    """Names in capitals that are taken from some module: `c.REBALANCES`."""
    names = (node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {name for name in names if name.isupper()}


def test_only_one_module_knows_the_library_of_prometheus() -> None:
    """All others speak to the port, so that nothing is measured past the catalogue."""
    knowing = [
        path.as_posix()
        for path in modules()
        if any(name.startswith("prometheus_client") for name in imported(parsed(path)))
    ]
    assert knowing == [KNOWS_PROMETHEUS]


def test_only_the_catalogue_makes_metrics() -> None:
    """A metric that is made elsewhere is in no reference page."""
    assert [path.as_posix() for path in modules() if built(parsed(path))] == [DEFINES_METRICS]


def test_a_metric_that_is_made_elsewhere_is_found() -> None:
    """The rule sees one inside a function."""
    assert built(ast.parse(f"from {METRIC} import Gauge\ndef late(): return Gauge(name='optin_x')\n")) == {
        "Gauge"
    }


def test_every_metric_is_measured_somewhere() -> None:
    """A row that nobody uses explains what is not there."""
    others = [path for path in modules() if path.as_posix() != DEFINES_METRICS]
    assert rows().keys() - set().union(*(used(parsed(path)) for path in others)) == set()


def test_the_catalogue_holds_all_its_rows_and_knows_all_roles() -> None:
    """Each constant is a row; each role that runs has metrics."""
    assert tuple(rows().values()) == CATALOGUE
    assert set(ROLES) == set(RUNNING)


def test_every_reason_of_a_dead_letter_is_a_label() -> None:
    """What the code says in its own words is what the metric counts under."""
    found: set[str] = set()
    for path, pattern in REASONS_AT:
        here = set(re.findall(pattern, (ROOT / path).read_text(), re.MULTILINE))
        assert here, f"{pattern} finds nothing in {path} any more"
        found |= here
    assert found - NEVER_READ == set(DEAD_LETTER_REASONS) - {"other"}, "mend DEAD_LETTER_REASONS"


def parsed(path: Path) -> ast.Module:
    """A module of ours as a tree."""
    return ast.parse((ROOT / path).read_text())


def rules() -> list[dict[str, Any]]:
    """All alert rules."""
    document = yaml.safe_load(ALERTS.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def unknown(expression: str, known: Mapping[str, Metric]) -> set[str]:
    """Names of metrics in an expression that are not in the catalogue; label values don't count."""
    found = set(re.findall(r"\boptin_\w+", re.sub(r'"[^"]*"', "", expression)))
    missing = set()
    for name in found:
        family = next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name)
        if name not in known and not isinstance(known.get(family), Histogram):
            missing.add(name)
    return missing


NAMED: Final = {metric.name: metric for metric in CATALOGUE}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_speaks_of_metrics_that_exist(rule: dict[str, Any]) -> None:
    """In its expression and in its advice; it says how urgent it is and what to do."""
    for text in (rule["expr"], *rule["annotations"].values()):
        assert unknown(text, NAMED) == set()
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "action"}


@pytest.mark.parametrize(
    "expression", ["optin_raedy == 0", "optin_ready_count > 1", "rate(optin_fold_seconds[5m])"]
)
def test_an_expression_of_a_metric_that_does_not_exist_is_found(expression: str) -> None:
    """A misspelt name, a part that this kind has not, and a histogram without its part."""
    known = {name: metric for name, metric in NAMED.items() if name != "optin_fold_seconds"}
    assert unknown(expression, known)


def test_what_must_be_alerted_has_a_rule() -> None:
    """Lag, watchdog, dead letters, misplaced facts, revocation latency and unready workers have a rule."""
    everything = " ".join(rule["expr"] for rule in rules())
    for name in (
        *("optin_input_lag_records", "optin_since_progress_seconds", "optin_dead_letters_total"),
        *("optin_misplaced_facts_total", "optin_revocation_latency_seconds_bucket", "optin_ready"),
    ):
        assert name in everything


FIRING: Final = """
rule_files: [{alerts}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'optin_ready{{role="journeys", instance="a"}}', values: '0x40'}}
      - {{series: 'optin_ready{{role="delivery", instance="b"}}', values: '1x40'}}
      - {{series: 'optin_ready{{role="metrics", instance="c"}}', values: '1x40'}}
      - {{series: 'optin_input_lag_records{{role="journeys", topic="t", instance="a"}}', values: '20000x40'}}
      - {{series: 'optin_since_progress_seconds{{role="journeys", instance="a"}}', values: '31x40'}}
      - {{series: 'optin_rebalances_total{{role="journeys", instance="a"}}', values: '2 1 2 1 2 1 2 1x33'}}
      - {{series: 'optin_unready{{role="metrics", reason="clickhouse_refuses"}}', values: '1x40'}}
      - {{series: 'optin_unsettled_lane{{role="journeys", lane="subjects"}}', values: '0x25 1x15'}}
      - {{series: 'optin_settled_partitions_total{{role="journeys", lane="links"}}', values: '0x25 1x15'}}
      - {{series: 'optin_failed_steps_total{{role="journeys", lane="a", step="fire"}}', values: '0x25 1x15'}}
      - {{series: 'optin_dead_letters_total{{role="journeys", reason="empty"}}', values: '0x25 1x15'}}
      - {{series: 'optin_misplaced_facts_total{{role="journeys", topic="t"}}', values: '0x25 1x15'}}
      - {{series: 'optin_revocation_latency_seconds_bucket{{role="journeys", le="5"}}', values: '0x40'}}
      - {{series: 'optin_revocation_latency_seconds_bucket{{role="journeys", le="10"}}', values: '0+9x40'}}
      - {{series: 'optin_revocation_latency_seconds_bucket{{role="journeys", le="+Inf"}}', values: '0+9x40'}}
      - {{series: 'optin_barrier_timeouts_total{{role="delivery"}}', values: '0x25 1x15'}}
      - {{series: 'optin_pushes_total{{role="delivery", outcome="unknown"}}', values: '0x25 20x15'}}
      - {{series: 'optin_push_retries_total{{role="delivery", reason="credential"}}', values: '0x25 1x15'}}
      - {{series: 'optin_provider_answers_total{{answer="unlisted_service"}}', values: '0x25 1x15'}}
      - {{series: 'optin_provider_pause_seconds{{role="delivery", provider="fcm"}}', values: '0x10 60x30'}}
    promql_expr_test:
      - expr: 'count by (alertname) (ALERTS{{alertstate="firing"}})'
        eval_time: 30m
        exp_samples: [{samples}]
"""


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (package prometheus) is not installed")
def test_every_alert_is_valid_and_fires(tmp_path: Path) -> None:
    """Promtool takes the rules, and each one fires over series that show what it is about."""
    samples = ", ".join(
        f"{{labels: '{{alertname=\"{rule['alert']}\"}}', value: 1}}"
        for rule in sorted(rules(), key=lambda rule: str(rule["alert"]))
    )
    test = tmp_path / "firing.yaml"
    test.write_text(FIRING.format(alerts=ALERTS, samples=samples))
    for command in (["check", "rules", str(ALERTS)], ["test", "rules", str(test)]):
        ran = subprocess.run(
            ["promtool", *command], capture_output=True, text=True, timeout=PROMTOOL_S_MAX, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
