"""Who opens which push of a simulated week: people react while the week goes on, on the core alone.

A push that was opened may change what is decided next, so the opens are found in the order of events and
published with everything else. The week through all roles then comes out the same.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections import defaultdict
from collections.abc import Iterator
from itertools import count
from typing import Final

from connectors.datasets.shop_week import Accepted, ShopWeek, opens
from ledger import facts as f
from ledger.consent import installation_key
from ledger.definitions import Definitions
from ledger.ids import push_id
from ledger.life import Life
from ledger.subject import wake_at
from processors.definitions.setting import setting_of

Coming = tuple[int, int, int, f.SubjectFact]
"""When, the rank of its topic and its place there, and the fact. Opens come after the rest of activity."""
LAST: Final = 3


def as_lived(week: ShopWeek, definitions: Definitions) -> ShopWeek:
    """The week with the opens of the pushes that these definitions send in it.

    Each push that is decided counts as delivered: so it is where the console delivers.
    """
    setting = setting_of(definitions)
    coming: dict[str, list[Coming]] = defaultdict(list)
    for rank, facts in enumerate((week.permissions, week.tokens, week.activity)):
        for place, fact in enumerate(facts):
            coming[fact.subject].append((fact.occurred_at, rank, place, fact))
    found = [one for name, facts in coming.items() for one in _opened(Life(name, setting), facts)]
    activity = sorted((*week.activity, *found), key=lambda fact: (fact.occurred_at, fact.subject))
    return dataclasses.replace(week, activity=tuple(activity))


def _opened(life: Life, coming: list[Coming]) -> Iterator[f.PushOpened]:
    """Live through what comes, and what is opened on the way."""
    heapq.heapify(coming)
    places, heard = count(), 0
    while coming or wake_at(life.subject) is not None:
        due = wake_at(life.subject)
        if due is not None and (not coming or due < coming[0][0]):
            life.pass_until(due + 1)
        else:
            at, _, _, fact = heapq.heappop(coming)
            life.fold(fact, at, at)
        said, heard = life.said[heard:], len(life.said)
        if life.subject.consent.erased_at is not None:
            return
        for opened in opens(_delivered(said)):
            heapq.heappush(coming, (opened.occurred_at, LAST, next(places), opened))
            yield opened


def _delivered(said: list[f.SubjectFact]) -> Iterator[Accepted]:
    for fact in said:
        if isinstance(fact, f.PushDecided) and fact.verdict == "send":
            for installation in fact.installations:
                key = installation_key(fact.app, installation)
                name = push_id(fact.decision_id, key)
                yield fact.subject, fact.app, key, name, fact.occurred_at
