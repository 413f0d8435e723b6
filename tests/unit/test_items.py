"""Items that people watch: which change is news, what takes it back, and who hears of it."""

from __future__ import annotations

from typing import Any

import pytest

from ledger import facts as f
from ledger.items import (
    UNHEARD_OF,
    WATCH_MS,
    Item,
    Watch,
    decode,
    encode,
    hear,
    item_of,
    key_of,
    news_for,
    wake_at,
    wake_at_encoded,
    watched,
)
from tests.support.given import ANN, DAY, NOON, fact


def price(at: int, minor: int, **fields: Any) -> f.ItemPriceChanged:
    """What the boots cost from then on."""
    known = {"event_id": f"p{at}", "app": "shop", "occurred_at": at, "source": "server", "currency": "EUR"}
    return f.ItemPriceChanged(**{**known, "item": "boots", "price_minor": minor, **fields})


def stock(at: int, *, there: bool) -> f.ItemStockChanged:
    """Whether the boots can be had from then on."""
    known: dict[str, Any] = {"event_id": f"s{at}", "app": "shop", "occurred_at": at, "source": "server"}
    return f.ItemStockChanged(**known, item="boots", in_stock=there)


def after(*changes: f.ItemPriceChanged | f.ItemStockChanged, told: bool = False) -> Item:
    """The item after these changes; `told`: each was told to everybody before the next."""
    item = UNHEARD_OF
    for change in changes:
        item = hear(item, change)
        if told:
            item = decode_item(encode_told(item))
    return item


def encode_told(item: Item) -> bytes:
    """The row once its news was told."""
    import msgspec

    return encode(msgspec.structs.replace(item, telling="", cursor=b""))


def decode_item(raw: bytes) -> Item:
    """The item in a row."""
    row = decode(raw)
    assert isinstance(row, Item)
    return row


NEWS: dict[str, tuple[tuple[f.ItemPriceChanged | f.ItemStockChanged, ...], str]] = {
    "a first price": ((price(1, 100),), ""),
    "a lower price": ((price(1, 100), price(2, 80)), "price_dropped"),
    "a lower price than the shop says it was": ((price(1, 80, previous_minor=100),), "price_dropped"),
    "a higher price, of which nobody heard a lower": ((price(1, 100), price(2, 120)), ""),
    "a higher price after a drop": ((price(1, 100), price(2, 80), price(3, 90)), "price_rose"),
    "the same price": ((price(1, 100), price(2, 100)), ""),
    "another currency": ((price(1, 100), price(2, 80, currency="USD")), ""),
    "an older price that comes late": ((price(2, 100), price(1, 80)), ""),
    "a first stock": ((stock(1, there=True),), ""),
    "back in stock": ((stock(1, there=False), stock(2, there=True)), "back_in_stock"),
    "still in stock": ((stock(1, there=True), stock(2, there=True)), ""),
    "gone again": ((stock(1, there=False), stock(2, there=True), stock(3, there=False)), "out_of_stock"),
    "gone, of which nobody heard it was there": ((stock(1, there=True), stock(2, there=False)), ""),
}


@pytest.mark.parametrize("name", NEWS)
def test_what_is_news(name: str) -> None:
    """Good news is told; bad news only to take good news back."""
    changes, news = NEWS[name]
    *before, last = changes

    assert hear(after(*before, told=True), last).telling == news


def test_each_news_has_a_number_and_a_second_copy_is_none() -> None:
    """A later one overrules an earlier that is still going out, from the first watcher on."""
    dropped = after(price(1, 100), price(2, 80))
    going = Item(
        **{name: getattr(dropped, name) for name in dropped.__struct_fields__} | {"cursor": b"boots\0bo"}
    )

    again = hear(going, price(3, 70))

    assert (dropped.changes, again.changes, again.cursor, again.telling) == (1, 2, b"", "price_dropped")
    assert hear(dropped, price(2, 80)) is dropped
    assert wake_at(dropped) == 0
    assert wake_at(after(price(1, 100))) is None


def test_news_goes_to_who_watched_before_it() -> None:
    """With the item's number and prices; not to who came later, nor to who forgot half a year ago."""
    item = after(price(NOON - 1, 100), price(NOON, 80))
    key = key_of("boots", ANN)

    told = news_for(item, key, Watch(1, "shop", NOON - DAY), NOON)

    assert told is not None
    assert (told.subject, told.item, told.change, told.version) == (ANN, "boots", "price_dropped", 1)
    assert (told.price_minor, told.previous_minor, told.changed_at) == (80, 100, NOON)
    assert news_for(item, key, Watch(1, "shop", NOON - DAY), NOON) == told
    assert news_for(item, key, Watch(1, "shop", NOON + 1), NOON) is None
    assert news_for(item, key, Watch(1, "shop", NOON - WATCH_MS - 1), NOON) is None


def test_who_watches_follows_from_what_people_do() -> None:
    """A saved item is watched, an ordered one no longer; nothing else says anything of it."""
    saved = watched(fact(f.ItemSaved, NOON, item="boots"))
    ordered = watched(fact(f.OrderPlaced, NOON, order_id="o", items=("boots", "hat", "boots")))

    assert [(one.item, one.subject, one.watch) for one in saved] == [("boots", ANN, Watch(1, "shop", NOON))]
    assert [(one.item, one.watch) for one in ordered] == [("boots", None), ("hat", None)]
    assert watched(fact(f.ItemViewed, NOON, item="boots")) == ()


def test_rows_read_back_as_what_they_were() -> None:
    """Items and watches are told apart by their bytes, and so is whether one wants to be woken."""
    for row in (UNHEARD_OF, after(price(1, 100), price(2, 80)), Watch(1, "shop", NOON)):
        raw = encode(row)
        assert decode(raw) == row
        assert wake_at_encoded(raw) == wake_at(row)
    assert item_of(key_of("boots", ANN)) == item_of(b"boots") == b"boots"
