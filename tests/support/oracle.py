"""A second opinion on a running system, from its topics alone: what was lost, doubled or folded wrongly.

Imports nothing of ours (the reader of topics doesn't either); written from docs/reference (changelog,
facts). `objections(bootstrap)` must be empty once everything is folded and no journey waits.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter, defaultdict
from typing import Any

import msgpack

from tests.support.plain_reader import decode, read

PRIVATE_LAST = ["authorized", "ephemeral", "provisional", "pre_granted", "not_determined", "denied"]
REGISTERS = ["device_counted", "device", "server", "import"]
OUTCOMES = {"PushAccepted", "PushRejected", "PushWithheldLate", "PushOutcomeUnknown"}
LINKS = ["InstallationLinked", "InstallationUnlinked"]
MARKS_MAX, TOKENS_MAX, REFUSALS_MAX = 16, 4, 3
PERMISSIONS = [*reversed(PRIVATE_LAST)]
NO = {"not_determined", "denied"}
DENIALS, SKEW_MS = {"PermissionDenied", "PermissionRevoked"}, 300_000
Marks = defaultdict[str, list[Any]]
Words = defaultdict[Any, list[tuple[Any, list[Any]]]]


def latest(words: list[tuple[Any, list[Any]]]) -> list[Any] | None:
    """The word with the greatest key."""
    return max(words)[1] if words else None


def name_of(f: dict[str, Any]) -> str:
    """What a token is called."""
    return hashlib.sha256(f"{f['provider']}:{f['token']}".encode()).hexdigest()[:32]


def dates(facts: list[tuple[str, dict[str, Any], int, int]]) -> dict[str, int]:
    """Until when each fact counts at most: the append of its copy that stands first on its partition."""
    return {fact[1]["event_id"]: fact[2] for fact in sorted(facts, key=lambda fact: fact[3], reverse=True)}


def appended_at(f: dict[str, Any], at: int, facts: list[tuple[str, dict[str, Any], int, int]]) -> int:
    """The first append of a copy of the fact by which it counts from `at`."""
    copies = (append for _, g, append, _ in facts if g["event_id"] == f["event_id"])
    return min(append for append in copies if min(f["occurred_at"], append) == at)


def fold(facts: list[tuple[str, dict[str, Any], int, int]]) -> list[Any]:
    """The consent row of one subject from its (name, fields, append ms, offset), all at once."""
    if erased := [min(f["occurred_at"], at) for name, f, at, _ in facts if name == "SubjectErased"]:
        return [{}, {}, None, None, None, {}, min(erased)]
    seen, topics, suppressions = (Words(list) for _ in range(3))
    words: dict[str, list[list[int]]] = defaultdict(list)
    tokens: dict[str, dict[str, list[Any]]] = defaultdict(dict)
    links: dict[str, list[int]] = defaultdict(lambda: [-1, -1])
    unlinked: dict[str, tuple[int, int, int]] = defaultdict(lambda: (-1, 1, 1))
    preferences: Words = Words(list)
    first = {fact[1]["event_id"]: fact for fact in sorted(facts, key=lambda fact: fact[2:], reverse=True)}
    dated = dates(facts)
    for name, f, appended, offset in first.values():
        at = min(f["occurred_at"], dated[f["event_id"]])
        key, until = f"{f['app']}/{f.get('installation')}", f.get("until")
        permission = "denied" if name in DENIALS else f.get("level") or f.get("permission")
        if name in LINKS:  # dated by the order of the claims, not by a clock
            links[key][LINKS.index(name)] = max(links[key][LINKS.index(name)], f["occurred_at"])
            if name == LINKS[1]:
                unlinked[key] = max(unlinked[key], (f["occurred_at"], -appended, -offset))
        elif name == "InstallationSeen":
            told = [f["platform"], f["time_zone"], f["country"]]
            seen[key].append(((at, *[t or "" for t in told]), [at, *told]))
        elif permission:
            words[key].append(word_of(permission, f, appended, offset))
        elif name in {"TokenRegistered", "TokenInvalidated"}:
            token = f.get("token_id") or name_of(f)
            times = tokens[key].setdefault(token, [token, -1, -1, -1])
            if name == "TokenRegistered":
                both = (times[1], times[3]), (at, appended_at(f, at, facts))
                times[1], times[3] = max(both, key=lambda t: (t[0], -t[1]))
            else:
                times[2] = max(times[2], at)
        elif name in {"TopicSubscribed", "TopicUnsubscribed"}:
            on = name == "TopicSubscribed"
            topics[f["topic"]].append(((at, not on), [at, on, None]))
        elif name == "FrequencyChosen":
            most, window = f["max_pushes"], f["window"]
            preferences["frequency"].append(((at, -most, window), [at, most, window]))
        elif name == "QuietHoursChosen":
            start, end = f["start_minute"], f["end_minute"]
            preferences["quiet"].append(((at, (end - start) % 1440, start), [at, start, end]))
        elif name in {"MarketingPaused", "MarketingResumed", "SubjectSuppressed", "SubjectReleased"}:
            on = name in {"MarketingPaused", "SubjectSuppressed"}
            switch = (at, on, until is None, until or 0), [at, on, until]
            (preferences["pause"] if name[0] == "M" else suppressions[f["reason"]]).append(switch)
    installations = {}
    for key in {*seen, *tokens, *links, *words}:
        known = sorted(tokens[key].values(), key=lambda t: (t[1], t[2], t[0]), reverse=True)[:TOKENS_MAX]
        told = latest(seen[key]) or [-1, "", None, None]
        place = [-n for n in (unlinked[key][1:] if key in unlinked else (1, 1))]
        installations[key] = [*told, *[None] * 4, known, *links[key], *kept(words[key]), *place]
    named = [{name: latest(w) for name, w in group.items()} for group in (topics, suppressions)]
    chosen = [latest(preferences[name]) for name in ("frequency", "quiet", "pause")]
    return [installations, named[0], *chosen, named[1], None]


def word_of(permission: str, f: dict[str, Any], appended: int, offset: int) -> list[int]:
    """A word on permission as a row has it."""
    permission = permission if permission in PRIVATE_LAST else "denied"
    origin, number = f["source"].split(":")[0], [-1, 0]
    clock = REGISTERS.index(origin if origin in REGISTERS else "server")
    if origin == "device" and f["sequence"] is not None:
        clock, number = 0, [f["sequence"], f.get("counter_since") or 0]
    mark = zlib.crc32(f["event_id"].encode()) if permission in NO else 0
    return [PERMISSIONS.index(permission), f["occurred_at"], clock, appended, offset, *number, mark]


def kept(words: list[list[int]]) -> list[list[list[int]]]:
    """The grants and the refusals that a row keeps of an installation's words."""

    def by_place(w: list[int]) -> Any:
        return w[3], w[4], w[1], w[6], w[5], -w[0], w[7]

    def by_time(w: list[int]) -> Any:
        return w[1], -w[0], -w[3], -w[4], w[6], w[5], w[7]

    def by_number(w: list[int]) -> Any:
        return w[6], w[5], -w[0], w[1], -w[3], -w[4], w[7]

    found: list[list[list[int]]] = [[], []]
    for clock in range(len(REGISTERS)):
        for refusing in (0, 1):
            mine = [w for w in words if w[2] == clock and (PERMISSIONS[w[0]] in NO) == refusing]
            stay = sorted(mine, key=by_place)[-REFUSALS_MAX:] if refusing else []
            for extreme in (by_time, by_number)[: 1 + (clock == 0)] if mine else ():
                one = max(mine, key=extreme)
                stay += [one] if one not in stay else []
            found[refusing] += sorted(stay, key=by_place)
    return found


