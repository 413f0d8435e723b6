"""The benchmark of pushes runs to its end, loses none, and says so when one is lost.

The long form takes all providers, and Go's client where it can be had. Nothing here looks at how fast it was.
"""

from __future__ import annotations

import os

import pytest

from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV
from tests.providers.cost import page, shares
from tests.providers.cost.__main__ import ROLE, main
from tests.providers.cost.figures import Figures
from tests.providers.cost.rounds import CLIENTS, GO
from tests.support.providers import apns2_client
from tests.support.providers.part import Unavailable

LONG = os.environ.get("OPTIN_TEST_LONG") == "1"
NO_GO = "there is no Go on the path"
STACKS = (
    "run (/asyncio/runners.py:9);encode (/lib/pywebpush/__init__.py:7);derive_dh (/lib/http_ece/a.py:3) 6",
    "run (/lib/asyncio/runners.py:9);derive_key (/lib/http_ece/a.py:3);derive (/lib/other.py:3) 3",
    "run (/lib/asyncio/runners.py:9) 1",
    "run (/lib/asyncio/runners.py:9);select (/lib/python3/selectors.py:9) 90",
    "_worker (/lib/concurrent/futures/thread.py:90) 90",
)


def unavailable() -> None:
    """Stand in for a machine without Go."""
    raise Unavailable(NO_GO)


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_a_short_run_gives_every_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without Go its line says why, and the others are measured all the same."""
    for name in (KAFKA_ENV, CLICKHOUSE_ENV):
        monkeypatch.delenv(name, raising=False)
    if not LONG:
        monkeypatch.setattr(apns2_client, "binary", unavailable)
    try:
        status = main(["--quick"] if LONG else ["--quick", "--only", "apns"])
    except Unavailable as error:
        pytest.skip(str(error))
    printed = capsys.readouterr().out
    lines = {line.split("|")[1].strip(): line for line in printed.splitlines() if line.startswith("| ")}
    wanted = {one.title for one in CLIENTS if LONG or one.provider == "apns"}
    wanted |= {title for title, provider in ROLE.items() if LONG or provider == "apns"}
    (go,) = (one.title for one in CLIENTS if one.name == GO)

    assert status == 0, printed
    assert lines.keys() >= wanted
    assert "200 PushAccepted, 200 PushAttempted" in lines["our delivery role, APNs"]
    if not LONG:
        assert "not run" in lines[go]
        assert NO_GO in lines[go]


def figures(cpu_us: float, lost: int = 0) -> Figures:
    """A run of a thousand pushes that took two seconds."""
    return Figures(1_000, 1_000 - lost, cpu_us / 1_000, 2.0)


def test_the_best_round_counts_and_a_lost_push_in_any_is_told() -> None:
    """Lost is lost, however good the other rounds were."""
    rows = {"a": [figures(300.0), figures(200.0)], "b": [figures(100.0), figures(150.0, lost=2)]}

    assert page.best(rows["a"]).cpu_us == 200.0
    assert page.lost(rows) == {"b": 2}


@pytest.mark.parametrize(("role", "fcm", "verdicts"), [(129, 250, ["met"] * 2), (131, 251, ["missed"] * 2)])
def test_a_goal_is_met_up_to_its_bound(role: float, fcm: float, verdicts: list[str]) -> None:
    """The ratio is of one run."""
    rows = {
        page.STOCK: [figures(100.0)],
        "our delivery role, APNs": [figures(role)],
        "our sender, FCM": [figures(fcm)],
    }

    assert [line.rsplit(": ", 1)[1] for line in page.goals(rows)] == verdicts


def test_goals_and_table_do_without_lines_that_were_not_run() -> None:
    """One provider alone can be measured."""
    rows = {"our sender, Web Push": [figures(300.0)]}

    assert list(page.goals(rows)) == []
    assert list(page.table(rows, {"Go apns2": NO_GO}))[-1].count("|") == len(page.COLUMNS) + 1


def test_the_lines_of_goals_are_lines_of_the_table() -> None:
    """A goal of a line that was renamed would be silently left out."""
    titles = {one.title for one in CLIENTS} | ROLE.keys()

    assert {title for _, title, over, _ in page.GOALS for title in (title, over) if title} <= titles


def test_samples_are_shared_out_by_function_and_by_part() -> None:
    """One that waits costs nothing; the innermost frame that is known decides."""
    functions = dict(shares.by_function(STACKS))
    parts = dict(shares.by_part(STACKS, shares.ENCRYPTION))

    assert functions == {
        "derive_dh (http_ece/a)": 0.6,
        "derive (lib/other)": 0.3,
        "run (asyncio/runners)": 0.1,
    }
    assert parts == {"the elliptic curve": 0.6, "the rest of encryption": 0.3, shares.OTHER: 0.1}


def test_a_frame_without_a_place_is_named_as_it_is() -> None:
    """The sampler could not read it."""
    assert shares.short("[unknown]") == "[unknown]"
