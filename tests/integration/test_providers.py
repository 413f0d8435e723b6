"""From facts on Kafka to a provider and back: what is decided arrives once, and dead tokens are told of."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from connectors.kafka.publish import FactPublisher
from ledger import facts as f
from processors.agents.reach_rows import ROWS
from processors.prepare import migrate_tables, publish
from processors.stack import Stack
from processors.topic_names import CONSENT_CHANGELOG
from processors.wall_clock import wall_ms
from tests.support.given import fact
from tests.support.load import definitions
from tests.support.plain_reader import decode, read
from tests.support.providers.apns_mock import ApnsMock
from tests.support.providers.disturbed_path import DisturbedPath
from tests.support.providers.part import in_thread, or_skip
from tests.support.providers.pushes import token
from tests.support.replays import wait_until

GOOD, DEAD, REGISTERED_AGAIN, ANOTHER_APPS = range(20), range(20, 30), range(30, 40), range(40, 45)
TWO_DEVICES = range(45, 50)
"""The phone, used last, is dead; the tablet is not."""
TABLETS = 500
SETTLE_S = 90.0
HOUR_MS = 3_600_000
SILENT, CONSOLES = range(100, 160), range(200, 240)
GIVEN_UP_S = 20.0
"""How long a push waits for its answer."""


def said(number: int, round_: str) -> list[f.SubjectFact]:
    """A left cart of a person; in the first round also who they are, an hour ago."""

    def about(kind: Any, what: str, at: int, **more: Any) -> f.SubjectFact:
        app = "other" if number in ANOTHER_APPS else "shop"
        envelope = {"subject": f"person-{number}", "event_id": f"{what}-{number}-{round_}", "app": app}
        made: f.SubjectFact = fact(kind, at, **envelope, **more)
        return made

    now = wall_ms()
    cart = about(f.CartUpdated, "cart", now, item=f"item-{round_}", change="added")
    if round_ != "first":
        return [cart]
    then = now - HOUR_MS
    tablet = {"installation": "tablet"}
    other = [
        about(f.InstallationSeen, "tablet-seen", then, platform="ios", time_zone="Europe/Berlin", **tablet),
        about(f.PermissionGranted, "tablet-granted", then, level="authorized", **tablet),
        about(
            f.TokenRegistered, "tablet-token", then, provider="apns", token=token(TABLETS + number), **tablet
        ),
    ]
    return [
        *(other if number in TWO_DEVICES else ()),
        about(f.InstallationSeen, "seen", then, platform="ios", time_zone="Europe/Berlin"),
        about(f.PermissionGranted, "granted", then, level="authorized"),
        about(
            f.TokenRegistered,
            "token",
            then,
            provider="console" if number in CONSOLES else "apns",
            token=token(number),
        ),
        cart,
    ]


async def tell(bootstrap: str, facts: list[f.SubjectFact]) -> None:
    """Publish them."""
    async with FactPublisher(bootstrap) as publisher:
        await publisher.publish(facts)


def told(bootstrap: str, topic: str) -> list[tuple[str, dict[str, Any]]]:
    """All facts on a topic."""
    records = asyncio.run(read(bootstrap, topic))
    return [(one[0], dict(one[1])) for one in (decode(record.value) for record in records) if one is not None]


def held_out(bootstrap: str) -> set[str]:
    """People of the journey's holdout, who get nothing."""
    decided = [one for name, one in told(bootstrap, "optin.decisions") if name == "PushDecided"]
    return {one["subject"] for one in decided if one["verdict"] == "hold_out"}


def ended(bootstrap: str) -> int:
    """How many instances have ended."""
    return sum(name == "JourneyEnded" for name, _ in told(bootstrap, "optin.decisions"))


def deaths(bootstrap: str, subject: str) -> list[tuple[str, int | None, int]]:
    """The causes and the intervals of a person's dead tokens."""
    return [
        (one["cause"], one["last_seen_ok"], one["first_seen_gone"])
        for name, one in told(bootstrap, "optin.tokens")
        if name == "TokenInvalidated" and one["subject"] == subject
    ]


def outcomes(bootstrap: str) -> Counter[str]:
    """How often each outcome is on deliveries."""
    return Counter(name for name, _ in told(bootstrap, "optin.deliveries") if name != "PushAttempted")


