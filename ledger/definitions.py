"""Journeys and policy as values; made from YAML outside, cited by content hash in every decision."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

HOLDOUT_BUCKETS: Final = 10_000


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of one kind whose fields have the given values; `items` names the field with the items."""

    fact: str
    items: str
    where: dict[str, str] = {}


class Removal(Match, frozen=True, kw_only=True):
    """Facts that take items out of an instance; emptied by it, the instance ends with `outcome`."""

    outcome: str


class Push(msgspec.Struct, frozen=True, kw_only=True):
    """What the journey wants to say, and under which rules."""

    step: str
    category: str
    topic: str
    title: str
    body: str


class Holdout(msgspec.Struct, frozen=True, kw_only=True):
    """The share of subjects whose pushes are held out, for comparison. `percent` of 100."""

    salt: str
    percent: float


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """One open instance per subject: collects items, waits, and asks to send one push.

    A trigger starts the instance or re-arms it (due = last trigger + `wait_ms`).
    """

    name: str
    trigger: Match
    removals: tuple[Removal, ...] = ()
    wait_ms: int
    push: Push
    holdout: Holdout
    attribution_ms: int


class Cap(msgspec.Struct, frozen=True, kw_only=True):
    """At most `max_pushes` marketing pushes per `window` (one of `facts.WINDOWS`)."""

    max_pushes: int
    window: str


class QuietHours(msgspec.Struct, frozen=True, kw_only=True):
    """Minutes of the local day in which marketing is silent; equal: none."""

    start_minute: int
    end_minute: int


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules that hold for every journey of a deployment."""

    name: str
    marketing_permissions: tuple[str, ...]
    transactional_permissions: tuple[str, ...]
    caps: tuple[Cap, ...]
    quiet_hours: QuietHours | None
    zones_otherwise: tuple[str, ...] = ()
    topics_on: tuple[str, ...] = ()
    send_within_ms: int
    lateness_max_ms: int


class Definitions(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force, and every body that was ever cited (by content hash)."""

    policy: Policy
    journeys: tuple[Journey, ...]
    policy_version: str
    journey_versions: dict[str, str]
    bodies: dict[str, Journey | Policy]

    def journey(self, version: str) -> Journey | None:
        """The journey that an instance began with, if its body is known."""
        body = self.bodies.get(version)
        return body if isinstance(body, Journey) else None


def version_of(body: Journey | Policy) -> str:
    """Name a body by its content: 16 hex digits of SHA-256 over its canonical JSON."""
    return hashlib.sha256(canonical(body)).hexdigest()[:16]


def canonical(body: Journey | Policy) -> bytes:
    """Encode a body so that equal bodies are equal bytes: JSON with sorted keys."""
    tagged = {type(body).__name__: msgspec.to_builtins(body)}
    return msgspec.json.encode(tagged, order="sorted")


def parse(raw: bytes) -> Journey | Policy:
    """Read what `canonical` wrote. Raises `msgspec.ValidationError` for anything else."""
    tagged = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    if "Journey" in tagged:
        return msgspec.json.decode(tagged["Journey"], type=Journey)
    if "Policy" in tagged:
        return msgspec.json.decode(tagged["Policy"], type=Policy)
    raise msgspec.ValidationError("neither a Journey nor a Policy")


def in_force(
    policy: Policy, journeys: tuple[Journey, ...], archive: Mapping[str, Journey | Policy]
) -> Definitions:
    """Put definitions in force, beside all bodies of earlier ones."""
    versions = {journey.name: version_of(journey) for journey in journeys}
    mine: dict[str, Journey | Policy] = {versions[j.name]: j for j in journeys}
    policy_version = version_of(policy)
    return Definitions(
        policy=policy,
        journeys=journeys,
        policy_version=policy_version,
        journey_versions=versions,
        bodies={**archive, **mine, policy_version: policy},
    )


def held_out(holdout: Holdout, subject: str) -> bool:
    """Whether the subject belongs to the comparison group: sticky for a salt, the same everywhere.

    The first 8 bytes of SHA-256(salt NUL subject), big-endian, modulo 10,000, against percent x 100.
    """
    digest = hashlib.sha256(f"{holdout.salt}\0{subject}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % HOLDOUT_BUCKETS < holdout.percent * 100
