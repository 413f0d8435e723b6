"""What outcomes say of addresses: that one worked, which is noted; that one died, which is told as a fact.

The send lane keeps the notes in rows of its own. It can't write to the consent lane's rows: these are written
in another lane's transactions, and a copy here would keep addresses that an erasure never reaches.

Where an operator asks for it, an address that no push went to for a day is probed: a silent push to an app
that is no longer there is refused like any other, so an uninstall shows within days.
"""

from __future__ import annotations

from typing import Final

import msgspec

from connectors.push.port import Outcome, Push
from ledger.consent import installation_key, token_id
from ledger.ids import derived, short_hash
from ledger.reach import NOTED_EVERY_MS, Reach, is_news, probed, registered_at
from ledger.token_loss import interval
from processors.agents.delivery_facts import Handed, Probe, Probing, dead_token
from processors.agents.reach_rows import Worked, worked_key
from processors.lane.transaction import Transaction

LOOK_MS: Final = 7 * 86_400_000
"""So long after its subject let an address go, what is noted of it is gone at the latest."""
PROBE_LIVES_MS: Final = 3_600_000
"""A device that is off for longer does not hear of a probe; the provider has answered long before."""


class AddressLife:
    """The notes of a send lane, and its probes. `probes_max`: how many may be under way; 0: none."""

    def __init__(self, probes_max: int = 0) -> None:
        self._probes_max = probes_max
        self._look_ms = NOTED_EVERY_MS if probes_max else LOOK_MS
        self._under_way: set[str] = set()
        """Token ids of probes. What comes due beyond that waits a day: probes must never hold up pushes."""

    def learn(
        self, handed: Handed, outcome: Outcome, at: int, reach: Reach, transaction: Transaction
    ) -> None:
        """Note that an address worked, or announce that it died. `reach`: what is known of its subject now.

        The note outlives the address until its next look: other pushes on their way to it are refused, too,
        and tell of the same death.
        """
        name = token_id(handed.push.provider, handed.push.token)
        key = worked_key(name)
        noted: Worked | None = transaction.get(key)
        last = None if noted is None else noted.at
        if outcome.kind == "accepted":
            if is_news(reach, name, last, at):
                transaction.put(key, Worked(name, handed.subject, at, transaction.now + self._look_ms))
        elif outcome.error_class == "token_dead":
            known = registered_at(reach, installation_key(handed.app, handed.installation), name)
            found = interval(registered=known, accepted=last, gone=outcome.gone_since_ms, attempted=handed.at)
            transaction.announce(dead_token(handed, outcome, found))

    def look_again(self, noted: Worked, reach: Reach, transaction: Transaction) -> None:
        """Keep what is noted of an address while its subject has it, after that nobody asks; or probe it."""
        quiet = transaction.now - noted.at >= NOTED_EVERY_MS
        if not (self._probes_max and quiet and probed(reach, noted.token_id)):
            self._keep(noted, reach, self._look_ms, transaction)
        elif len(self._under_way) >= self._probes_max:
            self._keep(noted, reach, _spread_ms(noted.token_id, transaction.now), transaction)
        else:
            self._under_way.add(noted.token_id)
            transaction.effect(Probe(noted))

    def probe(self, probe: Probe, begun_s: float | None, reach: Reach, transaction: Transaction) -> None:
        """Have an address probed after a look at consent, if that allows it still.

        Delivery guarantee: at most one probe a day; its row says so before it leaves.
        """
        noted, now = probe.noted, transaction.now
        to = None if begun_s is None else probed(reach, noted.token_id)
        if to is None or begun_s is None or transaction.get(worked_key(noted.token_id)) != noted:
            self._under_way.discard(noted.token_id)
            if begun_s is None:
                transaction.put(worked_key(noted.token_id), noted)  # due at its next owner
            elif to is None:
                self._keep(noted, reach, self._look_ms, transaction)
            return
        self._keep(noted, reach, self._look_ms, transaction)
        provider, token = reach.addresses[noted.token_id]
        name = derived("probe", noted.token_id, str(noted.look_at))
        push = Push(name, to[0], provider, token, "", "", background=True, expires_at_ms=now + PROBE_LIVES_MS)
        transaction.effect(Probing(Handed(noted.subject, *to, push, now), begun_s))

    def missed(self, probing: Probing) -> None:
        """There was no time left for a probe; the next one is a day later."""
        self._under_way.discard(token_id(probing.push.provider, probing.push.token))

    def answered(self, probing: Probing, outcome: Outcome, reach: Reach, transaction: Transaction) -> None:
        """Learn what a probe says. One that was not taken, for whatever reason, says nothing."""
        self.missed(probing)
        self.learn(probing.handed, outcome, transaction.now, reach, transaction)

    def _keep(self, noted: Worked, reach: Reach, wait_ms: int, transaction: Transaction) -> None:
        kept = None
        if noted.token_id in reach.addresses:
            kept = msgspec.structs.replace(noted, look_at=transaction.now + wait_ms)
        transaction.put(worked_key(noted.token_id), kept)


def _spread_ms(name: str, now: int) -> int:
    """Half a day to one and a half, so that a campaign's addresses do not come due together again."""
    return NOTED_EVERY_MS // 2 + short_hash(f"{name} {now}") % NOTED_EVERY_MS
