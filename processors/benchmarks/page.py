"""Shows results: as tables on the terminal, and as the generated part of docs/benchmarks.md.

`python -m processors.benchmarks.page RESULT.json COSTS.json` writes that part again, from a result and the
costs that a profile found, and keeps both beside the page.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from processors.benchmarks.suite import GOALS, MEASUREMENTS, Results

PAGE: Final = Path(__file__).parents[2] / "docs" / "benchmarks.md"
RESULT: Final = PAGE.with_suffix(".json")
BEGIN: Final = "<!-- figures: written by `make bench-docs` from docs/benchmarks.json -->"
END: Final = "<!-- end of figures -->"
LARGEST: Final = 3
CIRCUMSTANCES: Final = ("machine", "commit", "command", "profile")

Row = tuple[str, ...]

CONTESTANTS: Final = (
    "consent",
    "stock_faust",
    "raw_c",
    "raw_c_unchecked",
    "journeys",
    "subjects_10k",
    "subjects_1m",
)
WRITERS: Final = ("metrics", "raw_insert")
ORCHESTRATION: Final = ("journeys", "watchers", "campaign")


def rate_rows(results: Results) -> list[Row]:
    """What is measured as a rate: name, rate, CPU seconds per million, RSS."""
    rows: list[Row] = []
    for name in (*CONTESTANTS, *WRITERS, "recovery"):
        figures = results.get(name)
        if figures is not None:
            rate = next(figures[key] for key in ("events_s", "rows_s", "records_s") if key in figures)
            cpu = f"{figures['cpu_s_per_million']:.1f}"
            rows.append((name, f"{rate:,}", cpu, f"{figures['rss_mb']:,}"))
    return rows


def wait_rows(results: Results) -> list[Row]:
    """What is measured as a wait: name, p50, p99, max (ms)."""
    rows: list[Row] = []
    if "latency" in results:
        rows.append(("latency, low load", *_percentiles(results["latency"])))
    for phase in ("quiet", "news"):
        figures = results.get("watchers", {}).get(phase)
        if figures is not None:
            rows.append((f"others beside watchers, {phase}", *_percentiles(figures)))
    for role in ("journeys", "delivery"):
        for phase in ("quiet", "kill"):
            figures = results.get("revocation", {}).get(role, {}).get(phase)
            if figures is not None:
                rows.append((f"revocation, {role}, {phase}", *_percentiles(figures)))
    return rows


def _percentiles(figures: Mapping[str, float]) -> Row:
    return tuple(f"{figures[key]:,.1f}" for key in ("p50_ms", "p99_ms", "max_ms"))


def other_rows(results: Results) -> list[Row]:
    """Every figure that no other table shows: name, figure, value."""
    shown = {"events_s", "rows_s", "records_s", "cpu_s_per_million", "rss_mb", "p50_ms", "p99_ms", "max_ms"}
    rows: list[Row] = []
    for name, figures in results.items():
        if name in CIRCUMSTANCES or name in ORCHESTRATION:
            continue
        for key, value in figures.items():
            if (key in shown and name != "timers") or isinstance(value, dict):
                continue
            rows.append((name, key, _value(value)))
    return rows


def orchestration_rows(results: Results) -> list[Row]:
    """Every figure of journeys, watchers and campaigns that no other table shows: name, figure, value."""
    shown = {"events_s", "cpu_s_per_million", "rss_mb"}
    rows: list[Row] = []
    for name in ORCHESTRATION:
        for key, value in results.get(name, {}).items():
            if not isinstance(value, dict) and not (name == "journeys" and key in shown):
                rows.append((name, key, _value(value)))
    return rows


def goal_rows(results: Results) -> list[Row]:
    """The goals that the run can tell of: meaning, value, goal, whether it is met."""
    rows: list[Row] = []
    for goal in GOALS:
        value = goal.of(results)
        if value is not None:
            bound = f"{'≤' if goal.at_most else '≥'} {goal.goal:,g}"
            rows.append((goal.meaning, _value(value), bound, "met" if goal.met(value) else "missed"))
    return rows


TABLES: Final = (
    ("Rates", ("measured", "a second", "CPU s per million", "RSS MB"), rate_rows),
    ("Waits (ms)", ("measured", "p50", "p99", "max"), wait_rows),
    ("Goals", ("goal", "value", "bound", ""), goal_rows),
    ("Orchestration", ("measured", "figure", "value"), orchestration_rows),
    ("Other figures", ("measured", "figure", "value"), other_rows),
)
"""Title, columns and rows of each table, for the terminal and for the page."""


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    if isinstance(value, float):
        return f"{value:,.2f}" if value < 1_000 else f"{value:,.0f}"  # noqa: PLR2004 - digits that matter
    return f"{value:,}" if isinstance(value, int) else str(value)


def markdown(results: Results) -> str:
    """The generated part of the page."""
    told = results["machine"]
    circumstances = (
        f"`{results['command']}` at commit `{results['commit']}`, on {told['cores']} cores ({told['cpu']}),"
        f" Python {told['python']}, {told['system']}, load average {told['load_1m']} before the run."
    )
    parts = [circumstances]
    for title, columns, rows_of in TABLES:
        rows = rows_of(results)
        if rows:
            parts.append(f"### {title}\n\n{_table(columns, rows)}")
    costs = results.get("profile")
    if costs:
        rows = [(name, f"{share:.0%}") for name, share in costs.items()]
        largest = ", ".join(name for name, _ in rows[:LARGEST])
        title = f"### Where the consent role's time goes\n\nThe three largest costs: {largest}."
        parts.append(f"{title}\n\n{_table(('cost', 'share of samples'), rows)}")
    meanings = "\n".join(f"- `{name}`: {one.meaning}" for name, one in MEASUREMENTS.items())
    parts.append(f"### What was measured\n\n{meanings}")
    return "\n\n".join(parts)


def _table(columns: Row, rows: list[Row]) -> str:
    ruler = tuple("---" if index == 0 else "---:" for index in range(len(columns)))
    return "\n".join("| " + " | ".join(row) + " |" for row in (columns, ruler, *rows))


def filled(page: str, results: Results) -> str:
    """The page with its generated part written from results. Raises ValueError without the marks."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise ValueError(f"the page needs {BEGIN!r} and {END!r} once")
    return pattern.sub(lambda _: f"{BEGIN}\n\n{markdown(results)}\n\n{END}", page)


def main(argv: list[str]) -> None:
    """Keep a result and its costs beside the page, and write the page's figures from them."""
    result, costs = (json.loads(Path(name).read_text()) for name in argv)
    results = {**result, "profile": costs}
    RESULT.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text(filled(PAGE.read_text(), results))


if __name__ == "__main__":
    main(sys.argv[1:])
