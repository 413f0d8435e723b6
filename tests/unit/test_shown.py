"""How a message is shown: from its definition, rendered, to what providers are given."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.push.port import Options, Push
from connectors.push.shown import fields_of
from connectors.rules.liquid import LiquidTexts
from ledger.profile import Profile
from ledger.rules import values
from processors.definitions.compile import message_of
from processors.definitions.models import Message
from tests.support.given import NOON

EVERYTHING: dict[str, Any] = {
    "name": "reminder",
    "category": "marketing",
    "topic": "carts",
    "title": "Your cart",
    "body": "is waiting",
    "link": "shop://items/{{ items[0] }}",
    "image": "https://shop.example/{{ items[0] }}.png",
    "collapse": "cart",
    "background": True,
    "data": {"item": "{{ items[0] }}", "kind": "cart"},
    "title_key": "TITLE",
    "title_args": ["{{ items.size }}", "items"],
    "body_key": "BODY",
    "body_args": ["soon"],
    "apns": {
        "level": "time-sensitive",
        "relevance": 0.5,
        "category": "CART",
        "thread": "carts",
        "sound": "bell",
    },
    "fcm": {"channel": "carts"},
    "web": {"urgency": "high"},
}


def rendered(said: dict[str, Any], items: tuple[str, ...] = ("boots",)) -> dict[str, Any]:
    """The fields of a push that a message of this definition gives."""
    message = message_of(Message.model_validate(said))
    text = LiquidTexts().render(message, values(Profile(), NOON, items=items, trigger={}))
    assert text.missing == ""
    return fields_of(text.shown)


def test_all_that_a_definition_can_say_reaches_the_push() -> None:
    """Each field once, rendered where it is a template."""
    fields = rendered(EVERYTHING)

    assert fields == {
        "link": "shop://items/boots",
        "image": "https://shop.example/boots.png",
        "collapse_id": "cart",
        "background": True,
        "data": {"item": "boots", "kind": "cart"},
        "title_key": "TITLE",
        "title_args": ("1", "items"),
        "body_key": "BODY",
        "body_args": ("soon",),
        "options": Options("time-sensitive", 0.5, "CART", "carts", "bell", "carts", "high"),
    }
    decided_elsewhere = {"push_id", "app", "provider", "token", "title", "body", "expires_at_ms"}
    assert fields.keys() == {field.name for field in dataclasses.fields(Push)} - decided_elsewhere
    assert EVERYTHING.keys() == Message.model_fields.keys()


def test_a_plain_message_says_nothing_more() -> None:
    """What is left out is the provider's default."""
    plain = {name: EVERYTHING[name] for name in ("name", "category", "topic", "title", "body")}

    assert message_of(Message.model_validate(plain)).shown == {}
    assert fields_of({}) == {}


def test_what_a_newer_role_decided_is_left_out() -> None:
    """Unknown names and values that can't be read; the rest counts."""
    assert fields_of({"hologram": "yes", "apns.relevance": "much", "link": "shop://cart"}) == {
        "link": "shop://cart"
    }


def test_what_nobody_said_withholds_the_push() -> None:
    """A link that leads nowhere is not sent."""
    message = message_of(Message.model_validate(EVERYTHING | {"link": "shop://{{ attributes.cart }}"}))

    assert LiquidTexts().render(message, values(Profile(), NOON, items=("boots",), trigger={})).missing


@pytest.mark.parametrize(
    "wrong",
    [
        {"apns": {"level": "loud"}},
        {"apns": {"relevance": 2}},
        {"web": {"urgency": "now"}},
        {"link": "x" * 501},
        {"data": {str(number): "x" for number in range(21)}},
        {"title_args": ["x"] * 11},
        {"fcm": {"canal": "x"}},
    ],
)
def test_limits(wrong: dict[str, Any]) -> None:
    """Of each part that has one."""
    with pytest.raises(ValidationError):
        Message.model_validate(EVERYTHING | wrong)
