"""What a provider would refuse each time is found when the file is read: names, ids and sizes, by bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.push.apns.request import body_of, headers_of
from connectors.push.failures import Unsendable
from connectors.push.fits import too_long
from connectors.push.limits import FCM_RESERVED
from connectors.push.port import Push
from connectors.push.webpush.message import shown
from connectors.rules.longest import longest
from processors.definitions.checks import check_message
from processors.definitions.models import Message
from processors.definitions.source import Source
from tests.support.providers.pushes import push_to

CART = {
    "name": "cart",
    "category": "marketing",
    "topic": "carts",
    "title": "Still thinking?",
    "body": "Come back.",
}


def problems(tmp_path: Path, **fields: object) -> list[str]:
    """What check says of a message."""
    said = CART | fields
    file = tmp_path / "cart.yaml"
    file.write_text("".join(f"{name}: x\n" for name in said))
    message = Message.model_validate(said)
    return [problem.what for problem in check_message(message, Source(file, tmp_path), None)]


@pytest.mark.parametrize("name", ["from", "message_type"])
def test_names_of_data_that_fcm_reserves_are_refused(tmp_path: Path, name: str) -> None:
    """Whole, not as a beginning."""
    (what,) = problems(tmp_path, data={name: "x"})
    assert what == f"data.{name}: FCM refuses each push with data of this name"
    assert problems(tmp_path, data={f"{name}_x": "x", f"x_{name}": "x"}) == []


@pytest.mark.parametrize(
    ("name", "reserved"),
    [("google.sent_time", True), ("gcm.notification.e", True), ("google_id", False), ("fromage", False)],
)
def test_what_the_sender_refuses_is_what_check_refuses(name: str, reserved: bool) -> None:
    """One table for both; a name that only begins like a reserved one was refused as well, before."""
    assert bool(FCM_RESERVED.fullmatch(name)) is reserved


def test_names_that_each_push_has_itself_are_refused(tmp_path: Path) -> None:
    """What the author wrote would not arrive."""
    assert len(problems(tmp_path, data={"aps": "x", "push_id": "x", "link": "x", "image": "x"})) == 2
    assert len(problems(tmp_path, data={"link": "x"}, link="shop://cart")) == 1


@pytest.mark.parametrize(
    ("collapse", "objected"),
    [("a" * 64, False), ("a" * 65, True), ("ä" * 33, True), ("cart-{{ profile.country }}" + "a" * 60, False)],
)
def test_a_plain_collapse_id_is_held_against_the_limit_of_apns(
    tmp_path: Path, collapse: str, objected: bool
) -> None:
    """By bytes. One that a template makes is shortened by a digest when it is too long."""
    assert bool([one for one in problems(tmp_path, collapse=collapse) if "APNs takes 64" in one]) is objected
    push = push_to("apns", "ab", collapse_id="x" * 65)
    assert len(dict(headers_of(push, b"h", b"t", b"a"))[b"apns-collapse-id"]) == 64


@pytest.mark.parametrize(("args", "key"), [("title_args", "title_key"), ("body_args", "body_key")])
def test_what_fills_in_a_translation_needs_one(tmp_path: Path, args: str, key: str) -> None:
    """FCM refuses each push without."""
    assert len(problems(tmp_path, **{args: ("x",)})) == 1
    assert problems(tmp_path, **{args: ("x",), key: "K"}) == []


@pytest.mark.parametrize(
    ("fields", "objected"),
    [
        ({"body": "🎉" * 1_000}, True),
        ({"body": "x" * 1_000}, False),
        ({"body": "ü" * 1_000, "title": "ü" * 200}, False),
        ({"body": "ü" * 1_000, "data": {f"d{n}": "ü" * 200 for n in range(5)}}, True),
        ({"body": '"' * 1_000, "data": {f"d{n}": '"' * 250 for n in range(5)}}, True),
        ({"body": "{{ attributes.first_name }} " * 4}, False),
        ({"body": "{{ attributes.first_name }} " * 16}, True),
        ({"body": "{% if items.size > 1 %}" + "a" * 900 + "{% else %}" + "b" * 900 + "{% endif %}"}, False),
        ({"body": "{{ profile.opens }}" + "🎉" * 990}, True),
        ({"body": "{% comment %}" + "🎉" * 990 + "{% endcomment %}Hello"}, False),
        ({"body": "", "title": "x", "data": {f"d{n}": "x" * 500 for n in range(8)}}, True),
        ({"background": True, "body": "🎉" * 1_000}, False),
    ],
)
def test_a_message_that_can_be_too_long_for_a_provider_is_refused(
    tmp_path: Path, fields: dict[str, object], objected: bool
) -> None:
    """With the longest values that are known, in bytes as they are sent."""
    assert bool([one for one in problems(tmp_path, **fields) if "can be too long" in one]) is objected


@pytest.mark.parametrize("background", [True, False])
def test_what_is_measured_is_what_senders_refuse(background: bool) -> None:
    """At the limit, and one byte beyond it."""

    def of(length: int) -> Push:
        return push_to("apns", "ab", title="", body="", data={"k": "x" * length}, background=background)

    for send, provider in ((body_of, "APNs"), (shown, "Web Push")):
        fits = max(n for n in range(4_096) if provider not in {one.provider for one in too_long(of(n))})
        send(of(fits))
        with pytest.raises(Unsendable, match="PayloadTooLarge"):
            send(of(fits + 1))


def test_the_longest_text_is_no_shorter_than_a_rendered_one() -> None:
    """A value from outside counts with the longest that a fact may hold, any other one as a number or id."""
    text = longest("body", "Hi {{ attributes.first_name }}, {{ items.size }} left")
    assert len(text.encode()) == len(b"Hi ,  left") + 256 + 24
    assert longest("body", "x" * 2_000) == "x" * 1_000
