"""The Web Push sender against web-push-testing, which checks our signature and decrypts what we sent."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from connectors.errors import Misconfigured
from connectors.push.failures import Unsendable
from connectors.push.http_call import seconds_of
from connectors.push.port import Options, Outcome, Push
from connectors.push.webpush.sender import WebPushSender, topic
from connectors.push.webpush.subscription import SERVICES, Subscription
from connectors.push.webpush.vapid import Signer
from processors.wall_clock import wall_ms
from tests.support.providers.push_service import Service, keys, subscription
from tests.support.providers.pushes import push_to, words
from tests.support.providers.web_push_mock import WebPushMock

CONTACT = "mailto:push@shop.example"


def push(subscription: str, **fields: Any) -> Push:
    """A push to a browser."""
    return push_to("web_push", subscription, **fields)


async def sent(private: str, origin: str, pushes: list[Push], timeout_s: float = 5.0) -> list[Outcome]:
    """Their outcomes, with this origin as the only push service."""
    signer = Signer(private, CONTACT, wall_ms)
    made = WebPushSender(signer, wall_ms, services=(origin,), timeout_s=timeout_s)
    try:
        return await made.send(pushes)
    finally:
        await made.close()


def test_the_subscriber_reads_what_we_sent(web_push: WebPushMock) -> None:
    """Encrypted for the subscriber alone, signed by us; once it is over, the token is dead."""
    private, public = keys()
    subscription, name = web_push.subscribe(public)
    rich = push(subscription, link="https://shop.example/cart", collapse_id="cart-7", data={"cart": "7"})

    assert words(asyncio.run(sent(private, web_push.origin, [rich]))) == {"accepted": 1}
    (message,) = web_push.received(name)
    assert json.loads(message) == {
        "push_id": rich.push_id,
        "title": "Your cart",
        "body": "is waiting",
        "link": "https://shop.example/cart",
        "tag": "cart-7",
        "data": {"cart": "7"},
    }

    web_push.expire(name)
    assert words(asyncio.run(sent(private, web_push.origin, [rich]))) == {"rejected token_dead status 410": 1}


def test_a_signature_of_another_key_is_refused(web_push: WebPushMock) -> None:
    """The mock says 400 where a service would say 403; either way no token is touched."""
    _, public = keys()
    another, _ = keys()
    subscription, name = web_push.subscribe(public)

    (outcome,) = asyncio.run(sent(another, web_push.origin, [push(subscription)]))

    assert (outcome.kind, outcome.error_class) == ("rejected", "payload")
    assert web_push.received(name) == []


def at(endpoint: str) -> str:
    """A subscription at another address."""
    return subscription("x").replace("x/push/1", endpoint)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (201, "accepted"),
        (404, "rejected token_dead status 404"),
        (410, "rejected token_dead status 410"),
        (400, "rejected payload status 400"),
        (413, "rejected payload status 413"),
        (401, "rejected credential status 401"),
        (403, "rejected credential status 403"),
        (429, "rejected transient status 429"),
        (500, "rejected transient status 500"),
        (503, "rejected transient status 503"),
        (307, "rejected payload status 307"),
    ],
)
def test_an_answer_is_of_the_class_that_it_belongs_to(status: int, outcome: str) -> None:
    """Asked once, redirects not followed."""
    service = Service(status, {"Retry-After": "11", "Location": "http://127.0.0.1:1/"})
    private, _ = keys()

    async def outcomes() -> list[Outcome]:
        async with service.running() as origin:
            return await sent(private, origin, [push(subscription(origin))])

    (found,) = asyncio.run(outcomes())

    assert words([found]) == {outcome: 1}
    assert len(service.asked) == 1
    if status == 429:
        assert found.retry_after_s == 11.0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120.0),
        ("-5", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0.0),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_when_to_come_again_is_understood(said: str | None, seconds: float | None) -> None:
    """Seconds, or a date with or without a zone; what is neither says nothing."""
    assert seconds_of(said) == seconds


def test_headers_say_what_was_chosen() -> None:
    """Time to live, urgency, topic; one signature for each origin."""
    service = Service(201)
    private, _ = keys()
    expiring: dict[str, Any] = {"expires_at_ms": wall_ms() + 60_500, "options": Options(web_urgency="high")}

    async def outcomes() -> list[Outcome]:
        async with service.running() as origin:
            to = subscription(origin)
            return await sent(private, origin, [push(to, collapse_id="cart-7", **expiring), push(to)])

    assert words(asyncio.run(outcomes())) == {"accepted": 2}
    one, other = sorted(service.asked, key=lambda headers: int(headers["TTL"]))
    assert (one["TTL"], one["Urgency"], one["Topic"]) == ("60", "high", topic("cart-7"))
    assert len(one["Topic"]) == 32
    assert (other["TTL"], other["Urgency"]) == ("2419200", "normal")
    assert one["Authorization"] == other["Authorization"]
    token = one["Authorization"].split("t=")[1].split(",")[0].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    assert claims["sub"] == CONTACT
    assert claims["aud"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://fcm.googleapis.com/fcm/send/abc",
        "https://fcm.googleapis.com:443/fcm/send/abc",
        "https://web.push.apple.com/abc",
        "https://wns2-par02p.notify.windows.com/w/?token=abc",
        "https://updates.push.services.mozilla.com/wpush/v2/abc",
    ],
)
def test_push_services_of_browsers_are_called(endpoint: str) -> None:
    """By their names."""
    assert Subscription.read(at(endpoint), SERVICES).endpoint == endpoint


FOREIGN = "UnknownPushService"
"""An address that somebody registered must not lead into our own network."""
NONE = "BadSubscription"


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (at("http://fcm.googleapis.com/fcm/send/abc"), FOREIGN),
        (at("https://fcm.googleapis.com:8443/abc"), FOREIGN),
        (at("https://fcm.googleapis.com.example.com/abc"), FOREIGN),
        (at("https://me@fcm.googleapis.com/abc"), FOREIGN),
        (at("https://push.apple.com.evil.example/abc"), FOREIGN),
        (at("https://evilpush.apple.com.example/abc"), FOREIGN),
        (at("https://169.254.169.254/latest/meta-data"), FOREIGN),
        (at("https://localhost/abc"), FOREIGN),
        (at("file:///etc/passwd"), FOREIGN),
        ("", NONE),
        ("{}", NONE),
        ("not json", NONE),
        ('{"endpoint": "https://fcm.googleapis.com/x", "keys": {"p256dh": "AA", "auth": "AA"}}', NONE),
    ],
)
def test_what_is_no_subscription_of_a_push_service_is_refused(token: str, why: str) -> None:
    """As a value, whatever it is: nobody else is called."""
    with pytest.raises(Unsendable, match=why):
        Subscription.read(token, SERVICES)


def test_a_key_that_cannot_be_read_is_not_shown() -> None:
    """The error says what it must be, and nothing of what is in it."""
    with pytest.raises(Misconfigured, match="P-256 key in PEM") as caught:
        Signer("secret-words", CONTACT, wall_ms)
    assert "secret" not in str(caught.value)
    with pytest.raises(Misconfigured, match="mailto"):
        Signer(keys()[0], "push@shop.example", wall_ms)
