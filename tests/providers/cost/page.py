"""Shows what was measured: a table, the goals, and the largest costs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from processors.benchmarks import machine
from tests.providers.cost.figures import Figures

STOCK: Final = "stock aioapns"
COLUMNS: Final = ("", "CPU us a push", "pushes/s", "busy", "/ stock", "pushes", "")
GOALS: Final = (
    ("our delivery role by APNs / stock aioapns, CPU", "our delivery role, APNs", STOCK, 1.3),
    ("our sender by FCM, CPU us a push", "our sender, FCM", "", 250.0),
)
"""What it is, of which line, over which line (or as it is), at most."""
LARGEST: Final = 3

Rows = Mapping[str, list[Figures]]
"""A line's rounds."""
Costs = Mapping[str, Sequence[tuple[str, float]]]
"""What was profiled -> each cost and its share."""


def best(rounds: Sequence[Figures]) -> Figures:
    """The round that took the least CPU time: whatever disturbs adds to it."""
    return min(rounds, key=lambda one: one.cpu_us)


def lost(rows: Rows) -> dict[str, int]:
    """Lines that lost pushes in any round, and how many."""
    found = {title: sum(one.lost for one in rounds) for title, rounds in rows.items()}
    return {title: count for title, count in found.items() if count}


def table(rows: Rows, absent: Mapping[str, str]) -> Iterator[str]:
    """The lines of the table, in Markdown; `absent`: why a line has no figures."""
    yield _line(COLUMNS)
    yield _line(["---", *["---:"] * (len(COLUMNS) - 2), "---"])
    stock = best(rows[STOCK]).cpu_us if rows.get(STOCK) else None
    for title, rounds in rows.items():
        one = best(rounds)
        ratio = "" if stock is None else f"{one.cpu_us / stock:.2f}"
        spread = f"{min(o.cpu_us for o in rounds):.0f} to {max(o.cpu_us for o in rounds):.0f}"
        note = "; ".join(filter(None, (f"rounds {spread}" if len(rounds) > 1 else "", one.note)))
        yield _line(
            [
                *(title, f"{one.cpu_us:.0f}", f"{one.pushes_s:,.0f}", f"{one.busy:.0%}"),
                *(ratio, f"{one.pushes:,}", note),
            ]
        )
    for title, why in absent.items():
        yield _line([title, *["not run"] + [""] * (len(COLUMNS) - 3), why])


def goals(rows: Rows) -> Iterator[str]:
    """A sentence for each goal; nothing of one whose lines were not run."""
    for what, title, over, most in GOALS:
        if not rows.get(title) or (over and not rows.get(over)):
            continue
        value = best(rows[title]).cpu_us / (best(rows[over]).cpu_us if over else 1.0)
        verdict = "met" if value <= most else "missed"
        shown = f"{value:.2f}" if over else f"{value:.0f}"
        yield f"{what}: {shown}, at most {most:g}: {verdict}"


def largest(costs: Costs) -> Iterator[str]:
    """The largest costs of whatever was profiled."""
    for title, shares in costs.items():
        told = ", ".join(f"{name} {share:.0%}" for name, share in shares[:LARGEST])
        yield f"{title}: {told}"


def circumstances(load: float) -> str:
    """The machine, and how busy it was with other things before the run."""
    told: dict[str, Any] = machine.describe()
    return (
        f"{told['cores']} cores ({told['cpu'].strip()}), Python {told['python']}, {told['system']},"
        f" load average {load:.1f} before the run, {os.getloadavg()[0]:.1f} after, commit {machine.commit()}"
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
