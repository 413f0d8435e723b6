"""What the ledger takes in, at the edges of each limit."""

from __future__ import annotations

from typing import Any, Final

import pytest

from ledger import facts as f
from ledger.admission import (
    EARLIEST_MS,
    ID_LENGTH_MAX,
    ITEMS_MAX,
    LATEST_MS,
    NOTE_LENGTH_MAX,
    NOTES_MAX,
    PRICE_MINOR_MAX,
    PUSHES_MAX,
    QUANTITY_MAX,
    TEXT_LENGTH_MAX,
    WORD_LENGTH_MAX,
    admitted,
    rejection,
)
from ledger.consent import SKEW_MS
from tests.support.given import ANN, DAY, NOON, fact


def refused(kind: type[f.SubjectFact], at: int = NOON, key: bytes | None = None, **fields: Any) -> str | None:
    """The reason for which a fact appended at noon is refused."""
    one = fact(kind, at, **fields)
    found = rejection(one, one.subject.encode() if key is None else key, NOON)
    return found[0] if found else None


SETTLED: dict[str, Any] = {
    "source": "processor:operator",
    "letter": "l",
    "first_offset": 7,
    "last_offset": 7,
    "outcome": "replayed",
}

DEAD: dict[str, Any] = {"token_id": "x", "reason": "gone"}

IDS: Final = (
    *("auth0|5f7c8ec7c33c6c004bbafe82", "google-oauth2|103547991597142817347", "_1a2b", "{8A7B-11}", "a/b|c"),
    *("us-east-1:2a6d7b0c-8f1e", "urn:uuid:2a6d7b0c", "gid://shopify/Customer/544365967", "00u1ab2cd3EF"),
)
"""What identity systems and shops call people and things."""
WORDS: Final = (
    *(
        "\u5c71\u7530\u3000\u592a\u90ce",
        "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",
        "1\u202f299,00\u00a0\u20ac",
    ),
    *(
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "\U0001fae9",
        "\uf8ff Pay",
        "\u200f\u05e9\u05dc\u05d5\u05dd",
        "",
    ),
    *("Hauptstr. 1\n10115 Berlin", "a\tb\r\nc", "\u0d9a\u0dca\u200d\u0dc2"),
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
)
"""What people write: spaces of several widths, joiners, direction marks, emoji newer than Python, lines."""

