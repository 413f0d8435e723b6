"""Items that people watch: who watches what, and which change of an item is news to them.

A watch is a row of its own under (item, subject), so that no row grows with an item's fame. An item's row
says what it costs, whether it can be had, and how far its last news was told. Good news is told; what takes
it back goes to the same people, who may have a push waiting for the morning.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from ledger import facts as f
from ledger.ids import derived, short_hash
from ledger.time_zones import DAY_MS

ITEMS_VERSION: Final = 1
WATCH_MS: Final = 180 * DAY_MS
"""After so long without another save nobody is watching any more."""
RECENT_MAX: Final = 8
"""Changes of an item of which a second copy is recognised."""
BETWEEN: Final = b"\0"
"""Parts item and subject in a key; neither can hold it."""

PRICE_DROPPED: Final = "price_dropped"
PRICE_ROSE: Final = "price_rose"
BACK_IN_STOCK: Final = "back_in_stock"
OUT_OF_STOCK: Final = "out_of_stock"
_CONTRARY: Final = {PRICE_DROPPED: PRICE_ROSE, BACK_IN_STOCK: OUT_OF_STOCK}


class Watch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Somebody watches an item, of an app, since then (ms)."""

    version: int
    app: str
    since: int


class Item(msgspec.Struct, frozen=True, gc=False):
    """An item. `changes` counts its news; `telling` is what goes out now, `cursor` the last watch it reached.

    Encoded as a map, watches as arrays: one look at the first byte tells them apart.
    """

    version: int = ITEMS_VERSION
    app: str = ""
    changes: int = 0
    price_minor: int = -1
    previous_minor: int = -1
    currency: str = ""
    priced_at: int = -1
    in_stock: bool | None = None
    stocked_at: int = -1
    changed_at: int = -1
    telling: str = ""
    cursor: bytes = b""
    told: tuple[str, ...] = ()
    """Good news that was told and not taken back."""
    recent: tuple[int, ...] = ()


UNHEARD_OF: Final = Item()


class Watched(NamedTuple):
    """What a fact says of a watch: `watch` None: no longer."""

    item: str
    subject: str
    watch: Watch | None


def watched(fact: f.SubjectFact) -> tuple[Watched, ...]:
    """Who watches what from this fact on: a saved item is watched, an ordered one no longer."""
    if isinstance(fact, f.ItemSaved):
        return (Watched(fact.item, fact.subject, Watch(ITEMS_VERSION, fact.app, fact.occurred_at)),)
    if isinstance(fact, f.OrderPlaced):
        return tuple(Watched(item, fact.subject, None) for item in dict.fromkeys(fact.items))
    return ()


def key_of(item: str, subject: str) -> bytes:
    """The key of a watch."""
    return item.encode() + BETWEEN + subject.encode()


def item_of(key: bytes) -> bytes:
    """The item's part of a key; all of it, for an item's own row."""
    return key.partition(BETWEEN)[0]


def hear(item: Item, fact: f.ItemPriceChanged | f.ItemStockChanged) -> Item:
    """Fold one change of an item. One that is older than what is known, or a second copy, changes nothing."""
    mark = short_hash(fact.event_id)
    if mark in item.recent:
        return item
    replace = msgspec.structs.replace
    item = replace(item, app=fact.app, recent=(*item.recent, mark)[-RECENT_MAX:])
    if isinstance(fact, f.ItemPriceChanged):
        if fact.occurred_at < item.priced_at:
            return item
        same = fact.currency == item.currency
        known = item.price_minor if item.price_minor >= 0 and same else None
        before = fact.previous_minor if fact.previous_minor is not None else known
        news = _price_news(before, fact.price_minor)
        item = replace(
            item,
            price_minor=fact.price_minor,
            previous_minor=-1 if before is None else before,
            currency=fact.currency,
            priced_at=fact.occurred_at,
        )
    else:
        if fact.occurred_at < item.stocked_at:
            return item
        news = "" if fact.in_stock == item.in_stock else OUT_OF_STOCK
        if fact.in_stock and item.in_stock is False:
            news = BACK_IN_STOCK
        elif fact.in_stock:
            news = ""
        item = replace(item, in_stock=fact.in_stock, stocked_at=fact.occurred_at)
    return _told(item, news, fact.occurred_at)


def _price_news(before: int | None, now: int) -> str:
    if before is None or before == now:
        return ""
    return PRICE_DROPPED if now < before else PRICE_ROSE


def _told(item: Item, news: str, at: int) -> Item:
    replace = msgspec.structs.replace
    if news in _CONTRARY:
        told = (*(one for one in item.told if one != news), news)
    else:
        taken_back = {good for good, bad in _CONTRARY.items() if bad == news}
        if not taken_back & set(item.told):
            return item  # nobody was told anything that this would take back
        told = tuple(one for one in item.told if one not in taken_back)
    return replace(item, changes=item.changes + 1, telling=news, cursor=b"", changed_at=at, told=told)


def news_for(item: Item, key: bytes, watch: Watch, now: int) -> f.WatchedItemChanged | None:
    """What to tell the watcher under `key`; None: the watch is over, or began after the change."""
    name, _, subject = key.decode().partition("\0")
    if now - watch.since > WATCH_MS or watch.since > item.changed_at:
        return None
    return f.WatchedItemChanged(
        event_id=derived("item", name, str(item.changes), subject),
        app=watch.app,
        occurred_at=item.changed_at,
        source="processor",
        subject=subject,
        item=name,
        change=item.telling,
        version=item.changes,
        changed_at=item.changed_at,
        price_minor=item.price_minor if item.price_minor >= 0 else None,
        previous_minor=item.previous_minor if item.previous_minor >= 0 else None,
        currency=item.currency or None,
    )


_encoder = msgspec.msgpack.Encoder(order="sorted")
_items = msgspec.msgpack.Decoder(Item)
_watches = msgspec.msgpack.Decoder(Watch)
_ARRAYS: Final = frozenset(range(0x90, 0xA0))
"""First bytes of a short array in MessagePack."""


def encode(row: Item | Watch) -> bytes:
    """Write a row."""
    return _encoder.encode(row)


def decode(raw: bytes) -> Item | Watch:
    """Read a row. Raises `msgspec.DecodeError` for junk."""
    return _watches.decode(raw) if raw[0] in _ARRAYS else _items.decode(raw)


def wake_at(row: Item | Watch) -> int | None:
    """An item whose news is being told wants to be looked at again at once."""
    return 0 if isinstance(row, Item) and row.telling else None


def wake_at_encoded(raw: bytes) -> int | None:
    """`wake_at` of an encoded row."""
    return None if raw[0] in _ARRAYS else wake_at(decode(raw))
