"""The FCM sender against a stand-in of the documented API, and beside firebase-admin's own client."""

from __future__ import annotations

import asyncio
import json
import uuid
import warnings
from dataclasses import replace
from typing import Any

import firebase_admin
import pytest
from firebase_admin import credentials, exceptions, messaging

from connectors.errors import Misconfigured
from connectors.push.failures import Unsendable
from connectors.push.fcm.message import body_of, message_of
from connectors.push.fcm.sender import FcmSender
from connectors.push.fcm.size import payload_bytes, size_of
from connectors.push.port import Options, Outcome, Push
from tests.support.providers.fcm_fake import NOW_MS, FcmFake
from tests.support.providers.pushes import fcm_push as push
from tests.support.providers.pushes import words


@pytest.mark.parametrize(
    ("code", "field", "retry_after", "outcome", "wait_s"),
    [
        ("QUOTA_EXCEEDED", "", "7", "rejected transient QUOTA_EXCEEDED", 7.0),
        ("QUOTA_EXCEEDED", "", "", "rejected transient QUOTA_EXCEEDED", 60.0),
        ("UNAVAILABLE", "", "3", "rejected transient UNAVAILABLE", 3.0),
        ("INTERNAL", "", "", "rejected transient INTERNAL", None),
        ("UNREGISTERED", "", "", "rejected token_dead UNREGISTERED", None),
        ("INVALID_ARGUMENT", "message.data", "", "rejected payload INVALID_ARGUMENT", None),
        ("INVALID_ARGUMENT", "message.token", "", "rejected token_dead INVALID_ARGUMENT", None),
        ("SENDER_ID_MISMATCH", "", "", "rejected token_dead SENDER_ID_MISMATCH", None),
        ("THIRD_PARTY_AUTH_ERROR", "", "", "rejected credential THIRD_PARTY_AUTH_ERROR", None),
    ],
)
def test_a_refusal_is_of_the_class_that_it_belongs_to(
    code: str, field: str, retry_after: str, outcome: str, wait_s: float | None
) -> None:
    """Among others that are accepted; it is asked once."""

    async def outcomes() -> list[Outcome]:
        async with FcmFake() as fake, fake.sender() as made:
            before = await made.send([push(0)])
            fake.refusals.append((code, retry_after, field))
            refused = await made.send([push(1)])
            after = await made.send([push(2)])
            assert fake.requests == 3
            return [*before, *refused, *after]

    before, refused, after = asyncio.run(outcomes())

    assert (before.kind, after.kind) == ("accepted", "accepted")
    assert words([refused]) == {outcome: 1}
    assert refused.retry_after_s == wait_s


@pytest.mark.parametrize("code", ["SENDER_ID_MISMATCH", "INVALID_ARGUMENT"])
def test_before_anything_was_accepted_a_foreign_token_touches_none(code: str) -> None:
    """All tokens are foreign to a project that is the wrong one."""

    async def outcomes() -> list[Outcome]:
        async with FcmFake() as fake, fake.sender() as made:
            fake.refusals.append((code, "", "message.token"))
            return await made.send([push(1)])

    assert words(asyncio.run(outcomes())) == {f"rejected credential {code}": 1}


def test_one_bad_token_stops_nobody() -> None:
    """Dead ones and good ones in one batch, each with its own outcome."""

    async def outcomes() -> tuple[list[Outcome], int]:
        async with FcmFake() as fake, fake.sender() as made:
            fake.dead = {f"token-{number}": "UNREGISTERED" for number in range(0, 300, 3)}
            return await made.send([push(number) for number in range(300)]), len(fake.accepted)

    found, accepted = asyncio.run(outcomes())

    assert [o.kind for o in found] == ["rejected", "accepted", "accepted"] * 100
    assert words(found) == {"rejected token_dead UNREGISTERED": 100, "accepted": 200}
    assert accepted == 200


def test_an_access_token_is_asked_for_once_and_renewed_ahead_of_its_end() -> None:
    """While it is renewed, the old one is used."""

    async def tokens() -> list[int]:
        async with FcmFake() as fake, fake.sender() as made:
            counts = []
            fake.token_lasts_s = 120  # less than is kept ahead: renewed beside each send
            await asyncio.gather(*(made.send([push(number)]) for number in range(20)))
            counts.append(fake.tokens)
            fake.token_lasts_s = 3_600
            assert words(await made.send([push()])) == {"accepted": 1}
            await asyncio.sleep(0.2)
            counts.append(fake.tokens)
            assert words(await made.send([push()])) == {"accepted": 1}
            counts.append(fake.tokens)
            return counts

    first, second, third = asyncio.run(tokens())

    assert (first, second) == (1, 2)
    assert third == 2


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (400, "rejected credential no access token: RefreshError"),
        (503, "rejected transient no access token: RefreshError"),
    ],
)
def test_without_an_access_token_nothing_was_taken(status: int, outcome: str) -> None:
    """A key that Google refuses is ours to mend; a token server that is down is not."""

    async def outcomes() -> tuple[list[Outcome], list[Outcome]]:
        async with FcmFake() as fake, fake.sender() as made:
            fake.token_status = status
            during = await made.send([push(number) for number in range(5)])
            assert fake.requests == 0
            fake.token_status = 200
            return during, await made.send([push()])

    during, after = asyncio.run(outcomes())

    assert words(during) == {outcome: 5}
    assert words(after) == {"accepted": 1}


