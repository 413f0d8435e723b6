"""Definitions in force and every body that was ever cited, by content hash."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from ledger.journey import CONVERTED, Exit, Holdout, Journey, Match, Message, Push, Wait, kinds
from ledger.policy import Policy

BUCKETS: Final = 10_000
Body: TypeAlias = Journey | Policy
_TAGS: Final = {Journey: "Journey2", Policy: "Policy"}


@dataclasses.dataclass(frozen=True, slots=True)
class Definitions:
    """What is in force. `bodies`: all of them by version; `moved_by`: journeys in force by kind of fact."""

    policy: Policy
    journeys: tuple[Journey, ...]
    policy_version: str
    journey_versions: Mapping[str, str]
    bodies: Mapping[str, Body]
    moved_by: Mapping[str, tuple[Journey, ...]]
    _kinds: Mapping[str, frozenset[str]]

    def journey(self, version: str) -> Journey | None:
        """The journey that an instance began with, if its body is known."""
        body = self.bodies.get(version)
        return body if isinstance(body, Journey) else None

    def moves(self, version: str, kind: str) -> bool:
        """Whether facts of `kind` can move an instance of this version."""
        return kind in self._kinds.get(version, frozenset())


def version_of(body: Body) -> str:
    """Name a body by its content: 16 hex digits of SHA-256 over its canonical JSON."""
    return hashlib.sha256(canonical(body)).hexdigest()[:16]


def canonical(body: Body) -> bytes:
    """Encode a body so that equal bodies are equal bytes: JSON with sorted keys."""
    tagged = {_TAGS[type(body)]: msgspec.to_builtins(body)}
    return msgspec.json.encode(tagged, order="sorted")


def parse(raw: bytes) -> Body:
    """Read what `canonical` wrote, or wrote once. Raises `msgspec.ValidationError` for anything else."""
    tagged = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    if "Journey2" in tagged:
        return msgspec.json.decode(tagged["Journey2"], type=Journey)
    if "Journey" in tagged:
        return _of_one_push(msgspec.json.decode(tagged["Journey"], type=_OnePushJourney))
    if "Policy" in tagged:
        return msgspec.json.decode(tagged["Policy"], type=Policy)
    raise msgspec.ValidationError("neither a journey nor a policy")


def in_force(policy: Policy, journeys: tuple[Journey, ...], archive: Mapping[str, Body]) -> Definitions:
    """Put definitions in force, beside all bodies of earlier ones."""
    versions = {journey.name: version_of(journey) for journey in journeys}
    mine: dict[str, Body] = {versions[j.name]: j for j in journeys}
    policy_version = version_of(policy)
    bodies = {**archive, **mine, policy_version: policy}
    names = sorted({kind for journey in journeys for kind in kinds(journey)})
    return Definitions(
        policy=policy,
        journeys=journeys,
        policy_version=policy_version,
        journey_versions=versions,
        bodies=bodies,
        moved_by={name: tuple(j for j in journeys if name in kinds(j)) for name in names},
        _kinds={version: kinds(body) for version, body in bodies.items() if isinstance(body, Journey)},
    )


def held_out(holdout: Holdout, subject: str) -> bool:
    """Whether the subject belongs to the comparison group: sticky for a salt, the same everywhere."""
    return bucket(holdout.salt, subject) < holdout.percent * 100


def bucket(salt: str, subject: str) -> int:
    """One of 10,000 buckets: the first 8 bytes of SHA-256(salt NUL subject), big-endian, modulo 10,000."""
    digest = hashlib.sha256(f"{salt}\0{subject}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS


# Journeys of one wait and one push, as they were published first: open instances and decisions cite them.


class _OnePushMatch(msgspec.Struct, frozen=True, kw_only=True):
    fact: str
    items: str
    where: dict[str, str] = {}


class _OnePushRemoval(_OnePushMatch, frozen=True, kw_only=True):
    outcome: str


class _OnePush(msgspec.Struct, frozen=True, kw_only=True):
    step: str
    category: str
    topic: str
    title: str
    body: str


class _OnePushJourney(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    trigger: _OnePushMatch
    removals: tuple[_OnePushRemoval, ...] = ()
    wait_ms: int
    push: _OnePush
    holdout: Holdout
    attribution_ms: int


def _of_one_push(old: _OnePushJourney) -> Journey:
    push: dict[str, Any] = msgspec.structs.asdict(old.push)
    step = push.pop("step")
    return Journey(
        name=old.name,
        triggers=(Match(**msgspec.structs.asdict(old.trigger)),),
        exits=tuple(Exit(**msgspec.structs.asdict(removal)) for removal in old.removals),
        steps=(Wait(step="wait", for_ms=old.wait_ms), Push(step=step, message=Message(name=step, **push))),
        opt_out_ends=False,
        holdout=old.holdout,
        attribution_ms=old.attribution_ms,
    )


__all__ = [
    "BUCKETS",
    "CONVERTED",
    "Body",
    "Definitions",
    "bucket",
    "canonical",
    "held_out",
    "in_force",
    "parse",
    "version_of",
]