def comes_after(grant: list[int], refusal: list[int]) -> bool:
    """Whether no order that could be right puts the refusal behind the grant."""
    in_order = grant[3:5] >= refusal[3:5]
    if grant[2] == refusal[2] == 0:
        same = grant[6] == refusal[6]
        numbered = (grant[6], grant[5]) > (refusal[6], refusal[5])
        return grant[1] > refusal[1] and numbered and (same or in_order)
    if grant[2] == 3 and refusal[2] < 2:
        return False
    one_speaker = grant[2] == refusal[2] or max(grant[2], refusal[2]) < 2
    return in_order and grant[1] > refusal[1] + (0 if one_speaker else SKEW_MS)


def may_push(row: list[Any], key: str) -> bool:
    """Whether the effective permission of an installation of this row lets marketing pass."""
    installation = row[0].get(key)
    if installation is None:
        return False
    linked_at, unlinked_at, granted, refused, *place = installation[9:15]
    if linked_at <= unlinked_at != -1:
        return False
    grants = [g for g in granted if min(g[1], g[3]) > unlinked_at]
    refusals = [r for r in refused if min(r[1], r[3]) > unlinked_at or r[3:5] > place]
    standing = [
        r
        for r in refusals
        if not any((g[2] == r[2] or max(g[2], r[2]) < 2) and comes_after(g, r) for g in grants)
    ]
    counts = [g for g in grants if all(comes_after(g, r) for r in standing)]
    best = max(counts, key=lambda g: (g[2] < 2, g[1], -g[0]), default=None)
    return best is not None and PERMISSIONS[best[0]] in {"authorized", "provisional"}


