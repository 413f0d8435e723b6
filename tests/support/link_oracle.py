"""A second opinion on identity, from the topics alone: which links follow from the claims, who overlapped.

Imports nothing of ours; written from docs/reference/changelog.md. `objections(bootstrap, lease_s)` must be
empty once all claims are folded and no push is under way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from aiokafka.partitioner import murmur2

from tests.support.plain_reader import decode, read

LINK, UNLINK = "InstallationLinked", "InstallationUnlinked"
REMEMBERED = 16
Told = tuple[str, dict[str, Any], int]
"""(fact's name, its fields, when its record was appended: ms)."""


def follow(claims: Iterable[Told]) -> dict[tuple[str, str], tuple[str, str, str, int]]:
    """(claim's id, kind) -> (subject, app, installation, time) of all that follows from claims in order."""
    owner: dict[tuple[str, str], str | None] = {}
    last: dict[tuple[str, str], int] = defaultdict(lambda: -1)
    highest: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, -1))
    latest: dict[tuple[str, str], int] = defaultdict(lambda: -1)
    seen: dict[tuple[str, str], list[str]] = defaultdict(list)
    found = {}
    for _, claim, appended in claims:
        phone = claim["app"], claim["installation"]
        number = highest[phone]
        if claim["sequence"] is not None:
            number = claim.get("counter_since") or 0, claim["sequence"]
        is_old = number < highest[phone] and claim["occurred_at"] <= latest[phone]
        if is_old or claim["event_id"] in seen[phone][-REMEMBERED:]:
            continue
        seen[phone].append(claim["event_id"])
        highest[phone] = max(highest[phone], number)
        latest[phone] = max(latest[phone], claim["occurred_at"])
        before, now = owner.get(phone), claim["subject"]
        if before == now:
            continue
        last[phone] = max(min(claim["occurred_at"], appended), last[phone] + 1)
        owner[phone] = now
        for kind, subject in ((UNLINK, before), (LINK, now)):
            if subject is not None:
                found[claim["event_id"], kind] = (subject, *phone, last[phone])
    return found


def wrong_links(claims: Iterable[Told], links: Iterable[Told]) -> list[str]:
    """What differs between the links that are there and those that must follow from the claims."""
    wanted = follow(claims)
    found: dict[tuple[str, str], tuple[str, str, str, int]] = {}
    first: dict[tuple[str, str], int] = {}
    ids: dict[str, tuple[str, str]] = {}
    objections = []
    for name, fields, appended in links:
        cause = fields["claim"], name
        told = fields["subject"], fields["app"], fields["installation"], fields["occurred_at"]
        if found.setdefault(cause, told) != told or ids.setdefault(fields["event_id"], cause) != cause:
            objections.append(f"{name} of claim {cause[0]} was told in two ways")
        first[cause] = min(appended, first.get(cause, appended))
    objections += [
        f"{cause[1]} of claim {cause[0]}: {found.get(cause)}, not {wanted.get(cause)}"
        for cause in wanted.keys() | found.keys()
        if wanted.get(cause) != found.get(cause)
    ]
    for (claim, kind), appended in first.items():
        if kind == LINK and first.get((claim, UNLINK), appended) > appended:
            objections.append(f"claim {claim} linked its subject before it unlinked the former one")
    return objections


def late_pushes(links: Iterable[Told], deliveries: Iterable[Told], lease_ms: int) -> list[str]:
    """Pushes that were handed over although their barrier began after the installation was unlinked.

    A push is handed over within the lease from its barrier, and its last attempt was written before that.
    """
    changes: dict[tuple[str, str, str], list[tuple[int, str, int]]] = defaultdict(list)
    for name, f, appended in links:
        changes[f["subject"], f["app"], f["installation"]].append((appended, name, f["occurred_at"]))
    attempts: dict[str, int] = {}
    handed: dict[str, dict[str, Any]] = {}
    for name, f, appended in deliveries:
        if name == "PushAttempted":
            attempts[f["push_id"]] = max(appended, attempts.get(f["push_id"], appended))
        elif name != "PushWithheldLate":
            handed[f["push_id"]] = f
    found = []
    for push, f in handed.items():
        mine = changes[f["subject"], f["app"], f["installation"]]
        known = attempts[push] - lease_ms
        unlinked = max((at for appended, name, at in mine if name == UNLINK and appended < known), default=-1)
        # A link of after that may have been folded in time, whenever it was appended.
        if unlinked >= 0 and not any(name == LINK and at > unlinked for _, name, at in mine):
            found.append(f"push {push} was handed over on an installation that was no longer its subject's")
    return found


async def told_on(bootstrap: str, topic: str, partitions: int = 8) -> list[Told]:
    """The facts of a topic, partition by partition; records of which another copy stands at home left out."""
    found = []
    for record in await read(bootstrap, topic):
        fact = decode(record.value or b"")
        if fact is not None and (murmur2(record.key) & 0x7FFFFFFF) % partitions == record.partition:
            first = [int(value) for name, value in record.headers if name == "first_appended_ms"]
            found.append((*fact, first[0] if first else record.timestamp))
    return found


async def objections(bootstrap: str, lease_s: float) -> list[str]:
    """What is wrong with the links and the pushes beside them, as sentences."""
    claims = await told_on(bootstrap, "optin.links")
    links = [told for told in await told_on(bootstrap, "optin.permissions") if told[0] in {LINK, UNLINK}]
    deliveries = await told_on(bootstrap, "optin.deliveries")
    return wrong_links(claims, links) + late_pushes(links, deliveries, int(lease_s * 1000))