GOOD: list[tuple[type[f.SubjectFact], dict[str, Any]]] = [
    (f.PermissionDenied, {}),
    (f.PermissionDenied, {"at": NOON + SKEW_MS}),
    (f.PermissionDenied, {"at": EARLIEST_MS}),
    (f.PermissionDenied, {"subject": "x" * ID_LENGTH_MAX}),
    (f.PermissionDenied, {"context": "Kasse · größe"}),
    (f.PermissionDenied, {"sequence": 0}),
    (f.PermissionDenied, {"subject": "1234567890123456789"}),
    (f.PermissionDenied, {"subject": "123456789"}),
    (f.SubjectSuppressed, {"reason": "x" * WORD_LENGTH_MAX}),
    (f.SubjectSuppressed, {"reason": "ü" * (WORD_LENGTH_MAX // 2)}),
    (f.TokenRegistered, {"provider": "web_push", "token": "t" * 4 * TEXT_LENGTH_MAX}),
    (f.FrequencyChosen, {"max_pushes": PUSHES_MAX, "window": "calendar_month"}),
    (f.QuietHoursChosen, {"start_minute": 0, "end_minute": 1439}),
    (f.OrderPlaced, {"order_id": "o", "items": tuple(f"i{n}" for n in range(ITEMS_MAX))}),
    (f.CartUpdated, {"item": "i", "change": "added", "quantity": QUANTITY_MAX}),
    (f.CartUpdated, {"item": "gid://shopify/ProductVariant/41", "change": "removed", "quantity": 0}),
    *((f.PermissionDenied, {"subject": one, "installation": one, "event_id": one}) for one in IDS),
    *((f.PermissionDenied, {"context": one}) for one in WORDS),
    *((f.SubjectAttributesSet, {"attributes": {"name": one}}) for one in WORDS),
    (f.MarketingPaused, {"until": None}),
    (f.InstallationLinked, {"claim": "c", "source": "processor"}),
    (f.InstallationUnlinked, {"claim": "c", "source": "processor:identity_linker"}),
    (f.SubjectAttributesSet, {"attributes": {f"a{n}": "v" * NOTE_LENGTH_MAX for n in range(NOTES_MAX)}}),
    (f.CustomActivity, {"name": "cooked", "properties": {"n" * WORD_LENGTH_MAX: "größer"}}),
    (f.OnboardingStepCompleted, {"step": "sizes"}),
    (f.PushDelivered, {"push_id": "p" * 128}),
    (f.PushDismissed, {"push_id": "p" * 128}),
    (f.OnboardingCompleted, {}),
    (f.TrialStarted, {"trial": "t", "ends_at": NOON + 30 * DAY}),
    (f.UnreadableFactSettled, SETTLED),
    (f.TokenInvalidated, {**DEAD, "last_seen_ok": EARLIEST_MS, "first_seen_gone": LATEST_MS}),
    (f.TokenInvalidated, {**DEAD, "last_seen_ok": NOON, "first_seen_gone": NOON}),
    (f.TokenInvalidated, {**DEAD, "last_seen_ok": NOON, "cause": "a_newer_apps_word"}),
]

BAD: list[tuple[str, type[f.SubjectFact], dict[str, Any]]] = [
    ("key_mismatch", f.PermissionDenied, {"key": b"bob"}),
    ("not_yours", f.UnreadableFactSettled, {**SETTLED, "source": "server"}),
    ("absurd_number", f.UnreadableFactSettled, {**SETTLED, "first_offset": -1}),
    ("absurd_number", f.UnreadableFactSettled, {**SETTLED, "last_offset": 6}),
    ("personal_subject", f.PermissionDenied, {"subject": "ann@example.org"}),
    ("personal_subject", f.PermissionDenied, {"subject": "+49 151 23456789"}),
    ("personal_subject", f.PermissionDenied, {"subject": "004915123456789"}),
    ("absurd_time", f.PermissionDenied, {"at": EARLIEST_MS - 1}),
    ("absurd_time", f.PermissionDenied, {"at": 2**62}),
    ("from_the_future", f.PermissionDenied, {"at": NOON + SKEW_MS + 1}),
    ("unknown_source", f.PermissionDenied, {"source": "rumour"}),
    ("absurd_identifier", f.PermissionDenied, {"subject": "x" * (ID_LENGTH_MAX + 1)}),
    ("absurd_text", f.SubjectSuppressed, {"reason": "ü" * (WORD_LENGTH_MAX // 2 + 1)}),
    ("absurd_text", f.TokenInvalidated, {"token_id": "x" * (WORD_LENGTH_MAX + 1), "reason": "gone"}),
    ("absurd_time", f.TokenInvalidated, {**DEAD, "last_seen_ok": NOON + 1, "first_seen_gone": NOON}),
    ("absurd_time", f.TokenInvalidated, {**DEAD, "last_seen_ok": EARLIEST_MS - 1}),
    ("absurd_time", f.TokenInvalidated, {**DEAD, "first_seen_gone": LATEST_MS + 1}),
    ("absurd_text", f.TokenRegistered, {"provider": "fcm", "token": "ü" * (2 * TEXT_LENGTH_MAX + 1)}),
    ("absurd_identifier", f.PermissionDenied, {"installation": ""}),
    ("absurd_identifier", f.PermissionDenied, {"installation": "a b"}),
    ("absurd_identifier", f.PermissionDenied, {"installation": "a\nb"}),
    ("absurd_identifier", f.ItemViewed, {"item": "a\nb"}),
    ("absurd_identifier", f.PermissionDenied, {"app": "shop/phone"}),
    ("absurd_identifier", f.PermissionDenied, {"event_id": "\x00"}),
    ("personal_subject", f.PermissionDenied, {"subject": "491512345678"}),
    ("absurd_text", f.SubjectSuppressed, {"reason": "x" * (WORD_LENGTH_MAX + 1)}),
    ("absurd_text", f.InstallationSeen, {"platform": "ios", "time_zone": "x" * (WORD_LENGTH_MAX + 1)}),
    *(
        ("absurd_text", f.PermissionDenied, {"context": f"a{odd}b"})
        for odd in (
            "\x00",
            "\x1b",
            "\x7f",
            "\x85",
            "\u2028",
            "\u202e",
            "\u2066",
            "\ufeff",
            "\ufff9",
            "\uffff",
        )
    ),
    ("absurd_text", f.PermissionDenied, {"context": "a\U000e0041"}),
    ("absurd_text", f.PermissionDenied, {"context": "a\ud800"}),
    ("absurd_text", f.SubjectSuppressed, {"reason": "a\nb"}),
    ("absurd_number", f.CartUpdated, {"item": "i", "change": "added", "quantity": -1}),
    ("absurd_identifier", f.CartUpdated, {"item": "gift wrap #1", "change": "added"}),
    ("personal_subject", f.PermissionDenied, {"subject": "sms|+4915123456789"}),
    ("absurd_identifier", f.PermissionDenied, {"installation": "|a"}),
    ("absurd_identifier", f.TopicSubscribed, {"topic": "a/b"}),
    ("absurd_text", f.PermissionDenied, {"context": "x" * (TEXT_LENGTH_MAX + 1)}),
    ("absurd_text", f.PermissionDenied, {"source": "device:\x1b[31m"}),
    ("absurd_text", f.TokenRegistered, {"provider": "apns", "token": ""}),
    ("absurd_text", f.TokenRegistered, {"provider": "apns", "token": "t" * (4 * TEXT_LENGTH_MAX + 1)}),
    ("absurd_number", f.PermissionDenied, {"sequence": -1}),
    ("absurd_number", f.FrequencyChosen, {"max_pushes": -1, "window": "rolling_day"}),
    ("absurd_number", f.FrequencyChosen, {"max_pushes": 1, "window": "fortnight"}),
    ("absurd_number", f.QuietHoursChosen, {"start_minute": 0, "end_minute": 1440}),
    ("absurd_time", f.MarketingPaused, {"until": 12}),
    ("not_yours", f.InstallationLinked, {"claim": "c", "source": "device"}),
    ("not_yours", f.InstallationUnlinked, {"claim": "c", "source": "server:processor"}),
    ("absurd_identifier", f.InstallationUnlinked, {"claim": "", "source": "processor"}),
    ("absurd_identifier", f.CustomActivity, {"name": "no word"}),
    ("absurd_identifier", f.OnboardingStepCompleted, {"step": ""}),
    ("absurd_identifier", f.PushDelivered, {"push_id": ""}),
    ("absurd_identifier", f.PushDismissed, {"push_id": "p" * 129}),
    ("absurd_identifier", f.TrialEnded, {"trial": "", "outcome": "expired"}),
    ("absurd_time", f.TrialStarted, {"trial": "t", "ends_at": 12}),
]


def claim(key: bytes = b"phone", **fields: Any) -> str | None:
    """The reason for which a claim of the phone is refused."""
    known = {"event_id": "c", "app": "shop", "source": "device", "installation": "phone", "subject": ANN}
    found = rejection(f.InstallationClaimed(**{**known, "occurred_at": NOON, **fields}), key, NOON)
    return found[0] if found else None


def item(kind: type[f.ItemFact], key: bytes = b"boots", **fields: Any) -> str | None:
    """The reason for which a fact about the boots is refused."""
    known = {"event_id": "i", "app": "shop", "source": "server", "item": "boots", "occurred_at": NOON}
    found = rejection(kind(**{**known, **fields}), key, NOON)
    return found[0] if found else None


def test_a_claim_is_keyed_by_its_installation() -> None:
    """Whoever claims it, or nobody; a person's address is no name here either."""
    assert claim() is None
    assert claim(subject=None) is None
    assert claim(key=b"ann") == "key_mismatch"
    assert claim(subject="ann@example.org") == "personal_subject"
    assert claim(subject="") == "absurd_identifier"
    assert claim(occurred_at=NOON + SKEW_MS + 1) == "from_the_future"


def test_a_fact_about_an_item_is_keyed_by_it() -> None:
    """Prices and stock at their limits, and beyond them."""
    price: dict[str, Any] = {"price_minor": PRICE_MINOR_MAX, "currency": "EUR"}
    assert item(f.ItemPriceChanged, **price, previous_minor=0) is None
    assert item(f.ItemStockChanged, in_stock=True, quantity=QUANTITY_MAX) is None
    assert item(f.ItemStockChanged, in_stock=False, key=b"shoes") == "key_mismatch"
    assert item(f.ItemStockChanged, in_stock=False, quantity=-1) == "absurd_number"
    assert item(f.ItemPriceChanged, **{**price, "price_minor": PRICE_MINOR_MAX + 1}) == "absurd_number"
    assert item(f.ItemPriceChanged, **price, previous_minor=-1) == "absurd_number"
    assert item(f.ItemPriceChanged, **{**price, "currency": "euro"}) == "absurd_text"


@pytest.mark.parametrize(("kind", "fields"), GOOD, ids=str)
def test_a_fact_at_its_limits_is_taken_in(kind: type[f.SubjectFact], fields: dict[str, Any]) -> None:
    """Limits include their ends."""
    assert refused(kind, **fields) is None


@pytest.mark.parametrize(("reason", "kind", "fields"), BAD, ids=str)
def test_a_fact_beyond_a_limit_is_refused(
    reason: str, kind: type[f.SubjectFact], fields: dict[str, Any]
) -> None:
    """With a fixed word as the reason, and a sentence that does not repeat the value."""
    assert refused(kind, **fields) == reason
    one = fact(kind, fields.get("at", NOON), **{k: v for k, v in fields.items() if k not in {"at", "key"}})
    found = rejection(one, fields.get("key", one.subject.encode()), NOON)
    assert found is not None
    assert ANN not in found[1]
    assert one.subject == ANN or one.subject not in found[1]


class TestLines:
    """A fact of many lines keeps the good ones."""

    def taken(self, kind: type[f.SubjectFact], **fields: Any) -> tuple[Any, int]:
        """What is left of a fact that is taken in."""
        one = fact(kind, **fields)
        assert rejection(one, ANN.encode(), NOON) is None
        return admitted(one)

    @pytest.mark.parametrize("odd", ["", "gift wrap #1", "SKU 12/34", "x" * 129, "ann@example.org", "a\nb"])
    def test_an_odd_item_never_loses_an_order(self, odd: str) -> None:
        """The others are ordered, and the odd one is counted."""
        order, left_out = self.taken(f.OrderPlaced, order_id="o", items=("boots", odd, "scarf"))

        assert (order.items, left_out) == (("boots", "scarf"), 1)

    def test_an_order_counts_without_any_good_line(self) -> None:
        """Its time does, which is what `recent_purchase` looks at."""
        assert self.taken(f.OrderPlaced, order_id="o", items=("",))[0].items == ()
        assert self.taken(f.OrderPlaced, order_id="o", items=())[1] == 0

    def test_the_first_lines_of_a_long_order_count(self) -> None:
        """As many as a row and a decision have room for."""
        items = tuple(f"i{number}" for number in range(ITEMS_MAX + 3))
        order, left_out = self.taken(f.OrderPlaced, order_id="o", items=items)

        assert (order.items, left_out) == (items[:ITEMS_MAX], 3)

    def test_a_quantity_of_nothing_is_a_removal(self) -> None:
        """Whatever the change is called."""
        cart, _ = self.taken(f.CartUpdated, item="boots", change="added", quantity=0)

        assert cart.change == "removed"

    def test_good_attributes_and_properties_are_kept(self) -> None:
        """Names and values that are odd or too long are left out, and those for which there is no room."""
        notes = {"plan": "gold", "": "v", "n" * 65: "v", "long": "v" * (NOTE_LENGTH_MAX + 1), "bad": "a\x00b"}
        said, left_out = self.taken(f.SubjectAttributesSet, attributes=notes)
        assert (said.attributes, left_out) == ({"plan": "gold"}, 4)

        many = {f"a{number:02}": "" for number in range(NOTES_MAX + 2)}
        did, left_out = self.taken(f.CustomActivity, name="cooked", properties=many)
        assert (list(did.properties), left_out) == ([*many][:NOTES_MAX], 2)
