"""A made-up log in the format of OTTO's recommender data set, with orders of several articles at once.

Whole numbers alone decide what happens and when, so the same numbers give the same bytes everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

START_MS = 1_659_304_800_025
MINUTE_MS = 60_000

Told = tuple[int, int, str]
"""aid, ts, type"""


def line(session: int, events: Iterable[Told]) -> str:
    """One line as the publisher writes it."""
    told = [{"aid": aid, "ts": at, "type": kind} for aid, at, kind in events]
    return json.dumps({"session": session, "events": told}, separators=(",", ":")) + "\n"


def lines(sessions: int = 60) -> Iterator[str]:
    """A session each: every few clicks a cart add, some time later an order of the last one to three adds.

    Some clicks are there twice.
    """
    for session in range(sessions):
        at, carted, events = START_MS + session * 61_007, list[int](), list[Told]()
        for step in range(20 + session):
            dice = (session * 7_919 + step * 104_729) % 1_009
            at += dice * dice % 211 * MINUTE_MS + dice
            aid = 1 + dice % 307
            events += [(aid, at, "clicks")] * (2 if dice % 101 == 0 else 1)
            if dice % 4 == 0:
                carted.append(aid)
                events.append((aid, at + 5_000, "carts"))
            if carted and dice % 5 == 0:
                at += dice % 37 * MINUTE_MS
                events += [(aid, at, "orders") for aid in carted[-(1 + dice % 3) :]]
                carted = carted[: -(1 + dice % 3)]
        yield line(session, sorted(events, key=lambda event: event[1]))


def write(path: Path, sessions: int = 60) -> None:
    """Write a log."""
    path.write_text("".join(lines(sessions)), "ascii")
