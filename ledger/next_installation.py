"""Chooses another installation for a marketing push whose address was refused, by the decision's own order.

The decision stands: its slot, its text, its time limit. Only the address was wrong, and surely nobody was
shown anything; so the person is not left without it while another device of theirs works.
"""

from __future__ import annotations

import msgspec

from ledger import facts as f
from ledger.choice import reachable
from ledger.consent import installation_key, installation_of
from ledger.gate import TRANSACTIONAL, Question
from ledger.policy import Policy
from ledger.reach import Reach, address, late_refusal
from ledger.snapshot import Snapshot, consent_view, decode_snapshot
from ledger.time_zones import ZoneTable, next_quiet

replace = msgspec.structs.replace


def next_installation(
    reach: Reach,
    decision: f.PushDecided,
    refused: str,
    policy: Policy,
    zone_table: ZoneTable,
    now: int,
    *,
    takes_ms: int,
) -> str | None:
    """The next of those that the gate could have chosen, after `refused`, which may have it now; or None.

    A transactional push goes to all installations anyway. `takes_ms`: see `reach.late_refusal`.
    """
    if decision.category == TRANSACTIONAL or decision.send_before is None:
        return None
    try:
        snapshot = decode_snapshot(decision.snapshot)
    except msgspec.DecodeError:
        return None
    views = snapshot.consent.installations
    keys = [views[i].key for i in reachable(snapshot, policy.marketing_permissions)]
    before = installation_key(decision.app, refused)
    if before not in keys:
        return None
    dead = address(reach, before)
    for key in keys[keys.index(before) + 1 :]:
        other, to = installation_of(key), address(reach, key)
        if to is None or to == dead:
            continue
        if late_refusal(reach, decision, other, policy, now, takes_ms=takes_ms) is None and _is_open(
            reach, decision, key, snapshot, policy, zone_table, now, decision.send_before
        ):
            return other
    return None


def _is_open(
    reach: Reach,
    decision: f.PushDecided,
    key: str,
    snapshot: Snapshot,
    policy: Policy,
    zone_table: ZoneTable,
    now: int,
    send_before: int,
) -> bool:
    """Whether no quiet hours begin, where this installation is, before the decision's time limit.

    The limit was set for the installation that was chosen first, which may be in another time zone.
    """
    view = consent_view(reach.consent, decision.app, decision.topic)
    alone = tuple(one for one in view.installations if one.key == key)
    there = replace(snapshot, consent=replace(view, installations=alone), last_active=(0,))
    question = Question(there, policy, zone_table, now)
    hours = question.quiet_hours
    if hours is None:
        return True
    if question.open_at is None or question.open_at > now or not question.zones:
        return False
    return next_quiet(now, send_before, *hours, question.zones) == send_before
