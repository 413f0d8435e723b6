"""Says what is wrong after a simulation, from its topics, hand-overs and instants alone.

The simulation knows every instant, so the promise about revocations is judged exactly.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from typing import Any, Final

from tests.simulation.evidence import EMPTY, Entry, Ledger, home, latest_rows, read_plainly
from tests.simulation.world import World
from tests.support.link_oracle import wrong_links
from tests.support.oracle import LINKS, OUTCOMES, fold, may_push

DAY_MS: Final = 86_400_000
LEASE_S: Final = 10.0
MARKED: Final = {"CartUpdated", "OrderPlaced", "PushOpened", "ItemSaved"}
RECENT_MAX: Final = 16
MARKS_MAX: Final = 16
MARKS_PLACE: Final = 8
"""Where a consent row keeps what could not be read."""
TOPIC: Final = "carts"
CAPS_MS: Final = {DAY_MS: 2, 7 * DAY_MS: 5}
WINDOWS_MS: Final = {"rolling_day": DAY_MS, "rolling_week": 7 * DAY_MS, "rolling_month": 30 * DAY_MS}
ALLOWANCE_S: Final = 1e-6
GIVEN_BACK: Final = frozenset({"PushRejected", "PushWithheldLate"})
"""Outcomes after which surely nobody was shown anything."""


def judge(world: World) -> list[str]:
    """What is wrong, as sentences; empty when all promises hold."""
    found = [] if world.settled_at is not None else ["it does not come to rest: a step or a fact is lost"]
    found += world.loop.failures
    ledger = Ledger(world)
    found += ledger.objections
    found += link_objections(ledger)
    found += consent_objections(world, ledger)
    decisions = Decisions(world)
    found += decisions.objections(ledger)
    found += delivery_objections(world, ledger, decisions)
    return found


def consent_objections(world: World, ledger: Ledger) -> list[str]:
    """What is wrong with the rows of both roles."""
    found = []
    journeys = latest_rows(world, "optin.journeys-subjects-changelog")
    delivery = latest_rows(world, "optin.delivery-consent-changelog")
    for partition, key in [*journeys, *delivery]:
        if key[:1] != b"\x01" and home(key, ledger.partitions) != partition:
            found.append(f"{key!r} is folded on partition {partition}, where it does not belong")
    for subject, entries in ledger.of.items():
        key = subject.encode()
        place = home(key, ledger.partitions), key
        row = ledger.consent_of(subject)
        mine = journeys.get(place, [1, EMPTY])
        if mine[1][:7] != row:
            found.append(f"{subject}: the journeys row is not the fold of its facts")
        theirs = (delivery.get(place) or [None])[0] or [1, EMPTY, {}]
        if theirs[1][:7] != row:
            found.append(f"{subject}: the delivery row is not the fold of its facts")
        if {name: tuple(address) for name, address in theirs[2].items()} != addresses(row, entries):
            found.append(f"{subject}: the addresses are not those of its live tokens")
        found += unreadable_objections(subject, ledger, mine[1], theirs[1])
        marks = {mark for entry in entries if entry.name in MARKED for mark in marks_of(entry)}
        if row[6] is None and 0 < len(marks) <= RECENT_MAX and set(mine[3] if len(mine) > 3 else ()) != marks:
            found.append(f"{subject}: activity is missing from its row")
    return found


def unreadable_objections(subject: str, ledger: Ledger, *rows: list[Any]) -> list[str]:
    """Whether both roles know of the subject's bad records, which are still open: nobody settles any here."""
    wanted = [] if rows[0][6] is not None else ledger.unreadable[subject][:MARKS_MAX]
    return [
        f"{subject}: the row's marks are {row[8:9]}, not those of {wanted}"
        for row in rows
        if [one[0] for one in (row[8] if len(row) > MARKS_PLACE else ())] != wanted
    ]


def link_objections(ledger: Ledger) -> list[str]:
    """Whether the links that are told are those that follow from the claims."""
    links = [e.plain[:3] for entries in ledger.of.values() for e in entries if e.name in LINKS]
    return wrong_links([claim.plain[:3] for claim in ledger.claims], links)


