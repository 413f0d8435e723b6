"""A campaign: one message to an audience, once. What it is, and what it does to one subject."""

from __future__ import annotations

import dataclasses

import msgspec

from ledger.candidates import ask, candidate_of
from ledger.definitions import held_out
from ledger.ids import derived
from ledger.journey import Campaign
from ledger.rules import Rules, values
from ledger.setting import Setting, Step, Turn
from ledger.subject import Instance, Subject


def belongs(subject: Subject, app: str, rule: str, now: int, rules: Rules) -> bool:
    """Whether the rule holds for a subject, not erased, with an installation of the app ("": of any)."""
    consent = subject.consent
    if consent.erased_at is not None:
        return False
    if app and not any(key.startswith(f"{app}/") for key in consent.installations):
        return False
    return rules.holds(rule, values(subject.profile, now))


def consider(
    subject: Subject, name: str, campaign: Campaign, version: str, launch: str, now: int, setting: Setting
) -> Step:
    """Ask for the campaign's push to a subject of its audience at `now` (ms)."""
    flow = campaign.flow
    instance = Instance(
        instance=derived("campaign", launch, name),
        journey=flow.name,
        journey_version=version,
        app=campaign.app,
        due=now,
        items=(),
        holdout=held_out(flow.holdout, name),
    )
    turn = Turn(name, now, setting)
    subject = ask(subject, [candidate_of(instance, 0, now)], turn)
    return subject, tuple(turn.facts)


def at_once(setting: Setting) -> Setting:
    """The setting of a dry run: nothing is gathered, everybody gets a first verdict."""
    definitions = setting.definitions
    policy = msgspec.structs.replace(definitions.policy, decision_window_ms=0)
    return dataclasses.replace(setting, definitions=dataclasses.replace(definitions, policy=policy))
