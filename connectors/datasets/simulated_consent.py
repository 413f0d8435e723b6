"""Simulated consent of people who exist only as a user id in a shop's log.

One function of (seed, subject, first and last instant of the log, where the shop is at home): the
installations, permissions, preferences, suppressions and tokens that the subject has in a replay. Nothing
here is about real people; every fact says `:simulated` in its source, and every address belongs to the
provider `console`, so no simulated token can ever be handed to a real push service.
docs/reference/simulated-facts.md is the rule.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any, Final, TypeVar

from connectors.datasets.hash_rule import Person
from ledger import facts as f
from ledger.consent import token_id

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000

DEVICE: Final = "device:simulated"
SERVER: Final = "server:simulated"
IMPORT: Final = "import:simulated"
PROVIDER: Final = "console"
TOPIC: Final = "cart_reminders"

GRANTING: Final = frozenset({"authorized", "provisional"})

_Kind = TypeVar("_Kind", bound=f.SubjectFact)


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """The log's first and last instant (ms): what simulated times are relative to."""

    first_ms: int
    last_ms: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where a shop's people live: a table of time zones in `hash_rule.SHARES`, and a country (ISO 3166)."""

    time_zones: str
    country: str


CHINA: Final = Home(time_zones="time_zone", country="CN")
GERMANY: Final = Home(time_zones="time_zone_germany", country="DE")


def installation_letters(person: Person) -> str:
    """Which installations a subject has: "", "a" or "ab"; their ids are `<subject>-<letter>`."""
    return {"none": "", "one": "a", "two": "ab"}[person.pick("installations")]


def consent_of(seed: str, subject: str, app: str, span: Span, home: Home) -> list[f.SubjectFact]:
    """All simulated facts of one subject, in the published fixed order (not sorted by time).

    No fact is later than the log's last instant, so none is later than its append.
    """
    story = _Story(Person(seed, subject), app, span, home)
    for letter in installation_letters(story.person):
        _installation(story, letter)
    _preferences(story)
    _suppression(story)
    if story.person.says("erased"):
        at = story.person.at("erased_at", span.first_ms, span.last_ms)
        story.add(f.SubjectErased, "erased", at, SERVER)
    return story.facts


@dataclasses.dataclass(frozen=True, slots=True)
class _Story:
    person: Person
    app: str
    span: Span
    home: Home
    facts: list[f.SubjectFact] = dataclasses.field(default_factory=list)

    def add(self, kind: type[_Kind], label: str, at: int, source: str, **fields: Any) -> None:
        """Append one fact; its id is the first 32 hex digits of a SHA-256 over what makes it this one."""
        subject = self.person.subject
        made_of = "\0".join((self.person.seed, label, subject, str(at)))
        fact = kind(
            event_id=hashlib.sha256(made_of.encode()).hexdigest()[:32],
            app=self.app,
            occurred_at=at,
            source=source,
            subject=subject,
            **fields,
        )
        self.facts.append(fact)

    def chosen_at(self, label: str) -> int:
        """When a preference was chosen: half of them an hour before the log, the others during it."""
        number = self.person.number(label)
        if number < 1 << 63:
            return self.span.first_ms - HOUR_MS
        during = 2 * number - (1 << 64)
        return self.span.first_ms + (during * (self.span.last_ms - self.span.first_ms) >> 64)


def _installation(story: _Story, letter: str) -> None:
    person, home, end = story.person, story.home, story.span.last_ms
    prefix = f"{letter}."
    installation = f"{person.subject}-{letter}"
    start = story.span.first_ms - DAY_MS
    if letter == "b":
        start = person.at("b.start", start, end - DAY_MS)
    later = start + DAY_MS
    platform = person.pick("platform", prefix)
    place = person.pick("place", prefix)
    where: dict[str, str | None] = {
        "time_zone": person.pick(home.time_zones, prefix, "time_zone") if place == "time_zone" else None,
        "country": home.country if place == "country" else None,
    }
    seen = {"installation": installation, "platform": platform}
    story.add(f.InstallationSeen, f"{prefix}seen", start, DEVICE, **seen, **where)
    if person.says("seen_again", prefix):
        if place == "time_zone" and person.says("moved", prefix):
            where["time_zone"] = person.pick(home.time_zones, prefix, "moved_time_zone")
        again = person.at(f"{prefix}seen_again_at", later, end)
        story.add(f.InstallationSeen, f"{prefix}seen_again", again, DEVICE, **seen, **where)
    outcome = person.pick(f"permission_{platform}", prefix, "permission")
    _permission(story, prefix, installation, outcome, start)
    _other_clocks(story, prefix, installation, later)
    if outcome != "denied" and person.says("token", prefix):
        _token(story, prefix, installation, start)