def marks_of(entry: Entry) -> list[int]:
    """What a row keeps of an activity fact; of an order also what stands for the order itself."""
    names = [entry.fields["event_id"]]
    if entry.name == "OrderPlaced":
        names.append(entry.fields["order_id"])
    return [int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") for name in names]


def addresses(row: list[Any], entries: list[Entry]) -> dict[str, tuple[str, str]]:
    """Token id -> (provider, token) of the latest registered token of each installation, where live."""
    live = set()
    for installation in row[0].values():
        registered = [token for token in installation[8] if token[1] > installation[10]]
        if registered and (last := max(registered, key=lambda t: (t[1], t[0])))[1] > last[2]:
            live.add(last[0])
    told = {}
    for entry in entries:
        if entry.name == "TokenRegistered":
            provider, token = entry.fields["provider"], entry.fields["token"]
            told[hashlib.sha256(f"{provider}:{token}".encode()).hexdigest()[:32]] = provider, token
    return {name: address for name, address in told.items() if name in live}


class Decisions:
    """Journeys and decisions as a read_committed reader sees them."""

    def __init__(self, world: World) -> None:
        self.chains: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.started: dict[str, dict[str, Any]] = {}
        self._ended: defaultdict[str, list[str]] = defaultdict(list)
        self._events: Counter[str] = Counter()
        for record in world.broker.committed("optin.decisions"):
            name, fields = read_plainly(record) or ("", {})
            self._events[fields["event_id"]] += 1
            if name == "JourneyStarted":
                self.started[fields["instance"]] = fields
            elif name == "JourneyEnded":
                self._ended[fields["instance"]].append(fields["outcome"])
            else:
                self.chains[fields["decision_id"]].append(fields)

    @property
    def sends(self) -> list[dict[str, Any]]:
        """All decisions to send."""
        return [chain[-1] for chain in self.chains.values() if chain[-1]["verdict"] == "send"]

    def objections(self, ledger: Ledger) -> list[str]:
        """What is wrong with them."""
        found = [f"decided event {event} is there {n} times" for event, n in self._events.items() if n != 1]
        decided = Counter(chain[0]["instance"] for chain in self.chains.values())
        for instance in self.started.keys() | self._ended.keys():
            outcomes = self._ended[instance]
            if len(outcomes) != 1 or instance not in self.started:
                found.append(f"instance {instance} ended {len(outcomes)} times")
            elif decided[instance] != (outcomes[0] == "completed"):
                found.append(f"instance {instance} ended {outcomes[0]} with {decided[instance]} candidates")
        for decision, chain in self.chains.items():
            if [d["revision"] for d in chain] != list(range(len(chain))):
                found.append(f"decision {decision} has the revisions {[d['revision'] for d in chain]}")
            if [d["verdict"] == "hold" for d in chain] != [True] * (len(chain) - 1) + [False]:
                found.append(f"decision {decision} has not exactly one final revision, at its end")
        found += self._lost_triggers(ledger)
        for send in self.sends:
            if send["category"] == "marketing":
                cited = {"optin.permissions": send["permissions_next"], "optin.tokens": send["tokens_next"]}
                row = ledger.consent_of(send["subject"], below=cited)
                if not all(may_push(row, f"{send['app']}/{name}") for name in send["installations"]):
                    found.append(f"decision {send['decision_id']} sends without permission")
                if any(at < send["permissions_next"] for at in ledger.unreadable[send["subject"]]):
                    found.append(f"decision {send['decision_id']} sends although a record could not be read")
                found += self._over_cap(send, row)
        return found

    def _lost_triggers(self, ledger: Ledger) -> list[str]:
        begun = {(fields["subject"], fields["journey"]) for fields in self.started.values()}
        found = []
        for subject, entries in ledger.of.items():
            names = {entry.name for entry in entries}
            carted = {entry.fields["change"] for entry in entries if entry.name == "CartUpdated"}
            if "SubjectErased" in names:
                continue
            if carted == {"added"} and "OrderPlaced" not in names and (subject, "cart") not in begun:
                found.append(f"{subject}: a cart began no journey")
            if "ItemSaved" in names and (subject, "saved") not in begun:
                found.append(f"{subject}: a saved item began no journey")
        return found

    def _over_cap(self, send: dict[str, Any], row: list[Any]) -> list[str]:
        limits = [*CAPS_MS.items()]
        if row[2] is not None:
            limits.append((WINDOWS_MS[row[2][2]], row[2][1]))
        instants = [
            other["occurred_at"]
            for other in self.sends
            if other["category"] == "marketing" and other["subject"] == send["subject"]
        ]
        at = send["occurred_at"]
        return [
            f"{send['subject']}: more than {most} pushes within {window} ms"
            for window, most in limits
            if sum(at - window < other <= at for other in instants) > most
        ]


def delivery_objections(world: World, ledger: Ledger, decisions: Decisions) -> list[str]:
    """What is wrong with outcomes and hand-overs."""
    found: list[str] = []
    outcomes: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    attempts: dict[str, float] = {}
    push_of: dict[str, tuple[str, str]] = {}
    events: Counter[str] = Counter()
    passed: Counter[tuple[str, str]] = Counter()
    for record in world.broker.committed("optin.deliveries"):
        name, fields = read_plainly(record) or ("", {})
        events[fields["event_id"]] += 1
        where = push_of[fields["push_id"]] = fields["decision_id"], fields["installation"]
        if name in OUTCOMES:
            outcomes[where].append(name)
            if fields.get("next_installation"):
                passed[where[0], fields["next_installation"]] += 1
        elif name == "PushAttempted":
            assert record.stretch is not None
            attempts.setdefault(fields["push_id"], record.stretch.marked_at)
    found += [f"delivery event {event} is there {n} times" for event, n in events.items() if n != 1]
    sends = {send["decision_id"]: send for send in decisions.sends}
    wanted = {(name, installation) for name, send in sends.items() for installation in send["installations"]}
    if wanted & passed.keys():
        found.append("a push was passed on to an installation that was chosen already")
    wanted |= passed.keys()
    perhaps_shown = Counter(
        where[0] for where, names in outcomes.items() for name in names if name not in GIVEN_BACK
    )
    marketing = {name for name, send in sends.items() if send["category"] == "marketing"}
    found += [f"decision {name} may have been shown twice" for name in marketing if perhaps_shown[name] > 1]
    found += [f"push {where} was passed on {n} times" for where, n in passed.items() if n > 1]
    found += [
        f"push {where} was passed on, and is no marketing" for where in passed if where[0] not in marketing
    ]
    for where in wanted | outcomes.keys():
        if len(outcomes[where]) != 1 or where not in wanted:
            found.append(f"push {where} has the outcomes {outcomes[where]}")
    # A provider that is away refuses pushes without having seen them.
    told = {"PushAccepted"} if world.scenario.outage else {"PushAccepted", "PushRejected"}
    handed = Counter(hand_over.push_id for hand_over in world.hand_overs)
    for push, times in handed.items():
        send = sends[push_of[push][0]] if push in push_of else None
        if times != 1 and (send is None or send["category"] == "marketing"):
            found.append(f"push {push} was handed over {times} times")
        if outcomes[push_of.get(push, ("", ""))] == ["PushWithheldLate"]:
            found.append(f"push {push} was handed over and is called withheld")
    for push, where in push_of.items():
        if told & set(outcomes[where]) and push not in handed:
            found.append(f"push {push} has an outcome and was never handed over")
    for hand_over in world.hand_overs:
        if attempts.get(hand_over.push_id, 1e12) > hand_over.at:
            found.append(f"push {hand_over.push_id} was handed over before its attempt was committed")
        else:
            decision, installation = push_of[hand_over.push_id]
            found += promise_objections(world, ledger, sends[decision], installation, hand_over)
    return found


def promise_objections(
    world: World, ledger: Ledger, send: dict[str, Any], installation: str, hand_over: Any
) -> list[str]:
    """A revocation acknowledged before the send's read barrier began always beats that send."""
    subject, key = send["subject"], f"{send['app']}/{installation}"
    words = [e for e in ledger.of[subject] if e.record.topic == "optin.permissions"]
    if world.scenario.by_events:
        now = send["occurred_at"]
        known = [entry.plain for entry in words if entry.merged_ms <= now]
        states = [fold(known)]
    else:
        partition = home(subject.encode(), ledger.partitions)
        # One asked for at the very moment of the hand-over is that of the decisions behind it.
        began = max(
            (
                ask.at
                for ask in world.asks
                if (ask.worker, ask.partition) == (hand_over.worker, partition) and ask.at < hand_over.at
            ),
            default=-1e12,
        )
        if began < hand_over.at - LEASE_S - ALLOWANCE_S:
            return [f"push {hand_over.push_id} was handed over without a barrier within the lease"]
        # What the sender may have seen: everything known when the barrier began, and any more until now.
        read = max((e.record.offset + 1 for e in words if e.known_at <= began), default=0)
        more = [e.record.offset + 1 for e in words if e.record.offset >= read and e.known_at <= hand_over.at]
        states = [fold([e.plain for e in words if e.record.offset < cut]) for cut in (read, *more)]
    if all(forbids(state, key, send["category"]) for state in states):
        return [f"push {hand_over.push_id} was handed over after a revocation"]
    return []


def forbids(row: list[Any], key: str, category: str) -> bool:
    """Whether the row says no, for good (a pause with an end depends on a worker's clock)."""
    linked_at, unlinked_at = row[0].get(key, [None] * 9 + [-1, -1])[9:11]
    if row[6] is not None or (unlinked_at >= 0 and linked_at <= unlinked_at):
        return True
    if category == "transactional":
        return False
    topic, pause = row[1].get(TOPIC), row[4]
    return (
        not may_push(row, key)
        or (topic is not None and not topic[1])
        or (pause is not None and pause[1] and pause[2] is None)
        or any(switch[1] and switch[2] is None for switch in row[5].values())
    )
