"""The expected result of `optin replay`, computed by other means.

Imports nothing of ours, on purpose: it was written from docs/reference/simulated-facts.md (whose tables it
reads) and docs/reference/journey-rule.md, and it goes about everything the slow, plain way: consent is
worked out afresh from all facts at each decision, quiet hours are searched minute by minute.

    python tests/support/recompute.py FILE --shop taobao --wait 3600 --amplify 1
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
EARLIEST = 946_771_200_000
LINE = re.compile(r"(\d{1,18}),(\d{1,18}),(\d{1,18}),(pv|cart|fav|buy),(\d{1,18})\r?\n?", re.ASCII)
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "simulated-facts.md"
TABLES: dict[str, list[tuple[str, int]]] = {
    name: [(outcome, int(tickets)) for outcome, tickets in re.findall(r"([^,]+) (\d+)(?:, |$)", line)]
    for name, line in re.findall(r"^\| `(\w+)` \| (.* \d+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
}
WINDOWS: dict[str, int | str] = {
    "rolling_day": DAY,
    "rolling_week": 7 * DAY,
    "rolling_month": 30 * DAY,
    "calendar_day": "%Y-%m-%d",
    "calendar_week": "%G-%V",
    "calendar_month": "%Y-%m",
}
COUNTRIES = {"CN": ["Asia/Shanghai", "Asia/Urumqi"], "DE": ["Europe/Berlin", "Europe/Busingen"]}
OTTO_TYPES = {"clicks": "pv", "carts": "cart", "orders": "buy"}
PRIVATE_FIRST = ["denied", "not_determined", "pre_granted", "provisional", "ephemeral", "authorized"]


@dataclass(frozen=True)
class Event:
    """A fact: when, what (a word of ours, no class of the product's), and its fields."""

    at: int
    kind: str
    about: dict[str, Any] = field(default_factory=dict)


@dataclass
class Waiting:
    """An open instance or a held candidate; `created` orders those of one kind."""

    due: int
    items: list[str]
    held: bool
    created: int


@dataclass(frozen=True)
class Shop:
    """What differs between the shops: how subjects are called, and where they live."""

    prefix: str
    zones: str
    country: str


TAOBAO, OTTO = Shop("tb", "time_zone", "CN"), Shop("otto", "time_zone_germany", "DE")


@dataclass(frozen=True)
class Person:
    """One simulated subject: its draws, and the facts that they make."""

    subject: str
    seed: str
    t0: int
    t1: int
    shop: Shop = TAOBAO

    def draw(self, name: str) -> int:
        text = f"{self.seed}\0{name}\0{self.subject}"
        return int(sha256(text.encode()).hexdigest()[:16], 16)

    def pick(self, name: str, table: str | None = None) -> str:
        outcomes = TABLES[table or name.removeprefix("a.").removeprefix("b.")]
        ticket, upto = self.draw(name) * 10_000 // 2**64, accumulate(tickets for _, tickets in outcomes)
        return next(outcome for (outcome, _), end in zip(outcomes, upto, strict=True) if ticket < end)

    def yes(self, name: str) -> bool:
        return self.pick(name) == "yes"

    def between(self, name: str, start: int, end: int) -> int:
        return start + self.draw(name) * (end - start) // 2**64

    def chosen(self, name: str) -> int:
        u = self.draw(name)
        during = self.t0 + (2 * u - 2**64) * (self.t1 - self.t0) // 2**64
        return self.t0 - HOUR if u < 2**63 else during

    def letters(self) -> str:
        return {"none": "", "one": "a", "two": "ab"}[self.pick("installations")]

    def facts(self) -> Iterator[Event]:
        for letter in self.letters():
            yield from self.installation_facts(letter)
        yield from self.preference_facts()
        if self.yes("erased"):
            yield Event(self.between("erased_at", self.t0, self.t1), "erased")

    def installation_facts(self, x: str) -> Iterator[Event]:
        start, end = self.t0 - DAY, self.t1
        if x == "b":
            start = self.between("b.start", start, end - DAY)
        later = start + DAY

        def event(at: int, kind: str, **about: Any) -> Event:
            return Event(at, kind, {"id": f"{self.subject}-{x}", **about})

        def word(at: int, permission: str, clock: str = "device") -> Event:
            return event(at, "permission", permission=permission, clock=clock)

        place = self.pick(f"{x}.place")
        zone = self.pick(f"{x}.time_zone", self.shop.zones) if place == "time_zone" else None
        country = self.shop.country if place == "country" else None
        yield event(start, "seen", zone=zone, country=country)
        if self.yes(f"{x}.seen_again"):
            if zone and self.yes(f"{x}.moved"):
                zone = self.pick(f"{x}.moved_time_zone", self.shop.zones)
            yield event(self.between(f"{x}.seen_again_at", later, end), "seen", zone=zone, country=country)
        answer = self.pick(f"{x}.permission", "permission_" + self.pick(f"{x}.platform"))
        if answer != "nothing":
            yield word(start + MINUTE, answer)
        if self.yes(f"{x}.observed"):
            yield word(start + HOUR, "not_determined" if answer == "nothing" else answer)
        if answer in {"authorized", "provisional"} and self.yes(f"{x}.revoked"):
            gone = self.between(f"{x}.revoked_at", later, end)
            yield word(gone, "denied")
            if self.yes(f"{x}.regranted"):
                yield word(self.between(f"{x}.regranted_at", gone, end), "authorized")
        if answer == "denied" and self.yes(f"{x}.changed_mind"):
            at = self.between(f"{x}.changed_mind_at", later, end)
            yield word(at, "authorized")
            yield event(at, "token", number=1)
        if self.yes(f"{x}.imported"):
            yield word(self.between(f"{x}.imported_at", later, end), "authorized", "import")
        if self.yes(f"{x}.server_refused"):
            yield word(self.between(f"{x}.server_refused_at", later, end), "denied", "server")
        if answer != "denied" and self.yes(f"{x}.token"):
            yield event(start + 2 * MINUTE, "token", number=1)
            if self.yes(f"{x}.token_dead"):
                dead = self.between(f"{x}.token_dead_at", later, end)
                yield event(dead, "token_dead", number=1)
                if self.yes(f"{x}.token_back"):
                    yield event(self.between(f"{x}.token_back_at", dead, end), "token", number=2)

    def preference_facts(self) -> Iterator[Event]:
        if self.pick("topic") == "unsubscribed":
            off = self.chosen("topic_at")
            yield Event(off, "topic", {"on": False})
            if self.yes("topic_back"):
                yield Event(self.between("topic_back_at", off, self.t1), "topic", {"on": True})
        if self.pick("frequency") == "chosen":
            count, window = self.pick("frequency_choice").split()
            yield Event(self.chosen("frequency_at"), "frequency", {"max": int(count), "window": window})
        if self.pick("quiet") == "chosen":
            start, end = self.pick("quiet_choice").split()
            yield Event(self.chosen("quiet_at"), "quiet", {"start": int(start), "end": int(end)})
        for kind, does, length, how, stop in (
            ("pause", "paused", ("three_days", 3 * DAY), "pause_end", "resumed"),
            ("suppression", "suppressed", ("two_days", 2 * DAY), "suppression_end", "released"),
        ):
            if self.yes(does):
                at, ending = self.chosen(f"{does}_at"), self.pick(how)
                yield Event(at, kind, {"on": True, "until": at + length[1] if ending == length[0] else None})
                if ending == stop:
                    yield Event(self.between(f"{stop}_at", at, self.t1), kind, {"on": False})


def local(at: int, zone: str, form: str) -> str:
    """What the clocks and calendars of a zone show."""
    return datetime.fromtimestamp(at // 1000, UTC).astimezone(ZoneInfo(zone)).strftime(form)


def first_open(now: int, start: int, end: int, zones: list[str]) -> int | None:
    """Try now, then the beginning of each minute of two days."""
    tries: list[int] = [now, *range(now // MINUTE * MINUTE + MINUTE, now + 2 * DAY, MINUTE)]
    for at in tries:
        clocks = [local(at, zone, "%H %M").split() for zone in zones]
        # How far into the quiet hours is this minute, against how long they last?
        far = [(int(hour) * 60 + int(minute) - start) % 1440 for hour, minute in clocks]
        if all(minutes >= (end - start) % 1440 for minutes in far):
            return at
    return None


def latest(facts: Iterable[Event], kind: str) -> Event | None:
    """The last fact of a kind; of two at once, the more private: topic off, pause or suppression on."""
    found = [fact for fact in facts if fact.kind == kind]
    return max(found, key=lambda e: (e.at, e.about.get("on") is (kind != "topic")), default=None)


def is_on(fact: Event | None, now: int) -> bool:
    """Whether a pause or suppression holds at `now`."""
    until = fact.about.get("until") if fact else None
    return fact is not None and bool(fact.about["on"]) and (until is None or now < until)


def by_time_and_privacy(word: Event) -> tuple[int, int]:
    """Sorts words about a permission: the one that counts is the last."""
    return word.at, -PRIVATE_FIRST.index(word.about["permission"])


def permission(facts: Iterable[Event]) -> str:
    """The permission of one installation, from what its clocks said last."""
    last: dict[str, Event] = {}
    for word in sorted((f for f in facts if f.kind == "permission"), key=by_time_and_privacy):
        last[word.about["clock"]] = word
    refusals = {c: w for c, w in last.items() if w.about["permission"] in PRIVATE_FIRST[:2]}

    def beats(clock: str, other: str) -> bool:
        margin = 0 if clock == other else 5 * MINUTE
        never = clock == "import" and other == "device"
        return not never and last[clock].at > last[other].at + margin

    grants = [c for c in last if c not in refusals and all(beats(c, other) for other in refusals)]
    if grants:
        first = "device" if "device" in grants else max(grants, key=lambda c: by_time_and_privacy(last[c]))
        return str(last[first].about["permission"])
    latest_refusal = max(refusals.values(), key=by_time_and_privacy, default=None)
    return "not_determined" if latest_refusal is None else str(latest_refusal.about["permission"])


def has_live_token(facts: Iterable[Event]) -> bool:
    """Whether the token registered last was not called dead at or after that."""
    current = latest(facts, "token")
    return current is not None and not any(
        f.kind == "token_dead" and f.about["number"] == current.about["number"] and f.at >= current.at
        for f in facts
    )


def counted(sends: list[int], now: int, window: str, zones: list[str]) -> int:
    """How many sends count in a window, in the zone that counts the most."""
    rule = WINDOWS[window]
    if isinstance(rule, int):
        return sum(s > now - rule for s in sends)
    return max((sum(local(s, z, rule) == local(now, z, rule) for s in sends) for z in zones), default=0)


def gate(
    subject: str, facts: list[Event], active: dict[str, int], sends: list[int], now: int
) -> tuple[str, int]:
    """The verdict at `now` (a reason is part of it) and when a hold ends; `facts` are those until now."""
    by_id: dict[str, list[Event]] = defaultdict(list)
    for fact in facts:
        by_id[fact.about.get("id", "")].append(fact)
    usable = [i for i in by_id if permission(by_id[i]) in {"authorized", "provisional"}]
    reachable = [i for i in usable if has_live_token(by_id[i])]
    zones: list[str] = []
    if reachable:
        place = latest(by_id[min(reachable, key=lambda i: (-active[i], i))], "seen")
        assert place is not None
        if place.about["country"]:
            zones = COUNTRIES[place.about["country"]]
        if place.about["zone"]:
            zones = [place.about["zone"]]
    quiet = latest(facts, "quiet") or Event(0, "quiet", {"start": 22 * 60, "end": 8 * 60})
    opens = first_open(now, quiet.about["start"], quiet.about["end"], zones) if zones else None
    topic, mine = latest(facts, "topic"), latest(facts, "frequency")
    sent = {window: counted(sends, now, window, zones) for window in WINDOWS}
    failed = {
        "suppressed": is_on(latest(facts, "suppression"), now),
        "permission": not usable,
        "token": not reachable,
        "topic": topic is not None and not topic.about["on"],
        "paused": is_on(latest(facts, "pause"), now),
        "unknown_time_zone": opens is None,
        "frequency_policy": sent["calendar_day"] >= 2 or sent["rolling_week"] >= 5,
        "frequency_choice": mine is not None and sent[mine.about["window"]] >= mine.about["max"],
    }
    for reason, fails in failed.items():
        if fails:
            return f"withhold {reason}", now
    bucket = int(sha256(f"cart_abandonment-2026\0{subject}".encode()).hexdigest()[:16], 16) % 10_000
    if bucket < 1_000:
        return "hold_out", now
    assert opens is not None
    return ("send" if opens == now else "hold"), opens


def replay_subject(
    subject: str, facts: list[Event], activity: list[Event], wait_ms: int, tally: Counter[str]
) -> None:
    """Follow one subject from its first fact to its last due, adding to `tally`."""
    waiting: list[Waiting] = []
    sends: list[int] = []
    active: dict[str, int] = {}

    def let_pass_until(end: float) -> None:
        while due := [w for w in waiting if w.due < end]:
            first = min(due, key=lambda w: (w.due, not w.held, w.created))
            waiting.remove(first)
            now, known = first.due, [f for f in facts if f.at <= first.due]
            tally["candidates"] += not first.held
            last_active = dict(active)
            for f in known:
                if f.kind == "seen":
                    last_active[f.about["id"]] = max(f.at, last_active.get(f.about["id"], f.at))
            verdict, until = "withhold goal_met", now
            if first.items:
                verdict, until = gate(subject, known, last_active, sends, now)
            tally[verdict] += 1
            if verdict == "hold":
                waiting.append(Waiting(until, first.items, True, first.created))
            if verdict == "send":
                sends.append(now)

    order = {"erased": 0, "buy": 1, "cart": 2}
    moments = [f for f in facts if f.kind == "erased"] + activity
    for moment in sorted(moments, key=lambda e: (e.at, order.get(e.kind, 3))):
        let_pass_until(moment.at)
        if moment.kind == "erased":
            tally["withhold erased"] += sum(w.held for w in waiting)
            tally["erased"] += sum(not w.held for w in waiting)
            return
        active[moment.about["id"]] = moment.at
        item = moment.about["item"]
        instance = next((w for w in waiting if not w.held), None)
        if moment.kind == "buy":
            for w in waiting:
                w.items = [i for i in w.items if i != item]
            if instance and not instance.items:
                tally["converted"] += 1
                waiting.remove(instance)
        elif moment.kind == "cart" and instance:
            instance.items = [*(i for i in instance.items if i != item), item][-100:]
            instance.due = moment.at + wait_ms
        elif moment.kind == "cart":
            tally["started"] += 1
            waiting.append(Waiting(moment.at + wait_ms, [item], False, tally["started"]))
    let_pass_until(float("inf"))


Rows = dict[int, set[tuple[int, int, str, int]]]
"""The distinct good rows of each user as (instant, item, behaviour, category)."""


def read_taobao(path: Path, now: int) -> Rows:
    """The rows of a Taobao log."""
    rows: Rows = defaultdict(set)
    with path.open(encoding="latin-1", newline="\n") as lines:
        for row in map(LINE.fullmatch, lines):
            if row and EARLIEST <= int(row[5]) * 1000 <= now:
                rows[int(row[1])].add((int(row[5]) * 1000, int(row[2]), row[4], int(row[3])))
    return rows


def read_otto(path: Path, now: int) -> Rows:
    """The rows of an OTTO log, by Taobao's words; there are no categories."""
    rows: Rows = defaultdict(set)
    for line in path.read_text("utf-8").splitlines():
        told = json.loads(line)
        for event in told["events"]:
            if EARLIEST <= event["ts"] <= now:
                rows[told["session"]].add((event["ts"], event["aid"], OTTO_TYPES[event["type"]], 0))
    return rows


def activity_facts(rows: set[tuple[int, int, str, int]], shop: Shop) -> int:
    """How many facts the rows of a user are: one each, but what OTTO sells at one instant is one order."""
    orders = [at for at, _, what, _ in rows if what == "buy"]
    return len(rows) - (len(orders) - len(set(orders)) if shop is OTTO else 0)


def recompute(
    path: Path,
    wait_s: int = 3600,
    amplify: int = 1,
    seed: str = "optin",
    now_s: int | None = None,
    shop: Shop = TAOBAO,
) -> dict[str, Any]:
    """Everything that a replay of `path` must find."""
    read = read_otto if shop is OTTO else read_taobao
    rows = read(path, 1000 * (int(time.time()) if now_s is None else now_s))
    instants = [row[0] for mine in rows.values() for row in mine]
    tally: Counter[str] = Counter()
    count = dict.fromkeys(("permissions", "tokens", "activity"), 0)
    for user, copy in ((user, copy) for user in rows for copy in range(amplify)):
        subject = f"{shop.prefix}-{user}-c{copy}" if copy else f"{shop.prefix}-{user}"
        person = Person(subject, seed, min(instants), max(instants), shop)
        facts, phone = list(person.facts()), f"{subject}-a" if person.letters() else ""
        activity = [Event(at, what, {"id": phone, "item": str(i)}) for at, i, what, _ in rows[user]]
        tokens = sum(f.kind.startswith("token") for f in facts)
        count["tokens"] += tokens
        count["permissions"] += len(facts) - tokens
        count["activity"] += activity_facts(rows[user], shop)
        replay_subject(subject, facts, activity, wait_s * 1000, tally)
    withheld = {v.split()[1]: n for v, n in sorted(tally.items()) if n and v.startswith("withhold")}
    journeys = {name: tally[name] for name in ("started", "converted", "candidates", "erased")}
    decisions = {"send": tally["send"], "hold_out": tally["hold_out"], "hold": tally["hold"]}
    return {
        "facts": count,
        "journeys": {**journeys, "open": 2 * tally["started"] - sum(journeys.values())},
        "decisions": {**decisions, "withhold": withheld},
        "deliveries": {"accepted": tally["send"], "rejected": 0, "withheld_late": 0, "unknown": 0},
    }


def main() -> None:
    """Read the command line, print the result as JSON."""
    parser = argparse.ArgumentParser(description="Recompute the result of `optin replay`.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--shop", choices=("taobao", "otto"), default="taobao", help="whose log it is")
    parser.add_argument("--wait", type=int, default=3600, help="seconds from the last cart add to the due")
    parser.add_argument("--amplify", type=int, default=1, help="how many times each user counts")
    parser.add_argument("--seed", default="optin", help="seed of the simulated facts")
    given = parser.parse_args()
    shop = OTTO if given.shop == "otto" else TAOBAO
    result = recompute(given.file, given.wait, given.amplify, given.seed, shop=shop)
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
