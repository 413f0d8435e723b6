"""Recalled versions of journeys: what an operator takes out of people's hands because it is broken.

Open instances go by the version that they began with, so a mended one helps nobody who is in it already. A
recalled one ends with the subject's next step, a fact or a timer, before anything of it is looked at; what it
had asked for is withheld when its time comes (`gate.LEFT`), and nothing begins by it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger.setting import Turn
from ledger.subject import Subject

RECALLED: Final = "recalled"
"""Outcome of an instance whose version was recalled."""


def end_recalled(subject: Subject, turn: Turn) -> Subject:
    """The subject without instances of recalled versions."""
    recalled = turn.setting.recalled
    if not recalled:
        return subject
    for instance in subject.instances:
        if instance.journey_version in recalled:
            turn.end(instance, RECALLED)
    instances = tuple(one for one in subject.instances if one.journey_version not in recalled)
    held = tuple(
        msgspec.structs.replace(one, ended_as=one.ended_as or RECALLED)
        if one.journey_version in recalled
        else one
        for one in subject.held
    )
    if len(instances) == len(subject.instances) and held == subject.held:
        return subject
    return msgspec.structs.replace(subject, instances=instances, held=held)
