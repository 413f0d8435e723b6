"""The APNs sender against Pushy's mock server: every push has an outcome, and none is taken twice.

The faults are those that providers and networks have: dead tokens by the thousand, resets, GOAWAY, silence.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import jwt
import pytest

from connectors.errors import Misconfigured
from connectors.push.apns.request import body_of
from connectors.push.apns.sender import ApnsCredential, ApnsSender
from connectors.push.port import Options, Outcome, Push
from tests.support.providers.apns_mock import ApnsMock
from tests.support.providers.disturbed_path import DisturbedPath
from tests.support.providers.pushes import apns_push as push
from tests.support.providers.pushes import token, words

DEAD_SINCE_MS = 1_700_000_000_123


async def sent(mock: ApnsMock, pushes: Sequence[Push]) -> list[Outcome]:
    """The outcomes of pushes over a connection of their own."""
    async with mock.sender() as made:
        return await made.send(pushes)


def test_thousands_of_dead_tokens_stop_nobody(apns: ApnsMock) -> None:
    """The bodies of 3,000 refusals are far more than a connection may receive unacknowledged."""
    apns.tell("dead", DEAD_SINCE_MS, *map(token, range(3_000)))

    outcomes = asyncio.run(sent(apns, [push(number) for number in range(5_000)]))

    assert words(outcomes) == {"rejected token_dead Unregistered": 3_000, "accepted": 2_000}
    assert {o.gone_since_ms for o in outcomes if o.kind == "rejected"} == {DEAD_SINCE_MS}
    assert [o.kind for o in outcomes[:3_000]] == ["rejected"] * 3_000, "each push has its own outcome"
    assert apns.counts()["connections"] == 1


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("TOO_MANY_REQUESTS", "rejected transient TooManyRequests"),
        ("INTERNAL_SERVER_ERROR", "rejected transient InternalServerError"),
        ("SERVICE_UNAVAILABLE", "rejected transient ServiceUnavailable"),
        ("SHUTDOWN", "rejected transient Shutdown"),
        ("EXPIRED_PROVIDER_TOKEN", "rejected credential ExpiredProviderToken"),
        ("INVALID_PROVIDER_TOKEN", "rejected credential InvalidProviderToken"),
        ("TOO_MANY_PROVIDER_TOKEN_UPDATES", "rejected credential TooManyProviderTokenUpdates"),
        ("FORBIDDEN", "rejected credential Forbidden"),
        ("TOPIC_DISALLOWED", "rejected credential TopicDisallowed"),
        ("BAD_PRIORITY", "rejected payload BadPriority"),
        ("PAYLOAD_EMPTY", "rejected payload PayloadEmpty"),
    ],
)
def test_a_refusal_is_of_the_class_that_it_belongs_to(apns: ApnsMock, reason: str, outcome: str) -> None:
    """Each is answered once, and the next push is not affected."""
    apns.tell("fail", reason, 1)

    first, second = asyncio.run(_one_by_one(apns, [push(1), push(2)]))

    assert words([first]) == {outcome: 1}
    assert second.kind == "accepted"


async def _one_by_one(mock: ApnsMock, pushes: Sequence[Push]) -> list[Outcome]:
    async with mock.sender() as made:
        return [(await made.send([one]))[0] for one in pushes]


@pytest.mark.parametrize(
    ("how", "reason"), [("bad", "BadDeviceToken"), ("foreign", "DeviceTokenNotForTopic")]
)
def test_a_token_that_is_not_ours_is_dead_only_once_ours_work(apns: ApnsMock, how: str, reason: str) -> None:
    """Until one push was accepted, the environment or the topic may be wrong, and all tokens right."""
    apns.tell(how, token(1))

    before, between, after = asyncio.run(_one_by_one(apns, [push(1), push(2), push(1)]))

    assert words([before]) == {f"rejected credential {reason}": 1}
    assert between.kind == "accepted"
    assert words([after]) == {f"rejected token_dead {reason}": 1}


def test_a_reset_leaves_those_on_their_way_unknown(apns: ApnsMock) -> None:
    """The server took some whose answers are lost; none goes again."""
    apns.tell("cut", "rst", 10)

    outcomes = asyncio.run(sent(apns, [push(number) for number in range(40)]))

    found = words(outcomes)
    assert set(found) <= {"accepted", "unknown connection_lost"}
    assert found.total() == 40
    assert found["unknown connection_lost"] >= 1
    assert found["accepted"] <= len(apns.accepted()) <= 40
    assert apns.accepted_twice() == []


def test_goaway_sends_only_what_was_not_taken_again(apns: ApnsMock) -> None:
    """Those above the last stream go over a new connection; those below are answered on the old one."""
    apns.tell("cut", "goaway", 10)

    outcomes = asyncio.run(sent(apns, [push(number) for number in range(40)]))

    assert words(outcomes) == {"accepted": 40}
    assert apns.accepted_twice() == []
    assert apns.counts()["connections"] == 2


def test_silence_ends_as_unknown_and_the_next_path_works(apns: ApnsMock) -> None:
    """In a black hole nobody hangs: pushes are unknown after a while, later ones take a new connection."""

    async def outcomes() -> tuple[list[Outcome], list[Outcome], int]:
        async with DisturbedPath(apns.port) as path, apns.sender(path.port, timeout_s=0.4) as made:
            assert words(await made.send([push(0)])) == {"accepted": 1}
            path.mode = "swallows"
            during = await asyncio.wait_for(made.send([push(number) for number in range(1, 30)]), 20)
            path.mode = "passes"
            after = await made.send([push(number) for number in range(30, 60)])
            return during, after, path.connections

    during, after, connections = asyncio.run(outcomes())

    assert words(during) == {"unknown timeout": 29}
    assert words(after) == {"accepted": 30}
    assert connections == 2
    assert apns.accepted_twice() == []


def test_a_send_that_is_given_up_harms_no_other(apns: ApnsMock) -> None:
    """Cancelled in flight, it is withdrawn; the connection goes on."""

    async def kinds() -> list[str]:
        async with DisturbedPath(apns.port) as path, apns.sender(path.port) as made:
            await made.send([push(0)])
            path.delay_s = 0.3
            given_up = asyncio.create_task(made.send([push(number) for number in range(1, 20)]))
            others = asyncio.create_task(made.send([push(number) for number in range(20, 40)]))
            await asyncio.sleep(0.1)
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
            found: list[str] = [outcome.kind for outcome in await others]
            assert path.connections == 1
            return found

    assert asyncio.run(kinds()) == ["accepted"] * 20


def test_one_provider_token_serves_all_connections(apns: ApnsMock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token for each connection would be refused as too many."""
    signed = []
    encode = jwt.encode

    def counted(*arguments: Any, **more: Any) -> str:
        signed.append(more)
        return encode(*arguments, **more)

    monkeypatch.setattr(jwt, "encode", counted)
    apns.tell("cut", "goaway", 10)

    assert words(asyncio.run(sent(apns, [push(number) for number in range(40)]))) == {"accepted": 40}
    assert len(signed) == 1