def passed_on(bootstrap: str) -> dict[str, str]:
    """Subject -> the installation that got the push when the address of the one before was refused."""
    return {
        one["subject"]: one["next_installation"]
        for name, one in told(bootstrap, "optin.deliveries")
        if name == "PushRejected" and one["next_installation"] is not None
    }


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_what_is_decided_reaches_apns_and_dead_tokens_come_back(tmp_path: Path) -> None:
    """Dead tokens are not tried again, unless they were registered after they died."""
    with or_skip(ApnsMock(tmp_path / "apns")) as mock:
        _journey_of_pushes(tmp_path, mock)


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_a_provider_that_says_nothing_holds_up_nobody_else(tmp_path: Path) -> None:
    """Pushes are on their way into a black hole; meanwhile consent is folded, and other providers send."""
    with or_skip(ApnsMock(tmp_path / "apns")) as mock, in_thread(DisturbedPath(mock.port)) as path:
        (tmp_path / "credentials.yaml").write_text(
            mock.credentials("shop", GIVEN_UP_S).replace(f"localhost:{mock.port}", f"localhost:{path.port}")
        )
        rules = definitions(tmp_path / "definitions")
        env = {
            "OPTIN_DEFINITIONS": str(rules),
            "OPTIN_PUSH_CREDENTIALS": str(tmp_path / "credentials.yaml"),
        }
        prepare = [migrate_tables, publish(rules)]
        with Stack(tmp_path, roles={"journeys": 1, "delivery": 1}, env=env, prepare=prepare) as stack:
            where = stack.kafka_bootstrap
            stack.start_roles()
            asyncio.run(tell(where, said(0, "first")))
            assert wait_until(lambda: outcomes(where) == {"PushAccepted": 1}, SETTLE_S), outcomes(where)
            assert by_hand(where, 0, tmp_path, env) == (0, "accepted")
            revoke = [fact(f.PermissionRevoked, wall_ms(), subject="person-0", cause="os_settings")]
            asyncio.run(tell(where, list(revoke)))
            assert by_hand(where, 0, tmp_path, env) == (1, "permission")
            path.mode = "swallows"
            asyncio.run(tell(where, [one for number in SILENT for one in said(number, "first")]))
            assert wait_until(lambda: attempts(where) > 1, SETTLE_S)
            revoked = [
                fact(f.PermissionRevoked, wall_ms(), subject=f"person-{number}", cause="os_settings")
                for number in SILENT
            ]
            asyncio.run(tell(where, [*revoked, *(one for n in CONSOLES for one in said(n, "first"))]))
            assert wait_until(lambda: all(folded(where).values()), GIVEN_UP_S / 2), folded(where)
            spans = sorted(span for span in folded(where).values() if span is not None)
            print(f"{len(spans)} revocations were folded in at most {spans[-1]} ms, in a black hole")
            assert wait_until(lambda: outcomes(where) == by_console(where), GIVEN_UP_S / 2), outcomes(where)
            print(f"{outcomes(where).total() - 1} pushes of another provider left meanwhile")


def by_console(bootstrap: str) -> Counter[str]:
    """The outcomes once the first person's push and all to the console were accepted, and no other."""
    others = {f"person-{number}" for number in CONSOLES} - held_out(bootstrap)
    return Counter({"PushAccepted": 1 + len(others)})