def readable(record: Any) -> tuple[str, dict[str, Any]] | None:
    """(name, fields) of a record, None for one that can't be read."""
    try:
        return decode(record.value)
    except Exception:  # noqa: BLE001 - bytes decide what fastavro raises
        return None


def open_marks(bad: list[int], settled: list[tuple[int, int, int]], before: int = 2**62) -> list[int]:
    """Offsets of unreadable records that no settlement covers, as of an offset of the partition."""
    then = [(first, last, at) for at, first, last in settled if at < before]
    return [o for o in bad if o < before and not any(a <= o <= b and o < at for a, b, at in then)]


async def refusals(bootstrap: str) -> set[tuple[str, int, int]]:
    """Where the records stand that have a dead letter."""
    letters = [readable(record) for record in await read(bootstrap, "optin.dead-letters")]
    told = [letter[1] for letter in letters if letter and letter[0] == "RecordDeadLettered"]
    return {(f["topic"], f["partition"], f["offset"]) for f in told}


async def told(bootstrap: str) -> tuple[dict[str, list[Any]], set[str], set[str], Marks, Marks]:
    """Consent facts by subject, as (name, fields, append ms, topic, offset); all ids; who filled a cart.

    And by subject: offsets of its unreadable permissions, and (offset, first, last) of what was settled.
    """
    ledger: dict[str, list[Any]] = defaultdict(list)
    ids: set[str] = set()
    carts: set[str] = set()
    bad, settled = Marks(list), Marks(list)
    refused = await refusals(bootstrap)
    for topic in ("permissions", "tokens", "activity"):
        facts = [(record, readable(record)) for record in await read(bootstrap, f"optin.{topic}")]
        again = {fact[1]["event_id"] for record, fact in facts if fact and record.headers}
        for record, fact in facts:
            name, fields = fact or ("", {})
            if (record.topic, record.partition, record.offset) in refused:
                if topic == "permissions" and record.key is not None:
                    bad[record.key.decode(errors="replace")].append(record.offset)
                continue
            if not name:
                continue
            ids.add(fields["event_id"])
            if fields["event_id"] in again and not record.headers:
                continue  # it stood on a wrong partition: what counts is where it was appended again
            if name == "UnreadableFactSettled":
                place = record.offset, fields["first_offset"], fields["last_offset"]
                settled[fields["subject"]].append(place)
            elif topic != "activity":
                at = int(dict(record.headers).get("first_appended_ms", record.timestamp))
                ledger[fields["subject"]].append((name, fields, at, topic, record.offset))
            elif fields.get("change") == "added":
                carts.add(fields["subject"])
    return ledger, ids, carts, bad, settled