def test_a_refused_access_token_is_replaced() -> None:
    """The pushes it was refused for come back as the credential's fault; the next have a new one."""

    async def outcomes() -> tuple[list[Outcome], list[Outcome]]:
        async with FcmFake() as fake, fake.sender() as made:
            await made.send([push()])
            fake.revoke()
            return await made.send([push()]), await made.send([push()])

    during, after = asyncio.run(outcomes())

    assert words(during) == {"rejected credential UNAUTHENTICATED": 1}
    assert words(after) == {"accepted": 1}


RICH = push(
    expires_at_ms=NOW_MS + 3_600_500,
    collapse_id="cart-7",
    link="shop://cart",
    image="https://shop.example/cart.png",
    data={"cart": "7"},
    options=Options(fcm_channel="carts"),
)
LONG = push(title="T" * 200, body="ä" * 300, data={"k": "ü" * 9}, options=Options(fcm_channel="c"), image="i")
VARIANTS = {
    "long": LONG,
    "plain": push(),
    "rich": RICH,
    "translated": push(title_key="T", title_args=("a",), body_key="B", body_args=("b", "c")),
    "silent": push(background=True, data={"sync": "1"}),
    "expired": push(expires_at_ms=NOW_MS - 1),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_push_is_as_long_before_it_is_built_as_after(name: str) -> None:
    """The check of definitions measures it without firebase-admin."""
    built = json.loads(body_of(VARIANTS[name], NOW_MS))["message"]
    assert size_of(VARIANTS[name]) == payload_bytes(built)


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_sent_is_what_firebase_admin_would_send(name: str) -> None:
    """Its own client, over its own transport, sends the same message to the same server."""

    async def both() -> list[dict[str, Any]]:
        async with FcmFake() as fake, fake.sender() as made:
            assert words(await made.send([VARIANTS[name]])) == {"accepted": 1}
            await asyncio.to_thread(_by_firebase_admin, fake, message_of(VARIANTS[name], NOW_MS))
            return fake.accepted

    ours, theirs = asyncio.run(both())

    assert ours == theirs


def _by_firebase_admin(fake: FcmFake, message: messaging.Message) -> None:
    app = firebase_admin.initialize_app(credentials.Certificate(fake.account()), name=str(uuid.uuid4()))
    try:
        service = messaging._get_messaging_service(app)
        service._fcm_url = f"{fake.server}/v1/projects/shop-1/messages:send"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            service.send(message)
    finally:
        firebase_admin.delete_app(app)


ONCE = {"UNREGISTERED", "SENDER_ID_MISMATCH", "QUOTA_EXCEEDED", "INVALID_ARGUMENT"}
"""firebase-admin tries the others again itself."""


@pytest.mark.parametrize(
    ("code", "theirs", "ours"),
    [
        ("UNREGISTERED", messaging.UnregisteredError, "token_dead"),
        ("SENDER_ID_MISMATCH", messaging.SenderIdMismatchError, "credential"),
        ("QUOTA_EXCEEDED", messaging.QuotaExceededError, "transient"),
        ("THIRD_PARTY_AUTH_ERROR", messaging.ThirdPartyAuthError, "credential"),
        ("INVALID_ARGUMENT", exceptions.InvalidArgumentError, "payload"),
        ("INTERNAL", exceptions.InternalError, "transient"),
    ],
)
def test_errors_are_told_apart_as_firebase_admin_does(code: str, theirs: type[Exception], ours: str) -> None:
    """The same answer, read by both."""

    async def both() -> Outcome:
        async with FcmFake() as fake, fake.sender() as made:
            fake.refusals += [(code, "", "message.data")] * (1 if code in ONCE else 5)
            with pytest.raises(theirs):
                await asyncio.to_thread(_by_firebase_admin, fake, message_of(push(), NOW_MS))
            fake.refusals.clear()
            fake.refusals.append((code, "", "message.data"))
            return (await made.send([push()]))[0]

    assert asyncio.run(both()).error_class == ours


def test_a_rich_push_has_all_that_was_chosen() -> None:
    """In FCM's words."""
    message = json.loads(body_of(RICH, NOW_MS))["message"]

    assert message == {
        "token": "token-1",
        "data": {"cart": "7", "push_id": RICH.push_id, "link": "shop://cart"},
        "notification": {
            "title": "Your cart",
            "body": "is waiting",
            "image": "https://shop.example/cart.png",
        },
        "android": {
            "collapse_key": "cart-7",
            "priority": "high",
            "ttl": "3600s",
            "notification": {"channel_id": "carts", "tag": "cart-7"},
        },
    }


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (replace(push(), body="ä" * 2_100), "PayloadTooLarge"),
        (replace(push(), data={"google.sent": "x"}), "reserved"),
        (push(data={"number": 7}), "InvalidArgument"),
    ],
)
def test_what_fcm_would_refuse_is_not_sent(wrong: Push, why: str) -> None:
    """With no word of what is in it."""
    with pytest.raises(Unsendable, match=why):
        body_of(wrong, NOW_MS)


def test_a_key_file_that_cannot_sign_is_not_shown() -> None:
    """The error says what it must be, and nothing of what is in it."""
    with pytest.raises(Misconfigured, match="JSON key file") as caught:
        FcmSender({"project_id": "x", "private_key": "secret-words", "token_uri": "y"}, lambda: NOW_MS)
    assert "secret" not in str(caught.value)