def by_hand(bootstrap: str, number: int, folder: Path, env: dict[str, str]) -> tuple[int, str]:
    """(exit code, the first word that it found) of a push that an operator sends to a person."""
    asked = ["--subject", f"person-{number}", "--installation", "phone", "--app", "shop"]
    done = subprocess.run(
        [Path(sys.executable).with_name("optin"), "push", "test", *asked],
        env=os.environ | env | {"OPTIN_KAFKA_BOOTSTRAP": bootstrap},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    row = "outcome" if "outcome" in done.stdout else "consent"
    words = done.stdout.split(row, 1)[-1].replace("│", " ").split()
    return done.returncode, words[0].rstrip(":") if words else done.stderr


def attempts(bootstrap: str) -> int:
    """How many attempts are on deliveries."""
    return sum(name == "PushAttempted" for name, _ in told(bootstrap, "optin.deliveries"))


def refused(row: bytes) -> bool:
    """Whether a row of the delivery role's consent holds a refusal."""
    found = ROWS.decode(row)
    return any(one.refusals for one in found.consent.installations.values())


def folded(bootstrap: str) -> dict[str, int | None]:
    """Subject -> how long after its revocation's append the delivery role had folded it (ms)."""
    rows = asyncio.run(read(bootstrap, CONSENT_CHANGELOG))
    found: dict[str, int | None] = {}
    for record in asyncio.run(read(bootstrap, "optin.permissions")):
        name, fields = decode(record.value) or ("", {})
        if name == "PermissionRevoked":
            found[fields["subject"]] = next(
                (
                    row.timestamp - record.timestamp
                    for row in rows
                    if row.key == record.key
                    and row.timestamp >= record.timestamp
                    and row.value is not None
                    and refused(row.value)
                ),
                None,
            )
    return found


def _journey_of_pushes(tmp_path: Path, mock: ApnsMock) -> None:
    (tmp_path / "credentials.yaml").write_text(mock.credentials("shop"))
    mock.tell("dead", wall_ms(), *map(token, [*DEAD, *TWO_DEVICES]))
    mock.tell("dead", wall_ms() - 2 * HOUR_MS, *map(token, REGISTERED_AGAIN))
    rules = definitions(tmp_path / "definitions")
    stack = Stack(
        tmp_path,
        roles={"journeys": 1, "delivery": 1},
        env={
            "OPTIN_DEFINITIONS": str(rules),
            "OPTIN_PUSH_CREDENTIALS": str(tmp_path / "credentials.yaml"),
            "OPTIN_RETRY_S": "0.5",
        },
        prepare=[migrate_tables, publish(rules)],
    )
    everybody = [*GOOD, *DEAD, *REGISTERED_AGAIN, *ANOTHER_APPS, *TWO_DEVICES]
    with stack:
        where = stack.kafka_bootstrap
        stack.start_roles()
        asyncio.run(tell(where, [one for number in everybody for one in said(number, "first")]))
        assert wait_until(lambda: ended(where) == len(everybody), SETTLE_S), ended(where)
        out = held_out(where)
        good, dead, again, two = (
            [number for number in some if f"person-{number}" not in out]
            for some in (GOOD, DEAD, REGISTERED_AGAIN, TWO_DEVICES)
        )
        # Those of an app without keys wait for them until their time is over.
        gone = len(dead) + len(again) + len(two)
        first = {"PushAccepted": len(good) + len(two), "PushRejected": gone}
        assert wait_until(lambda: outcomes(where) == first, SETTLE_S), outcomes(where)
        refused = Counter(
            (one["error_class"], one["error"])
            for name, one in told(where, "optin.deliveries")
            if name == "PushRejected"
        )
        assert refused == {("token_dead", "Unregistered"): gone}
        assert passed_on(where) == {f"person-{number}": "tablet" for number in two}
        invalid = [one for name, one in told(where, "optin.tokens") if name == "TokenInvalidated"]
        assert {one["subject"] for one in invalid} == {f"person-{n}" for n in (*dead, *again, *two)}
        registered = {
            one["subject"]: one["occurred_at"]
            for name, one in told(where, "optin.tokens")
            if name == "TokenRegistered"
        }
        for one in invalid:
            alive = one["subject"] in {f"person-{number}" for number in (*dead, *two)}
            # Those who registered later than APNs' time live again: of the time before nothing is known.
            assert one["last_seen_ok"] == (registered[one["subject"]] if alive else None)
            assert (one["cause"], one["first_seen_gone"]) == ("uninstall", one["occurred_at"])

        # The second cart: those whose token died are not tried, those who registered it since then are.
        before = mock.counts()
        asyncio.run(tell(where, [one for number in everybody for one in said(number, "second")]))
        total = sum(first.values()) + len(good) + len(again) + len(two)
        assert wait_until(lambda: ended(where) == 2 * len(everybody), SETTLE_S), ended(where)
        assert wait_until(lambda: outcomes(where).total() == total, SETTLE_S), outcomes(where)
        after = mock.counts()
        assert after["accepted"] - before["accepted"] == len(good) + len(two)
        assert after["UNREGISTERED"] - before["UNREGISTERED"] == len(again)
        withheld = [
            one["subject"]
            for name, one in told(where, "optin.decisions")
            if name == "PushDecided" and one["verdict"] == "withhold"
        ]
        assert set(withheld) == {f"person-{number}" for number in dead}

        # The third cart: the provider is busy at first; every push goes again, and is accepted once.
        one_more, *most = good
        mock.tell("fail", "SERVICE_UNAVAILABLE", len(most) + 5)
        asyncio.run(tell(where, [one for number in most for one in said(number, "third")]))
        assert wait_until(lambda: outcomes(where).total() == total + len(most), SETTLE_S), outcomes(where)
        assert mock.counts()["SERVICE_UNAVAILABLE"] == len(most) + 5
        assert mock.counts()["accepted"] - after["accepted"] == len(most)

        # The one left: the app went after the accepted push that was noted that day.
        gone, person = wall_ms(), f"person-{one_more}"
        mock.tell("dead", gone, token(one_more))
        asyncio.run(tell(where, said(one_more, "third")))
        assert wait_until(lambda: deaths(where, person) != [], SETTLE_S)
        (worked, *_) = (
            one["occurred_at"]
            for name, one in told(where, "optin.deliveries")
            if name == "PushAccepted" and one["subject"] == person
        )
        assert deaths(where, person) == [("uninstall", worked, gone)]

    ids = Counter(push for push, _, _ in mock.accepted())
    assert set(ids.values()) == {1}
    assert len(ids) == 3 * len(good) - 1 + 2 * len(two)
