"""Device lives: a simulator that knows what each person really decided, and asks the core after each append.

    python -m tests.support.device_lives --lives 100000

A life has one or two apps on a phone whose clock may be behind, ahead, or jump; whose app may count its
words, be re-installed, be offline; with a backend and an import beside it. Nothing may allow marketing while
the latest decision that was acknowledged is a no. It counts such violations, and the share of people who are
silent at the end although their latest decision, acknowledged, is a yes.

What no rule could know is left out: a queue out of order of a device that doesn't count, a backend that
dates or appends its words late, a counter that begins anew in silence while the clock falls back.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ledger import facts as f
from ledger.consent import EMPTY, SKEW_MS, Consent, Installation
from ledger.consent_fold import LedgerFact, follow
from ledger.effective import Effective, effective
from tests.support.given import DAY, HOUR, MINUTE, NOON, fact

ALLOWED: Final = frozenset({"authorized", "provisional"})
STEPS: Final = 14
Rule = tuple[Callable[[Consent, LedgerFact], Consent], Callable[[Installation], Effective]]
TODAY: Final[Rule] = (follow, effective)


@dataclass(slots=True)
class Decision:
    """What a person decided, when in truth, and the fact that says so."""

    at: int
    yes: bool
    fact: f.SubjectFact


@dataclass(slots=True)
class Phone:
    """One app's installation on the phone."""

    app: str
    counts: bool
    tells_restarts: bool
    number: int = 0
    began: int = NOON
    dated: int = 0
    """The latest time that it said."""
    queue: list[Decision] = field(default_factory=list)


@dataclass(slots=True)
class Life:
    """One person's life, and what the core makes of it."""

    random: random.Random
    rule: Rule
    now: int = NOON
    error: int = 0
    """How far the phone's clock is from the truth (ms)."""
    steady: bool = False
    """Whether the clock stays right from now on."""
    offset: int = 0
    consent: Consent = EMPTY
    heard: dict[str, list[Decision]] = field(default_factory=dict)
    log: list[tuple[str, Decision]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def append(self, app: str, decision: Decision) -> None:
        """Append a fact, fold it, and look whether what counts may count."""
        self.now += self.random.choice([0, 1, 40])
        if decision.fact.occurred_at > self.now + SKEW_MS:
            return  # a dead letter, which withholds marketing by itself
        fold, counts = self.rule
        self.consent = fold(self.consent, (decision.fact, "permissions", self.offset, self.now))
        self.offset += 1
        self.heard.setdefault(app, []).append(decision)
        self.log.append((app, decision))
        word = counts(self.consent.installations[f"{app}/phone"])
        if word.permission in ALLOWED and not self.latest(app).yes:
            self.violations.append(f"{app}: {word} although the latest decision is {self.latest(app)}")

    def latest(self, app: str) -> Decision:
        """The person's latest decision, in truth, of those that were acknowledged."""
        return max(self.heard[app], key=lambda one: (one.at, not one.yes))

    def said(self, phone: Phone, *, yes: bool) -> Decision:
        """What an app says of the state of the operating system."""
        phone.number += 1
        numbers = {"sequence": phone.number} if phone.counts else {}
        if phone.counts and phone.tells_restarts:
            numbers["counter_since"] = phone.began
        at = self.now + self.error
        phone.dated = max(phone.dated, at)
        permission = "authorized" if yes else self.random.choice(["denied", "not_determined"])
        kind = f.PermissionObserved
        return Decision(self.now, yes, fact(kind, at, app=phone.app, permission=permission, **numbers))

    def step(self, phone: Phone) -> None:
        """Something happens: a decision, a clock, an installation, a connection."""
        self.now += self.random.choice([MINUTE, 7 * MINUTE, HOUR, DAY])
        draw = self.random.random()
        if draw < 0.5:
            phone.queue.append(self.said(phone, yes=self.random.random() < 0.5))
        elif draw < 0.6:
            if not self.steady:
                self.error = self.random.choice([0, 0, 4 * MINUTE, -10 * MINUTE, -2 * DAY, -4_000 * DAY])
        elif draw < 0.7:
            # A bare counter that begins anew under a clock that falls back looks like a queue that is late.
            if phone.tells_restarts or not phone.counts or self.now + self.error > phone.dated:
                self.steady |= phone.counts and not phone.tells_restarts
                phone.number, phone.queue, phone.began = 0, [], self.now + self.error
                phone.queue.append(self.said(phone, yes=False))
        elif draw < 0.85:
            self.backend(phone.app, yes=self.random.random() < 0.5)
        elif draw < 0.9:
            listed = self.now - self.random.choice([0, DAY, 30 * DAY])
            yes = self.random.random() < 0.7
            self.append(
                phone.app, Decision(listed, yes, self.word(phone.app, listed, "import:list", yes=yes))
            )
        elif self.log:
            app, copied = self.random.choice(self.log)
            self.append(app, copied)
        if self.random.random() < 0.7:
            self.flush(phone)

    def backend(self, app: str, *, yes: bool) -> None:
        """A person decides elsewhere; the backend says so at once, its clock nearly right."""
        dated = self.now + self.random.choice([0, -MINUTE, MINUTE])
        self.append(app, Decision(self.now, yes, self.word(app, dated, "server:crm", yes=yes)))

    def word(self, app: str, at: int, source: str, *, yes: bool) -> f.SubjectFact:
        """What a backend or an import says."""
        permission = "authorized" if yes else "denied"
        return fact(f.PermissionObserved, at, app=app, source=source, permission=permission)

    def flush(self, phone: Phone) -> None:
        """The connection is back: what waited goes out, of a device that counts in any order."""
        if phone.counts and self.random.random() < 0.3:
            self.random.shuffle(phone.queue)
        for decision in phone.queue:
            self.append(phone.app, decision)
        phone.queue = []


def live(seed: int, rule: Rule = TODAY) -> Life:
    """One life, all of it drawn from its seed."""
    drawn = random.Random(seed)
    life = Life(drawn, rule)
    life.error = drawn.choice([0, 0, 0, 4 * MINUTE, -10 * MINUTE, -2 * DAY])
    apps = ["shop", "news"][: drawn.choice([1, 1, 2])]
    phones = [Phone(app, drawn.random() < 0.6, drawn.random() < 0.5) for app in apps]
    for _ in range(STEPS):
        life.step(drawn.choice(phones))
    for phone in phones:
        life.flush(phone)
    return life


def silenced(life: Life) -> Counter[str]:
    """Installations whose person said yes last, and how many of them may not be pushed to."""
    found: Counter[str] = Counter()
    for app in life.heard:
        if life.latest(app).yes:
            word = life.rule[1](life.consent.installations[f"{app}/phone"])
            found["yes"] += 1
            found["silenced"] += word.permission not in ALLOWED
    return found


def main() -> int:
    """Live many lives; 1 if one had a violation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    wanted = parser.parse_args()
    found: Counter[str] = Counter()
    for seed in range(wanted.first, wanted.first + wanted.lives):
        life = live(seed)
        found.update(silenced(life))
        for violation in life.violations[:1]:
            found["violations"] += 1
            print(f"life {seed}: {violation}")
    share = found["silenced"] / max(found["yes"], 1)
    print(
        f"{wanted.lives:,} lives, {found['violations']:,} with a push after an acknowledged no;"
        f" {found['silenced']:,} of {found['yes']:,} who said yes last are silent ({share:.1%})"
    )
    return 1 if found["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
