"""A made-up log in the Taobao UserBehavior format, for machines that don't have the real one.

Like the real sample: about 88 rows a user over nine days, most of them views, sorted by user and then by
time, so that reading it in file order is out of order. Only `random.random` is used, which gives the same
numbers on every version of Python.

    python tests/support/generated_log.py FILE --users 114 --seed 1
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

START_S = 1_511_539_200  # 2017-11-25T00:00:00 in Shanghai
DAYS = 9
DAY_S = 86_400
SESSIONS_MAX = 20
ITEMS = 7_600
CATEGORIES = 1_100
DUPLICATED = 0.002

Line = tuple[int, int, int, str, int]
"""user, item, category, behaviour, unix seconds"""


def _session(user: int, start_s: int, draw: random.Random) -> Iterator[Line]:
    """Some minutes of looking around; a carted item is sometimes ordered soon, sometimes hours later."""
    at = start_s
    while draw.random() < 0.88:
        pause = draw.random()
        at += 5 + int(270 * pause * pause)
        item = 1 + int(draw.random() * ITEMS)
        row = (item, item % CATEGORIES)
        yield user, *row, "pv", at
        wish = draw.random()
        if wish < 0.025:
            yield user, *row, "fav", at + 2
        if not 0.025 <= wish < 0.095:
            continue
        yield user, *row, "cart", at + 3
        bought = draw.random()
        if bought < 0.12:
            yield user, *row, "buy", at + 60 + int(draw.random() * 1_800)
        elif bought < 0.35:
            yield user, *row, "buy", at + 3_600 + int(draw.random() * 14 * 3_600)


def lines(users: int = 114, seed: int = 1) -> Iterator[Line]:
    """All lines of a log, some of them twice."""
    for user in range(1, users + 1):
        draw = random.Random(seed * 1_000_003 + user)
        mine: list[Line] = []
        for _ in range(1 + int(draw.random() * SESSIONS_MAX)):
            # Most sessions lie between 9:00 and 23:30 of the local day.
            hour = 9 + 14.5 * draw.random() if draw.random() < 0.9 else 24 * draw.random()
            start = START_S + int(draw.random() * DAYS) * DAY_S + int(hour * 3_600)
            mine.extend(_session(user, start, draw))
        mine.extend([line for line in mine if draw.random() < DUPLICATED])
        yield from sorted(mine, key=lambda line: line[4])


def write(path: Path, users: int = 114, seed: int = 1) -> int:
    """Write a log; returns the number of its lines. The same arguments give the same bytes."""
    text = [",".join(map(str, line)) + "\n" for line in lines(users, seed)]
    path.write_text("".join(text), "ascii")
    return len(text)


def main() -> None:
    """Read the command line, write the file."""
    parser = argparse.ArgumentParser(description="Write a made-up log in the Taobao UserBehavior format.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--users", type=int, default=114)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    write(given.file, given.users, given.seed)


if __name__ == "__main__":
    main()
