"""What happens on an assignment: claim, settle, read back, seek, resume. In this order.

The group only decides who tries. Claiming first means that the former owner can no longer move the end of
the changelog that is read next; settling means that nothing of its hangs before that end; seeking last means
that the first chunk starts where the state stands.
"""

# Faust's abstract types hide what its drivers really are; this file works on the drivers.
# mypy: disable-error-code="attr-defined, return-value"

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING, Any, Final

from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery

from processors.lane.changelog import read_back
from processors.lane.markers import Unsettled
from processors.lane.table import Partition, UnreadableState
from processors.lane.unreadable_state import end_unreadable

if TYPE_CHECKING:
    from processors.lane.lane import Lane

log = logging.getLogger(__name__)

EXIT_UNSETTLED: Final = 79
"""Exit code of a process that found a hanging transaction whose fate nothing shows."""

UNSETTLED_ADVICE: Final = (
    "Nothing was written. See docs/how-to/end-a-hanging-transaction.md: find it with"
    " `kafka-transactions.sh find-hanging`, and end it by hand"
)
UNSETTLED_SHOWN_S: Final = 20.0
"""Before it ends for that, a process stays long enough for its metrics to be read."""


class LaneRecovery(Recovery):
    """Replaces "resume at once, there are no Faust tables" by our own recovery.

    Runs in Faust's recovery service, not in the assignment callback: aiokafka sends no heartbeats there,
    and a long read would throw the worker out of the group.
    """

    async def on_rebalance(
        self, assigned: Any, revoked: Any, newly_assigned: Any, generation_id: int = 0
    ) -> None:
        """Remember how many revocations there were when this recovery was asked for."""
        self._revocations = self.app.consumer.revocations
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    async def _resume_streams(self, generation_id: int = 0) -> None:
        app, consumer, revocations = self.app, self.app.consumer, self._revocations
        assignment = consumer.assignment()
        app.lane_probe.recovering()

        def overtaken() -> bool:
            return bool(consumer.revocations != revocations or self.should_stop)

        for lane in self.tables.lanes:
            mine = {tp.partition for tp in assignment if tp.topic in lane.topics}
            # `_wait` raises RebalanceAgain when the next assignment arrives meanwhile.
            try:
                await self._wait(assign(lane, mine, overtaken))
            except Unsettled as error:
                # A claim is all that was written: going on could tear state and outputs apart for good.
                log.critical("lane %s: %s. %s", lane.name, error, UNSETTLED_ADVICE)
                app.lane_probe.unsettled(lane.name)
                await asyncio.sleep(UNSETTLED_SHOWN_S)
                logging.shutdown()
                os._exit(EXIT_UNSETTLED)
            except UnreadableState as error:
                await end_unreadable(lane, error)
        await app.on_rebalance_complete.send()
        consumer.resume_partitions(assignment)
        await self._wait(consumer.perform_seek(), timeout=app.conf.broker_request_timeout)
        if overtaken() or generation_id != app.consumer_generation_id:
            log.warning("recovery of generation %d was overtaken by a rebalance", generation_id)
            return
        # No await from here to the resumed flow: nothing may come in between.
        for lane in self.tables.lanes:
            lane.resume()
        self.completed.set()
        app.flow_control.resume()
        consumer.resume_flow()
        await app._fetcher.maybe_start()
        self.tables.on_actives_ready()
        self.tables.on_standbys_ready()
        app.on_rebalance_end()
        app.lane_probe.ready()
        log.info("ready: generation %d, %d partitions", generation_id, len(assignment))


async def assign(lane: Lane, partitions: set[int], overtaken: Any) -> None:
    """Drop what left; claim, settle and read back what came.

    A partition that stayed is not read again: had somebody claimed it meanwhile, our next transaction
    would fail. Stops early, leaving what came unrecovered, once `overtaken()` is true.
    """
    table, writer = lane.table, lane.writer
    for partition in set(table.partitions) - partitions:
        del table.partitions[partition]
        table.recovered.discard(partition)
        await writer.release(partition)
    fresh = partitions - table.recovered
    if not fresh:
        return
    started = time.monotonic()
    await asyncio.gather(*(writer.release(partition) for partition in fresh))
    await asyncio.gather(*(writer.claim(partition) for partition in fresh))
    for partition in sorted(fresh):
        for (topic, _), committed in (await writer.settle(partition, table.changelog)).items():
            fate = "committed" if committed else "aborted"
            log.warning("a transaction hung on %s/%d: its markers were forgotten; %s", topic, partition, fate)
            lane.probe.settled(lane.name, fate)
    claimed = time.monotonic()
    for partition in fresh:
        table.partitions[partition] = Partition()
    count = await read_back(lane.bootstrap, table.changelog, fresh, table.restore, overtaken)
    if overtaken():
        return
    _refuse_bounded_run(lane, fresh)
    for partition in fresh:
        table.rebuild_timers(partition)
    table.recovered |= fresh
    read = time.monotonic()
    lane.probe.recovered(lane.name, count, claimed - started, read - claimed)
    log.info(
        "recovered %s: partitions %s, %d records, claim %.2f s, read %.2f s",
        table.changelog,
        sorted(fresh),
        count,
        claimed - started,
        read - claimed,
    )


def _refuse_bounded_run(lane: Lane, partitions: set[int]) -> None:
    """Raise `UnreadableState` for a lane by the wall clock over a concluded run by the event clock.

    Such a run took no commands, and its one lane of delivery folded what two lanes fold otherwise: going on
    from there would skip some inputs and fold others twice.
    """
    if lane.by_events:
        return
    for partition in sorted(partitions):
        if lane.table.partitions[partition].position.done:
            raise UnreadableState(
                f"{lane.table.changelog}/{partition} was written by a run by the event clock (optin demo or"
                " replay), which can't be gone on with by the wall clock: use other servers, or another data"
                " folder"
            )


class LaneTableManager(TableManager):
    """Holds the lanes; stays empty for Faust, so no changelog is ever in a subscription."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self.lanes: list[Lane] = []

    @property
    def recovery(self) -> LaneRecovery:
        """Our recovery service."""
        if self._recovery is None:
            self._recovery = LaneRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
