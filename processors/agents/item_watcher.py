"""item_watcher: keeps who watches which item, and tells watchers of an item's news in bounded parts.

Watches belong where their item does, news where their subject does, so both are appended to other
partitions: first the append, acknowledged, then the commit. A crash in between appends a part once more, with
the same ids.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec

from connectors import codec
from connectors.kafka.append import Addressed
from connectors.placement import partition_of
from ledger import facts as f
from ledger import items
from ledger.items import Item, Watch
from processors.agents import intake
from processors.agents.failed_steps import FAILED, put_record_aside, put_timer_aside
from processors.agents.intake import Refused
from processors.agents.tally import tell_refused
from processors.lane.app import raw_topic
from processors.lane.hooks import Hooks
from processors.lane.lane import Lane
from processors.lane.table import LaneTable, RowCodec
from processors.lane.transaction import Transaction
from processors.telemetry.meters import FORGETFUL, Meters
from processors.topic_names import ITEM_CHANGES, ITEMS, WATCHES

PART_WATCHERS: Final = 1_000
"""Watchers that one part of an item's news goes to."""
UNFOLDED_MAX: Final = 1_000
"""While more news than this wait to be folded here, no further part is told: what all other people do would
stand behind them."""
UNFOLDED_POLL_S: Final = 0.05
PATIENCE_S: Final = 10.0
"""A part goes out after so long however much waits; longer would hold up a rebalance."""
KEY_BYTES_MAX: Final = 512

ROWS = RowCodec(items.encode, items.decode, items.wake_at, items.wake_at_encoded, version=items.ITEMS_VERSION)