async def objections(bootstrap: str, acknowledged: frozenset[str] = frozenset()) -> list[str]:
    """What is wrong, as sentences; `acknowledged`: event ids that Kafka confirmed to their producers."""
    found: list[str] = []
    ledger, ids, carts, bad, settled = await told(bootstrap)
    claims = [decode(record.value) for record in await read(bootstrap, "optin.links")]
    claimed = {claim[1]["event_id"] for claim in claims if claim and claim[1]["subject"] is not None}
    linked = {f.get("claim") for said in ledger.values() for name, f, *_ in said if name in LINKS}
    found += [f"claim {event} linked nobody" for event in claimed - linked]
    found += [f"{event} is lost" for event in acknowledged - ids - claimed]
    rows = {r.key: r.value for r in await read(bootstrap, "optin.journeys-subjects-changelog")}
    for subject, said in ledger.items():
        raw = rows.get(subject.encode())
        if raw is None or msgpack.unpackb(raw)[1][:7] != fold([(*fact[:3], fact[4]) for fact in said]):
            found.append(f"{subject}: the row is not the fold of its facts")
        consent = msgpack.unpackb(raw)[1] if raw else [None] * 9
        wanted = [] if consent[6] else open_marks(bad[subject], settled[subject])[:MARKS_MAX]
        if [mark[0] for mark in consent[8] or ()] != wanted:
            found.append(f"{subject}: the row's marks are not those of its unreadable records")
    decided: Counter[tuple[str, int]] = Counter()
    ended, outcomes = Counter[str](), Counter[str]()
    started = set()
    chains: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in await read(bootstrap, "optin.decisions"):
        name, f = decode(record.value) or ("", {})
        if name == "JourneyStarted":
            started.add(f["subject"])
            ended[f["instance"]] += 0
        elif name == "JourneyEnded":
            ended[f["instance"]] += 1
        elif name == "PushDecided":
            decided[f["decision_id"], f["revision"]] += 1
            chains[f["decision_id"]].append(f)
    found += [f"{subject}: a cart started no journey" for subject in carts - started]
    found += [f"instance {i} ended {n} times" for i, n in ended.items() if n != 1]
    found += [f"decision {d} is there {n} times" for d, n in decided.items() if n != 1]
    for record in await read(bootstrap, "optin.deliveries"):
        name, f = decode(record.value) or ("", {})
        outcomes.update({f["push_id"]: name in OUTCOMES})
        # What is passed on to another installation ends there.
        outcomes.update({f["decision_id"]: name in OUTCOMES and not f.get("next_installation")})
    found += [f"push or decision {p} has {n} outcomes" for p, n in outcomes.items() if n != 1]
    for decision, chain in chains.items():
        last = chain[-1]
        if [f["verdict"] == "hold" for f in chain] != [True] * (len(chain) - 1) + [False]:
            found.append(f"decision {decision} has not exactly one final revision, at its end")
        if last["verdict"] != "send":
            continue
        read_then = {"permissions": last["permissions_next"], "tokens": last["tokens_next"]}
        row = fold([(*fact[:3], fact[4]) for fact in ledger[last["subject"]] if fact[4] < read_then[fact[3]]])
        if not all(may_push(row, f"{last['app']}/{i}") for i in last["installations"]):
            found.append(f"decision {decision} sends without permission")
        if open_marks(bad[last["subject"]], settled[last["subject"]], read_then["permissions"]):
            found.append(f"decision {decision} sends although a record could not be read")
        if outcomes[decision] != 1:
            found.append(f"decision {decision} has no outcome")
    return found
