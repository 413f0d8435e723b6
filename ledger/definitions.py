"""Definitions in force and every body that was ever cited, by content hash."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import ChainMap
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from ledger import facts as f
from ledger.journey import (
    CONVERTED,
    Campaign,
    Exit,
    Holdout,
    Journey,
    Match,
    Message,
    Push,
    Wait,
    WaitForFact,
    kinds,
)
from ledger.policy import Policy

BUCKETS: Final = 10_000
Body: TypeAlias = Journey | Campaign | Policy


class UnknownDefinition(LookupError):  # noqa: N818 - named for what was met
    """A body is cited that this process has not read.

    Operator action: none if it passes; else check that the definitions topic is complete.
    """


_TAGS: Final = {Journey: "Journey2", Campaign: "Campaign", Policy: "Policy"}


class ByKind(NamedTuple):
    """What facts of one kind may do by the journeys in force: triggers to begin one, exits of each."""

    begins: tuple[tuple[Journey, tuple[Match, ...]], ...]
    ends: tuple[tuple[Journey, Exit], ...]


class Hearing(NamedTuple):
    """What facts of one kind mean to an open instance of a journey; `waits`: steps by their place."""

    journey: Journey
    exits: tuple[Exit, ...]
    waits: Mapping[int, WaitForFact]


@dataclasses.dataclass(frozen=True, slots=True)
class Definitions:
    """What is in force. `bodies`: all of them by version; `moved_by`: journeys in force by kind of fact."""

    policy: Policy
    journeys: tuple[Journey, ...]
    policy_version: str
    journey_versions: Mapping[str, str]
    bodies: Mapping[str, Body]
    moved_by: Mapping[str, tuple[Journey, ...]]
    _known: dict[str, Journey] = dataclasses.field(default_factory=dict)
    _by_kind: dict[str, ByKind] = dataclasses.field(default_factory=dict)
    _hearing: dict[tuple[str, str], Hearing | None] = dataclasses.field(default_factory=dict)

    def journey(self, version: str) -> Journey | None:
        """The journey that an instance began with (or a campaign's flow), if its body is known."""
        known = self._known.get(version)
        if known is None:
            body = self.bodies.get(version)
            known = body.flow if isinstance(body, Campaign) else body if isinstance(body, Journey) else None
            if known is not None:
                self._known[version] = known
        return known

    def by_kind(self, kind: str) -> ByKind:
        """What facts of `kind` may begin and end by the journeys in force."""
        found = self._by_kind.get(kind)
        if found is None:
            moved = self.moved_by.get(kind, ())
            begins = ((one, tuple(way for way in one.triggers if way.fact == kind)) for one in moved)
            ends = ((one, way) for one in moved for way in one.exits if way.fact == kind)
            found = ByKind(tuple((one, ways) for one, ways in begins if ways), tuple(ends))
            self._by_kind[kind] = found
        return found

    def hearing(self, version: str, kind: str) -> Hearing | None:
        """What facts of `kind` mean to an instance of this version, None: nothing.

        Raises `UnknownDefinition`.
        """
        place = version, kind
        if place not in self._hearing:
            body = self.journey(version)
            if body is None:
                raise UnknownDefinition(version)
            exits = tuple(way for way in body.exits if way.fact == kind)
            waits = {
                at: step
                for at, step in enumerate(body.steps)
                if isinstance(step, WaitForFact) and step.match.fact == kind
            }
            self._hearing[place] = Hearing(body, exits, waits) if exits or waits else None
        return self._hearing[place]


def version_of(body: Body) -> str:
    """Name a body by its content: 16 hex digits of SHA-256 over its canonical JSON."""
    return hashlib.sha256(canonical(body)).hexdigest()[:16]


def canonical(body: Body) -> bytes:
    """Encode a body so that equal bodies are equal bytes: JSON with sorted keys."""
    tagged = {_TAGS[type(body)]: msgspec.to_builtins(body)}
    return msgspec.json.encode(tagged, order="sorted")


def is_version(name: bytes | None, raw: bytes | None) -> bool:
    """Whether `name` is the version of the published body `raw`: of its bytes, as they were written."""
    return bool(name and raw) and hashlib.sha256(raw or b"").hexdigest()[:16].encode() == name


def parse(raw: bytes) -> Body:
    """Read what `canonical` wrote, or wrote once. Raises `msgspec.ValidationError` for anything else."""
    tagged = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    if "Journey2" in tagged:
        return msgspec.json.decode(tagged["Journey2"], type=Journey)
    if "Journey" in tagged:
        return _of_one_push(msgspec.json.decode(tagged["Journey"], type=_OnePushJourney))
    if "Campaign" in tagged:
        return msgspec.json.decode(tagged["Campaign"], type=Campaign)
    if "Policy" in tagged:
        return msgspec.json.decode(tagged["Policy"], type=Policy)
    raise msgspec.ValidationError("no journey, campaign or policy")


def in_force(policy: Policy, journeys: tuple[Journey, ...], archive: Mapping[str, Body]) -> Definitions:
    """Put definitions in force, beside the bodies of `archive`, also those that come into it later."""
    versions = {journey.name: version_of(journey) for journey in journeys}
    mine: dict[str, Body] = {versions[j.name]: j for j in journeys}
    policy_version = version_of(policy)
    names = sorted({kind for journey in journeys for kind in kinds(journey)})
    return Definitions(
        policy=policy,
        journeys=journeys,
        policy_version=policy_version,
        journey_versions=versions,
        bodies=ChainMap({**mine, policy_version: policy}, archive),  # type: ignore[arg-type] # never written
        moved_by={name: tuple(j for j in journeys if name in kinds(j)) for name in names},
    )


def of_versions(
    policy_version: str, journey_versions: tuple[str, ...], bodies: Mapping[str, Body]
) -> Definitions:
    """Definitions by the versions of their bodies. Raises `UnknownDefinition` for one that is not there."""
    policy = bodies.get(policy_version)
    journeys = [bodies.get(version) for version in journey_versions]
    if not isinstance(policy, Policy):
        raise UnknownDefinition(f"policy {policy_version}")
    known = tuple(one for one in journeys if isinstance(one, Journey))
    if len(known) < len(journeys):
        raise UnknownDefinition(f"one of the journeys {', '.join(journey_versions)}")
    return in_force(policy, known, bodies)


def missing(fact: f.ControlFact, bodies: Mapping[str, Body]) -> str | None:
    """What a control fact cites that nobody published as such, in words; None: it can be followed."""
    match fact:
        case f.DefinitionsActivated():
            if not isinstance(bodies.get(fact.policy_version), Policy):
                return f"policy {fact.policy_version}"
            unknown = (one for one in fact.journey_versions if not isinstance(bodies.get(one), Journey))
            return next((f"journey {one}" for one in unknown), None)
        case f.CampaignLaunched():
            known = isinstance(bodies.get(fact.campaign_version), Campaign)
            return None if known else f"campaign {fact.campaign_version}"
        case _:
            return None


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
    "Campaign",
    "Definitions",
    "bucket",
    "canonical",
    "held_out",
    "in_force",
    "parse",
    "version_of",
]
