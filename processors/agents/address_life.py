"""What outcomes say of addresses: that one worked, which is noted; that one died, which is told as a fact.

The send lane keeps the notes in rows of its own. It can't write to the consent lane's rows: these are written
in another lane's transactions, and a copy here would keep addresses that an erasure never reaches.
"""

from __future__ import annotations

from typing import Final

import msgspec

from connectors.push.port import Outcome
from ledger.consent import installation_key, token_id
from ledger.reach import Reach, is_news, registered_at
from ledger.token_loss import interval
from processors.agents.delivery_facts import Ready, dead_token
from processors.agents.reach_rows import Worked, worked_key
from processors.lane.transaction import Transaction

LOOK_MS: Final = 7 * 86_400_000
"""So long after its subject let an address go, what is noted of it is gone at the latest."""


def learn(ready: Ready, outcome: Outcome, at: int, reach: Reach, transaction: Transaction) -> None:
    """Note that an address worked, or announce that it died. `reach`: what is known of its subject now.

    The note outlives the address until its next look: other pushes on their way to it are refused, too, and
    tell of the same death.
    """
    subject, name = ready.decision.subject, token_id(ready.push.provider, ready.push.token)
    key = worked_key(name)
    noted: Worked | None = transaction.get(key)
    last = None if noted is None else noted.at
    if outcome.kind == "accepted":
        if is_news(reach, name, last, at):
            transaction.put(key, Worked(name, subject, at, transaction.now + LOOK_MS))
    elif outcome.error_class == "token_dead":
        known = registered_at(reach, installation_key(ready.decision.app, ready.installation), name)
        found = interval(registered=known, accepted=last, gone=outcome.gone_since_ms, attempted=ready.at)
        transaction.announce(dead_token(ready, outcome, found))


def look_again(noted: Worked, reach: Reach, transaction: Transaction) -> None:
    """Keep what is noted of an address while its subject has it; after that nobody asks."""
    kept = None
    if noted.token_id in reach.addresses:
        kept = msgspec.structs.replace(noted, look_at=transaction.now + LOOK_MS)
    transaction.put(worked_key(noted.token_id), kept)