def _permission(story: _Story, prefix: str, installation: str, outcome: str, start: int) -> None:
    """What the device says of the permission: outcome, an early observation, and what came of it."""
    person, end = story.person, story.span.last_ms
    asked, later = start + MINUTE_MS, start + DAY_MS
    here: dict[str, Any] = {"installation": installation}
    if outcome in GRANTING:
        label = f"{prefix}granted"
        story.add(f.PermissionGranted, label, asked, DEVICE, **here, level=outcome, context="first_open")
    elif outcome == "denied":
        story.add(f.PermissionDenied, f"{prefix}denied", asked, DEVICE, **here, context="first_open")
    elif outcome == "pre_granted":
        story.add(f.PermissionObserved, f"{prefix}upgraded", asked, DEVICE, **here, permission=outcome)
    if person.says("observed", prefix):
        found = "not_determined" if outcome == "nothing" else outcome
        at = start + HOUR_MS
        story.add(f.PermissionObserved, f"{prefix}observed", at, DEVICE, **here, permission=found)
    if outcome in GRANTING and person.says("revoked", prefix):
        gone = person.at(f"{prefix}revoked_at", later, end)
        if person.pick("revoked_how", prefix) == "reported":
            story.add(f.PermissionRevoked, f"{prefix}revoked", gone, DEVICE, **here, cause="os_settings")
        else:
            story.add(f.PermissionObserved, f"{prefix}revoked", gone, DEVICE, **here, permission="denied")
        if person.says("regranted", prefix):
            back = person.at(f"{prefix}regranted_at", gone, end)
            granted: dict[str, Any] = {**here, "level": "authorized", "context": "settings"}
            story.add(f.PermissionGranted, f"{prefix}regranted", back, DEVICE, **granted)
    if outcome == "denied" and person.says("changed_mind", prefix):
        at = person.at(f"{prefix}changed_mind_at", later, end)
        granted = {**here, "level": "authorized", "context": "settings"}
        story.add(f.PermissionGranted, f"{prefix}changed_mind", at, DEVICE, **granted)
        token = {**here, "provider": PROVIDER, "token": f"simulated-{installation}-1"}
        story.add(f.TokenRegistered, f"{prefix}token", at, DEVICE, **token)


def _other_clocks(story: _Story, prefix: str, installation: str, later: int) -> None:
    """What a back-fill and an app backend say of the permission."""
    person, end = story.person, story.span.last_ms
    if person.says("imported", prefix):
        at = person.at(f"{prefix}imported_at", later, end)
        granted = {"installation": installation, "level": "authorized"}
        story.add(f.PermissionGranted, f"{prefix}imported", at, IMPORT, **granted)
    if person.says("server_refused", prefix):
        at = person.at(f"{prefix}server_refused_at", later, end)
        refused = {"installation": installation, "cause": "support"}
        story.add(f.PermissionRevoked, f"{prefix}server_refused", at, SERVER, **refused)


def _token(story: _Story, prefix: str, installation: str, start: int) -> None:
    person, end = story.person, story.span.last_ms
    here = {"installation": installation}
    first, second = (f"simulated-{installation}-{n}" for n in (1, 2))
    at = start + 2 * MINUTE_MS
    story.add(f.TokenRegistered, f"{prefix}token", at, DEVICE, **here, provider=PROVIDER, token=first)
    if not person.says("token_dead", prefix):
        return
    dead = person.at(f"{prefix}token_dead_at", start + DAY_MS, end)
    gone = {**here, "token_id": token_id(PROVIDER, first), "reason": "unregistered"}
    story.add(f.TokenInvalidated, f"{prefix}token_dead", dead, SERVER, **gone)
    if person.says("token_back", prefix):
        back = person.at(f"{prefix}token_back_at", dead, end)
        again = {**here, "provider": PROVIDER, "token": second}
        story.add(f.TokenRegistered, f"{prefix}token_back", back, DEVICE, **again)


def _preferences(story: _Story) -> None:
    person, end = story.person, story.span.last_ms
    if person.pick("topic") == "unsubscribed":
        at = story.chosen_at("topic_at")
        story.add(f.TopicUnsubscribed, "topic_off", at, DEVICE, topic=TOPIC)
        if person.says("topic_back"):
            back = person.at("topic_back_at", at, end)
            story.add(f.TopicSubscribed, "topic_on", back, DEVICE, topic=TOPIC)
    if person.pick("frequency") == "chosen":
        count, _, window = person.pick("frequency_choice").partition(" ")
        at = story.chosen_at("frequency_at")
        story.add(f.FrequencyChosen, "frequency", at, DEVICE, max_pushes=int(count), window=window)
    if person.pick("quiet") == "chosen":
        start, _, stop = person.pick("quiet_choice").partition(" ")
        at = story.chosen_at("quiet_at")
        hours = {"start_minute": int(start), "end_minute": int(stop)}
        story.add(f.QuietHoursChosen, "quiet", at, DEVICE, **hours)
    if person.says("paused"):
        at = story.chosen_at("paused_at")
        how = person.pick("pause_end")
        until = at + 3 * DAY_MS if how == "three_days" else None
        story.add(f.MarketingPaused, "paused", at, DEVICE, until=until)
        if how == "resumed":
            back = person.at("resumed_at", at, end)
            story.add(f.MarketingResumed, "resumed", back, DEVICE)


def _suppression(story: _Story) -> None:
    person = story.person
    if not person.says("suppressed"):
        return
    at = story.chosen_at("suppressed_at")
    reason, how = person.pick("suppression_reason"), person.pick("suppression_end")
    until = at + 2 * DAY_MS if how == "two_days" else None
    story.add(f.SubjectSuppressed, "suppressed", at, SERVER, reason=reason, until=until)
    if how == "released":
        back = person.at("released_at", at, story.span.last_ms)
        story.add(f.SubjectReleased, "released", back, SERVER, reason=reason)
