"""The Web Push sender against web-push-testing, which checks our signature and decrypts what we sent."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from connectors.errors import Misconfigured
from connectors.push.failures import NoAnswer
from connectors.push.faults import Fault
from connectors.push.http_call import Reply, seconds_of
from connectors.push.port import Options, Outcome, Push
from connectors.push.webpush.answers import fault_of, outcome_of
from connectors.push.webpush.sender import WebPushSender, topic
from connectors.push.webpush.subscription import SERVICES, Subscription
from connectors.push.webpush.vapid import Signer
from processors.wall_clock import wall_ms
from tests.support.providers.push_service import Service, keys, subscription
from tests.support.providers.pushes import push_to, words
from tests.support.providers.web_push_mock import WebPushMock

CONTACT = "mailto:push@shop.de"


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


UNLISTED = "rejected unlisted_service UnlistedService"
"""An address that somebody registered must not lead into our own network."""
DEAD = "rejected token_dead BadSubscription"
KEY, SECRET = "A" * 87, "A" * 22


def with_keys(p256dh: str, auth: str) -> str:
    """A subscription of a real push service."""
    said = {"endpoint": "https://fcm.googleapis.com/x", "keys": {"p256dh": p256dh, "auth": auth}}
    return json.dumps(said)


@pytest.mark.parametrize(
    ("token", "outcome"),
    [
        (at("http://fcm.googleapis.com/fcm/send/abc"), UNLISTED),
        (at("https://fcm.googleapis.com:8443/abc"), UNLISTED),
        (at("https://fcm.googleapis.com.evil.com/abc"), UNLISTED),
        (at("https://169.254.169.254/latest/meta-data"), UNLISTED),
        (at("https://push.shop.com/abc"), UNLISTED),
        (at("https://me@fcm.googleapis.com/abc"), DEAD),
        (at("https://push.apple.com.evil.example/abc"), DEAD),
        (at("https://evilpush.apple.com.example/abc"), DEAD),
        (at("https://permanently-removed.invalid/fcm/send/abc"), DEAD),
        (at("https://PERMANENTLY-REMOVED.INVALID./abc"), DEAD),
        (at("https://push.test/abc"), DEAD),
        (at("https://localhost/abc"), DEAD),
        (at("file:///etc/passwd"), DEAD),
        (at("https://fcm.googleapis.com:port/abc"), DEAD),
        ("", DEAD),
        ("null", DEAD),
        ("{}", DEAD),
        ("not json", DEAD),
        ('{"endpoint": "https://fcm.googleapis.com/x"}', DEAD),
        ('{"endpoint": "https://fcm.googleapis.com/x", "keys": null}', DEAD),
        (with_keys("AA", "AA"), DEAD),
        (with_keys(KEY, SECRET + "A"), DEAD),
        (with_keys("!" + KEY, SECRET), DEAD),
        (with_keys("ü" + KEY, SECRET), DEAD),
    ],
)
def test_what_is_no_subscription_of_a_push_service_is_refused(token: str, outcome: str) -> None:
    """As a value: nobody else is called; that a service is merely not listed kills no address."""
    with pytest.raises(NoAnswer) as caught:
        Subscription.read(token, SERVICES)
    assert str(caught.value.outcome).startswith(outcome)
    assert not caught.value.outcome.by_provider


def test_a_key_that_is_no_point_on_the_curve_is_the_address_s_fault() -> None:
    """Of the right length, and good for nothing: the provider is not asked."""
    key = base64.urlsafe_b64encode(b"\x04" + b"\x07" * 64).rstrip(b"=").decode()
    service = Service(201)

    async def outcomes() -> list[Outcome]:
        async with service.running() as origin:
            token = with_keys(key, SECRET).replace("https://fcm.googleapis.com", origin)
            return await sent(keys()[0], origin, [push(token)])

    (found,) = asyncio.run(outcomes())

    assert str(found).startswith(DEAD)
    assert service.asked == []


APPLE = b'{"reason":"VapidPkHashMismatch"}'
GOOGLE = (
    b"the VAPID credentials in the authorization header do not correspond to the credentials used to"
    b" create the subscriptions."
)
MOZILLA = b'{"code":401,"errno":109,"message":"VAPID public key mismatch"}'


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (400, APPLE, Fault.FOREIGN),
        (403, GOOGLE, Fault.FOREIGN),
        (401, MOZILLA, Fault.FOREIGN),
        (400, b'{"reason":"BadJwtToken"}', Fault.SUSPECT),
        (403, b'{"reason":"BadJwtToken"}', Fault.SUSPECT),
        (400, b'{"reason":"BadWebPushTopic"}', Fault.MESSAGE),
        (401, b"", Fault.SUSPECT),
        (403, b"\xff\xfe", Fault.SUSPECT),
        (404, APPLE, Fault.ADDRESS),
        (410, b"", Fault.ADDRESS),
        (413, APPLE, Fault.MESSAGE),
        (429, b"", Fault.PROVIDER),
        (502, GOOGLE, Fault.PROVIDER),
    ],
)
def test_what_a_push_service_says_of_a_key_counts_where_it_refuses_one(
    status: int, body: bytes, fault: Fault
) -> None:
    """By its status, and by words that say whose key it is about; elsewhere words mean nothing."""
    assert fault_of(status, body)[1] is fault


@pytest.mark.parametrize(("status", "body"), [(400, APPLE), (403, GOOGLE), (401, MOZILLA)])
def test_a_subscription_of_another_key_is_dead_once_ours_has_worked(status: int, body: bytes) -> None:
    """Before that all may be right, and our key wrong."""
    reply = Reply(status, body, None)
    assert outcome_of(reply, proven=False).error_class == "credential"
    assert outcome_of(reply, proven=True).error_class == "token_dead"


@pytest.mark.parametrize(
    "contact",
    [
        "push@shop.de",
        "http://shop.de",
        "mailto:",
        "mailto:push",
        "mailto:push@localhost",
        "mailto:push@printer.local",
        "mailto:push@shop.invalid",
        "mailto:push@shop.example",
        "mailto:push@shop.test",
        "mailto:push@example.com",
        "mailto:push@mail.Example.ORG",
        "mailto:push@shop.internal",
        "mailto:push@shop",
        "mailto:push@10.0.0.1",
        "mailto:<push@shop.de>",
        "mailto: push@shop.de",
        "https://",
        "https://localhost/contact",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://shop.example",
        "https://me:secret-words@shop.de/",
    ],
)
def test_a_contact_that_push_services_reject_is_refused_at_the_start(contact: str) -> None:
    """Apple refuses each push with such a one, for its signature; so the file is told of, not each push."""
    with pytest.raises(Misconfigured, match="contact of Web Push") as caught:
        Signer(keys()[0], contact, wall_ms)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "contact", ["mailto:push@shop.de", "https://www.shop.de/contact", "mailto:a+b@x.co.uk"]
)
def test_a_contact_at_a_public_host_is_taken(contact: str) -> None:
    """By mail or by web."""
    assert Signer(keys()[0], contact, wall_ms).header("https://web.push.apple.com")


def test_a_key_that_cannot_be_read_is_not_shown() -> None:
    """The error says what it must be, and nothing of what is in it."""
    with pytest.raises(Misconfigured, match="P-256 key in PEM") as caught:
        Signer("secret-words", CONTACT, wall_ms)
    assert "secret" not in str(caught.value)
    with pytest.raises(Misconfigured, match="mailto"):
        Signer(keys()[0], "push@shop.example", wall_ms)