def test_a_key_that_cannot_sign_is_named_and_not_shown() -> None:
    """The error says what it must be, and nothing of what is in it, nor a value of the credentials."""
    secret = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG\n-----END PRIVATE KEY-----"
    with pytest.raises(Misconfigured, match=r"APNs key can't sign .* \.p8") as caught:
        ApnsSender(ApnsCredential(secret, "KEY1", "TEAM", "com.example.app"))
    assert not {"MIGH", "KEY1"} & set(str(caught.value).split())
    assert "MIGH" not in str(caught.value)
    assert "MIGH" not in repr(ApnsCredential(secret, "KEY1", "TEAM", "com.example.app"))


def test_everything_that_can_be_chosen_arrives_in_apples_words() -> None:
    """The body of a rich push, of a translated one, and of one that shows nothing."""
    rich = push(
        1,
        link="shop://cart",
        image="https://shop.example/cart.png",
        data={"cart": "7"},
        options=Options(
            apns_level="time-sensitive", apns_relevance=0.5, apns_category="CART", apns_thread="carts"
        ),
    )
    assert json.loads(body_of(rich)) == {
        "aps": {
            "alert": {"title": "Your cart", "body": "is waiting"},
            "sound": "default",
            "category": "CART",
            "thread-id": "carts",
            "interruption-level": "time-sensitive",
            "relevance-score": 0.5,
            "mutable-content": 1,
        },
        "push_id": rich.push_id,
        "link": "shop://cart",
        "image": "https://shop.example/cart.png",
        "cart": "7",
    }
    translated = push(1, title_key="CART_TITLE", body_key="CART_BODY", body_args=("2", "items"))
    assert json.loads(body_of(translated))["aps"]["alert"] == {
        "title-loc-key": "CART_TITLE",
        "loc-key": "CART_BODY",
        "loc-args": ["2", "items"],
    }
    silent = push(1, background=True)
    assert json.loads(body_of(silent)) == {"aps": {"content-available": 1}, "push_id": silent.push_id}


def test_rich_and_silent_pushes_are_accepted(apns: ApnsMock) -> None:
    """With an expiration and a collapse id of their own."""
    pushes = [
        push(1, expires_at_ms=2_000_000_000_000, collapse_id="cart-7", image="https://shop.example/a.png"),
        push(2, background=True),
    ]
    assert words(asyncio.run(sent(apns, pushes))) == {"accepted": 2}
    assert {(one[0], one[1]) for one in apns.accepted()} == {
        (pushes[0].push_id, "cart-7"),
        (pushes[1].push_id, pushes[1].push_id),
    }