Behind = Callable[[], Awaitable[int]]
"""How many news wait to be folded in the partitions that this process owns."""
AppendAll = Callable[[Sequence[Addressed]], Awaitable[None]]
"""Appends records side by side; all acknowledged when it returns."""


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A change of an item that may be folded, with its record."""

    fact: f.ItemPriceChanged | f.ItemStockChanged
    record: Any


@dataclasses.dataclass(frozen=True, slots=True)
class WatchTold:
    """A watch, or its end (None)."""

    key: bytes
    watch: Watch | None
    record: Any


def watch_records(facts: Sequence[f.SubjectFact], partitions: int) -> list[Addressed]:
    """What facts of subjects say of watches, as records where the items belong."""
    told = [one for fact in facts for one in items.watched(fact)]
    return [
        Addressed(
            WATCHES,
            partition_of(one.item.encode(), partitions),
            items.key_of(one.item, one.subject),
            None if one.watch is None else items.encode(one.watch),
        )
        for one in told
    ]


class ItemWatcher:
    """Folds changes of items and watches; tells news part by part as its timer fires."""

    def __init__(
        self,
        table: LaneTable,
        partitions: int,
        append_all: AppendAll,
        behind: Behind,
        meters: Meters = FORGETFUL,
    ) -> None:
        self._table = table
        self._partitions = partitions
        self._append_all = append_all
        self._behind = behind
        self._meters = meters
        self._watchers: dict[int, tuple[Any, dict[bytes, set[bytes]]]] = {}
        self._order: dict[tuple[int, bytes, int], list[bytes]] = {}

    def read(self, record: Any) -> tuple[int, Change | WatchTold | Refused]:
        """Decode and check one record. Never raises for bad input."""
        if record.topic == WATCHES:
            return record.timestamp, self._read_watch(record)
        found = intake.checked(record, f.ItemFact)
        if isinstance(found, Refused):
            return 0, found
        fact, *_ = found
        if not isinstance(fact, f.ItemPriceChanged | f.ItemStockChanged):
            return 0, Refused(record, "misplaced_fact", f"{type(fact).__name__} is no change of an item")
        return fact.occurred_at, Change(fact, record)

    def _read_watch(self, record: Any) -> WatchTold | Refused:
        key = record.key
        if not key or len(key) > KEY_BYTES_MAX or items.BETWEEN not in key:
            return Refused(record, "key_mismatch", "the key of a watch is an item, NUL and a subject")
        try:
            row = None if record.value is None else items.decode(record.value)
        except (msgspec.DecodeError, IndexError):
            return Refused(record, "malformed", "the value is no watch")
        if isinstance(row, Item):
            return Refused(record, "malformed", "the value is no watch")
        return WatchTold(key, row, record)

    def fold(self, item: Change | WatchTold | Refused, transaction: Transaction) -> None:
        """Fold one read record."""
        if isinstance(item, Refused):
            intake.dead_letter(item, transaction)
            tell_refused(item.reason, transaction, self._meters)
        elif isinstance(item, WatchTold):
            self._watch(item.key, item.watch, transaction)
        elif partition_of(item.record.key, self._partitions) != transaction.partition:
            # Nobody's consent hangs on it: whoever wrote it elsewhere sees it in dead-letters.
            detail = "the producer's partitioner is not murmur2; see docs/reference/topics.md"
            intake.dead_letter(Refused(item.record, "misplaced", detail), transaction)
            tell_refused("misplaced", transaction, self._meters)
        else:
            row: Item = transaction.get(item.record.key) or items.UNHEARD_OF
            after = items.hear(row, item.fact)
            if after is not row:
                transaction.put(item.record.key, after)

    def fold_failed(self, item: Change | WatchTold | Refused, place: str, transaction: Transaction) -> None:
        """Put a change or a watch aside."""
        put_record_aside(item, FAILED, place, transaction, self._meters)

    def _watch(self, key: bytes, watch: Watch | None, transaction: Transaction) -> None:
        watchers = self._of(transaction.partition).setdefault(items.item_of(key), set())
        if watch is None:
            watchers.discard(key)
        else:
            watchers.add(key)
        transaction.put(key, watch)

    def fire(self, key: bytes, row: Any, transaction: Transaction) -> None:
        """Tell the next part of the watchers of an item."""
        if not isinstance(row, Item) or not row.telling:
            return
        place = transaction.partition, key, row.changes
        order = self._order.get(place)
        if order is None:
            reached = row.cursor
            order = sorted(one for one in self._of(transaction.partition).get(key, ()) if one > reached)
            order.reverse()  # taken from the end
            self._order[place] = order
        part = [order.pop() for _ in range(min(PART_WATCHERS, len(order)))]
        for watcher in part:
            watch = transaction.rows.get(watcher) or self._table.peek(transaction.partition, watcher)
            news = None if watch is None else items.news_for(row, watcher, watch, transaction.now)
            if news is not None:
                transaction.announce(news)
        is_told = not order
        if is_told:
            self._order.pop(place, None)
        told = {"telling": "", "cursor": b""} if is_told else {"cursor": part[-1]}
        transaction.put(key, msgspec.structs.replace(row, **told))

    def fire_failed(self, key: bytes, row: Item, place: str, transaction: Transaction) -> None:
        """Put the rest of an item's news aside: who was not told by then is not told of this change."""
        self._order.pop((transaction.partition, key, row.changes), None)
        put_timer_aside(key, place, transaction, self._meters)
        transaction.put(key, msgspec.structs.replace(row, telling="", cursor=b""))

    async def announce(self, partition: int, news: Sequence[f.WatchedItemChanged]) -> None:
        """Append news where its subjects belong, once there is room. Raises `Transient`."""
        given_up = time.monotonic() + PATIENCE_S
        while await self._behind() > UNFOLDED_MAX and time.monotonic() < given_up:  # noqa: ASYNC110 - others fold
            await asyncio.sleep(UNFOLDED_POLL_S)
        del partition
        records = []
        for one in news:
            key = one.subject.encode()
            home = partition_of(key, self._partitions)
            records.append(Addressed(ITEM_CHANGES, home, key, codec.encode(one)))
        await self._append_all(records)

    def _of(self, partition: int) -> dict[bytes, set[bytes]]:
        """The watches of each item of a partition, found once after it was taken over."""
        owned = self._table.partitions[partition]
        known = self._watchers.get(partition)
        if known is None or known[0] is not owned:
            found: dict[bytes, set[bytes]] = {}
            for key in owned.rows:
                if items.BETWEEN in key[1:]:
                    found.setdefault(items.item_of(key), set()).add(key)
            known = self._watchers[partition] = (owned, found)
            self._order = {place: order for place, order in self._order.items() if place[0] != partition}
        return known[1]


def item_watcher(app: Any, lane: Lane, watcher: ItemWatcher) -> None:
    """Register the agent on `app`; items and watches are folded by `lane`."""
    lane.handle(ITEMS, watcher)
    lane.handle(WATCHES, watcher)
    lane.hooks = Hooks(fire=watcher.fire, fire_failed=watcher.fire_failed, announce=watcher.announce)

    @app.agent(raw_topic(app, ITEMS, WATCHES), name="item_watcher")  # type: ignore[untyped-decorator]
    async def watch(chunks: Any) -> None:
        async for chunk in chunks.noack().events():
            lane.feed(chunk.message)
