"""The table of crash points is complete, and a point strikes exactly where it says."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.architecture.sources import ROOT, modules
from tests.support.awaits import Place, awaits, places, sources
from tests.support.crash_plan import BY_POINT, SITUATIONS, plan, wanted
from tests.support.crash_points import EXEMPT, POINTS, difference, named
from tests.support.faulty_worker import FAULT_ENV, HITS_ENV, MARKER, marked, read_faults

SOURCE: Final = """
import asyncio

async def numbers():
    yield await one()
    yield 2

async def one():
    return 1

async def work(lock, did):
    async with lock, asyncio.timeout(1):
        did(await asyncio.sleep(0, "slept"))
    async for number in numbers():
        did(number)
    return [await one() + await one()]
"""


def test_every_await_of_a_worker_has_a_point() -> None:
    """What is awaited in lane, agents, sender and sink is in the table, and the table names nothing else."""
    changed = difference(places(), POINTS)

    assert not changed, "\n".join(
        [
            *changed,
            "put what `python -m tests.support.crash_points` prints into tests/support/crash_points.py",
        ]
    )


def test_every_exception_is_about_a_point() -> None:
    """A side that no worker gets to is that of an existing point; all others have a role and a situation."""
    assert {point for point, _ in EXEMPT} <= POINTS.keys()
    assert BY_POINT.keys() <= POINTS.keys()
    assert set(BY_POINT.values()) <= SITUATIONS.keys()
    assert len(plan(1, wanted())) == 2 * len(POINTS) - len(EXEMPT)


def test_a_new_await_and_a_lost_one_are_found() -> None:
    """An await that the table lacks is told by its place, a point without an await by its name."""
    found = [found.place for found in awaits(ast.parse(SOURCE), "m")]
    known = named(found, {})
    gone = Place("m", "work", "was.here")

    assert difference(found, known) == []
    told = difference(found, {**dict(list(known.items())[:-1]), "old": gone})
    assert told[0] == "no point: m.work awaits one (2)"
    assert told[1].startswith("not in the code: old")
    assert len(told) == 2


def test_a_point_keeps_its_name_when_arguments_change() -> None:
    """What is called identifies an await, not what it is called with; new ones get a name of their own."""
    before = [f.place for f in awaits(ast.parse("async def f(a):\n await a.b(1)\n"), "p.m")]
    after = [f.place for f in awaits(ast.parse("async def f(a):\n await a.b(x=2)\n await a.b()\n"), "p.m")]

    assert named(before, {}) == {"m.f.b": Place("p.m", "f", "a.b")}
    assert list(named(after, {"mine": before[0]})) == ["mine", "m.f.b"]


def test_markers_stand_right_before_and_after_each_await() -> None:
    """A marked function gives what the plain one gives, and tells each place as it passes it."""
    points = named([found.place for found in awaits(ast.parse(SOURCE), "m")], {})
    passed: list[str] = []

    async def marker(point: str, side: str, value: Any = None) -> Any:
        passed.append(f"{point}@{side}")
        return value

    space: dict[str, Any] = {MARKER: marker}
    exec(compile(marked(ast.parse(SOURCE), "m", points), "m", "exec"), space)

    assert asyncio.run(space["work"](asyncio.Lock(), passed.append)) == [2]
    assert passed == [
        *("m.work.lock@before", "m.work.lock@after"),
        *("m.work.sleep@before", "m.work.sleep@after", "slept"),
        *("m.work.numbers@before", "m.numbers.one@before", "m.numbers.one@after", "m.work.numbers@after", 1),
        *("m.work.numbers@after", 2),
        *("m.work.one@before", "m.work.one@after", "m.work.one.2@before", "m.work.one.2@after"),
    ]


@pytest.mark.parametrize(
    "text", ["lane.nowhere@before:kill", "lane.commit.transact@beside:kill", "lane.commit.transact@after:end"]
)
def test_a_fault_that_can_never_strike_is_refused(text: str) -> None:
    """An unknown point, side or action is an error, not a quiet run."""
    assert read_faults("lane.commit.transact@after:kill:2; lane.run.wait@before:slow:20")
    with pytest.raises(ValueError, match="lane"):
        read_faults(text)


def test_a_process_kills_itself_at_its_point(tmp_path: Path) -> None:
    """The n-th hit strikes, in a module of the product; the file of hits tells so, the source does not."""
    program = (
        "import asyncio, os\n"
        "from tests.support import faulty_worker as w\n"
        "w.install(w.read_faults(os.environ[w.FAULT_ENV]), os.environ[w.HITS_ENV])\n"
        "from connectors.kafka.append import Appender\n"
        "class Producer:\n"
        "    async def stop(self): print('stopped', flush=True)\n"
        "async def main():\n"
        "    for _ in range(9):\n"
        "        appender = Appender('', ''); appender._producer = Producer()\n"
        "        await appender.close()\n"
        "asyncio.run(main())\n"
    )
    hits = tmp_path / "hits"
    env = {FAULT_ENV: "append.close.stop@after:kill:2", HITS_ENV: str(hits)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert done.stdout == b"stopped\nstopped\n"
    assert hits.read_text().splitlines() == [
        "append.close.stop@before",
        "append.close.stop@after",
        "strike append.close.stop@after:kill:2",
    ]


def test_the_product_knows_nothing_of_faults() -> None:
    """No module of the packages has a hook for them, so there is nothing that could be on by mistake."""
    assert not [path for path in modules() if MARKER in (ROOT / path).read_text()]
    assert {path.relative_to(ROOT) for _, path in sources()} <= set(modules())
