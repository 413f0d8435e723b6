"""What operators tell the journeys role, through real Kafka: definitions, audiences and campaigns.

One stack with two workers runs for all tests of this file, which build on each other's people.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from connectors.kafka.publish import FactPublisher
from ledger import facts as f
from processors.cli import app
from processors.prepare import migrate_tables
from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV, Stack
from processors.wall_clock import wall_ms
from tests.support.given import fact
from tests.support.plain_reader import decode, read
from tests.support.replays import wait_until
from tests.support.stack import TestServers

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

OPERATED: Final = Path(__file__).parents[1] / "support" / "operated"
PEOPLE: Final = 400
GOLD: Final = {f"p{number}" for number in range(0, PEOPLE, 2)}
SETTLE_S: Final = 90.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the definitions, to change and publish again."""
    return Path(shutil.copytree(OPERATED, tmp_path_factory.mktemp("operated") / "definitions"))


@pytest.fixture(scope="module")
def stack(servers: TestServers, folder: Path) -> Iterator[Stack]:
    """Two workers of journeys, one of delivery, and people: every other one on the gold plan."""
    with servers.fresh(folder.parent) as fresh, pytest.MonkeyPatch.context() as patch:
        patch.setenv(KAFKA_ENV, fresh.kafka_bootstrap)
        patch.setenv(CLICKHOUSE_ENV, fresh.clickhouse_url)
        env = {"OPTIN_DEFINITIONS": str(OPERATED), "OPTIN_LEASE_S": "2", "OPTIN_SESSION_TIMEOUT_S": "6"}
        roles = {"journeys": 2, "delivery": 1}
        with Stack(folder.parent / "data", roles=roles, env=env, prepare=[migrate_tables]) as running:
            running.start_roles()
            append(running, *(one for number in range(PEOPLE) for one in person(f"p{number}", number)))
            yield running


def person(name: str, number: int) -> list[f.SubjectFact]:
    """Somebody reachable."""
    at = wall_ms()
    here: dict[str, Any] = {"subject": name, "installation": f"phone-{name}"}
    return [
        fact(f.InstallationSeen, at, **here, platform="ios", time_zone="Europe/Berlin"),
        fact(f.PermissionGranted, at, **here, level="authorized"),
        fact(f.TokenRegistered, at, **here, provider="console", token=f"token-{name}"),
        fact(
            f.SubjectAttributesSet, at, subject=name, attributes={"plan": "silver" if number % 2 else "gold"}
        ),
    ]


def append(stack: Stack, *facts: f.Fact) -> None:
    """Append facts, acknowledged."""

    async def run() -> None:
        async with FactPublisher(stack.kafka_bootstrap) as publisher:
            await publisher.publish(list(facts))

    asyncio.run(run())


def cart(stack: Stack, name: str, event_id: str) -> None:
    """Something in somebody's cart."""
    here: dict[str, Any] = {"subject": name, "installation": f"phone-{name}"}
    append(stack, fact(f.CartUpdated, wall_ms(), **here, item="boots", change="added", event_id=event_id))


def optin(*words: str) -> str:
    """What a command prints on stdout; it must succeed."""
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def decisions(stack: Stack, journey: str) -> list[dict[str, Any]]:
    """All decisions of a journey or campaign."""
    records = asyncio.run(read(stack.kafka_bootstrap, "optin.decisions"))
    told = [decode(record.value) for record in records]
    return [one[1] for one in told if one and one[0] == "PushDecided" and one[1]["journey"] == journey]


@pytest.mark.usefixtures("stack")
def test_an_audience_is_counted_by_the_owners_of_its_subjects() -> None:
    """Once all that was published is folded, the count is exact, and a sample names such people."""
    gold = str(OPERATED / "audiences" / "gold.yaml")
    wanted = f"{len(GOLD)} of {PEOPLE} subjects"

    assert wait_until(lambda: optin("audience", "count", gold).strip() == wanted, SETTLE_S)
    named = optin("audience", "sample", gold, "--most", "5").split()
    assert len(named) == 5
    assert set(named) <= GOLD


def test_open_instances_end_by_the_version_that_they_began_with(stack: Stack, folder: Path) -> None:
    """Publishing puts a journey in force everywhere; decisions cite their versions, and `verify` agrees."""
    first = published(folder)
    cart(stack, "p1", "old-cart")
    assert wait_until(lambda: len(begun(stack)) == 1, SETTLE_S)
    journey = folder / "journeys" / "cart_abandonment.yaml"
    journey.write_text(journey.read_text().replace("wait: 8s", "wait: 1s"))
    second = published(folder)
    cart(stack, "p3", "new-cart")

    assert wait_until(lambda: len(decisions(stack, "cart_abandonment")) == 2, SETTLE_S)
    cited = {one["subject"]: one["journey_version"] for one in decisions(stack, "cart_abandonment")}
    assert cited == {"p1": first["cart_abandonment"], "p3": second["cart_abandonment"]}
    assert first["cart_abandonment"] != second["cart_abandonment"]
    assert {one["policy_version"] for one in decisions(stack, "cart_abandonment")} == {second["policy"]}
    assert second["cart_abandonment"] in optin("definitions", "show")
    history = optin("definitions", "history").splitlines()
    assert len(history) == 2
    assert f"~ cart_abandonment {first['cart_abandonment']} -> {second['cart_abandonment']}" in history[1]
    again = optin("definitions", "publish", str(folder))
    assert len(optin("definitions", "history").splitlines()) == 2, again
    optin("verify")


def refused(*words: str) -> str:
    """What a command says that does not do it."""
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code != 0
    return f"{done.output}{done.exception}"


def test_a_recalled_version_ends_and_the_mended_one_begins(stack: Stack, folder: Path) -> None:
    """With the person's next step, whatever the old one still had to wait."""
    journey = folder / "journeys" / "cart_abandonment.yaml"
    journey.write_text(journey.read_text().replace("wait: 1s", "wait: 1h"))
    broken = published(folder)["cart_abandonment"]
    cart(stack, "p9", "broken-cart")
    assert wait_until(lambda: instances(stack, "JourneyStarted", "p9") == [(broken, None)], SETTLE_S)
    assert f"{broken} is in force: publish the mended" in refused("definitions", "recall", broken)
    journey.write_text(journey.read_text().replace("wait: 1h", "wait: 1s"))
    mended = published(folder)["cart_abandonment"]

    assert broken in optin("definitions", "recall", "cart_abandonment").split()
    cart(stack, "p9", "another-cart")
    assert wait_until(lambda: len(instances(stack, "JourneyEnded", "p9")) == 2, SETTLE_S)
    assert instances(stack, "JourneyEnded", "p9") == [(broken, "recalled"), (mended, "completed")]
    assert wait_until(lambda: cited(stack, "p9") == [mended], SETTLE_S)
    optin("verify")


def cited(stack: Stack, subject: str) -> list[str]:
    """Versions of the cart's journey that somebody's decisions cite."""
    mine = (one for one in decisions(stack, "cart_abandonment") if one["subject"] == subject)
    return [one["journey_version"] for one in mine]


def instances(stack: Stack, kind: str, subject: str) -> list[tuple[str, str | None]]:
    """(version, outcome) of somebody's journeys that began or ended."""
    told = [decode(record.value) for record in asyncio.run(read(stack.kafka_bootstrap, "optin.decisions"))]
    mine = [one[1] for one in told if one and one[0] == kind and one[1]["subject"] == subject]
    return [(one["journey_version"], one.get("outcome")) for one in mine]


def published(folder: Path) -> dict[str, str]:
    """What `definitions publish` says is in force: version by name."""
    lines = [line.split("  ") for line in optin("definitions", "publish", str(folder)).splitlines()]
    return {name: version for version, name in lines}


def begun(stack: Stack) -> list[str]:
    """Instances that began."""
    told = [decode(record.value) for record in asyncio.run(read(stack.kafka_bootstrap, "optin.decisions"))]
    return [one[1]["instance"] for one in told if one and one[0] == "JourneyStarted"]


def test_watchers_of_an_item_hear_of_a_lower_price(stack: Stack) -> None:
    """Whoever saved it and did not order it since; the push cites the item's version and says the price."""
    at = wall_ms()
    people = ("p5", "p7")
    saved = [fact(f.ItemSaved, at, subject=p, installation=f"phone-{p}", item="lamp") for p in people]
    bought = {"subject": "p7", "installation": "phone-p7", "order_id": "o", "items": ("lamp",)}
    append(stack, *saved, fact(f.OrderPlaced, at + 1, **bought))
    assert wait_until(lambda: watches(stack) == {"p5": True, "p7": False}, SETTLE_S)
    for number, price in enumerate((9_900, 7_900)):
        price_of_the_lamp(stack, price, number)

    assert wait_until(lambda: len(decisions(stack, "price_drop")) >= 1, SETTLE_S)
    (told,) = decisions(stack, "price_drop")
    assert (told["subject"], told["verdict"], told["item_version"]) == ("p5", "send", 1)
    assert told["body"] == "Now 79 EUR."


def price_of_the_lamp(stack: Stack, price: int, number: int) -> None:
    """What the lamp costs from now on."""
    envelope = {"event_id": f"price-{number}", "app": "shop", "occurred_at": wall_ms(), "source": "server"}
    append(stack, f.ItemPriceChanged(**envelope, item="lamp", price_minor=price, currency="EUR"))  # type: ignore[arg-type]


def watches(stack: Stack) -> dict[str, bool]:
    """Who watches the lamp, by the latest record of each."""
    records = asyncio.run(read(stack.kafka_bootstrap, "optin.watches"))
    return {record.key.partition(b"\0")[2].decode(): record.value is not None for record in records}


def test_nothing_of_a_folder_with_a_mistake_is_published(stack: Stack, folder: Path, tmp_path: Path) -> None:
    """Neither a body nor an activation."""
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    message = broken / "messages" / "reminder.yaml"
    message.write_text(message.read_text().replace("topic: cart_reminders", "topic: cart_remnders"))
    before = [
        len(asyncio.run(read(stack.kafka_bootstrap, f"optin.{of}"))) for of in ("definitions", "control")
    ]

    done = CliRunner().invoke(app, ["definitions", "publish", str(broken)])

    assert done.exit_code != 0
    assert "messages/reminder.yaml" in str(done.exception)
    after = [
        len(asyncio.run(read(stack.kafka_bootstrap, f"optin.{of}"))) for of in ("definitions", "control")
    ]
    assert after == before


def test_a_campaign_reaches_its_audience_once_whatever_happens(stack: Stack) -> None:
    """The dry run says what the launch does; a pause, a kill -9 and a second launch send nothing twice."""
    file = str(OPERATED / "campaigns" / "spring_sale.yaml")
    dry = optin("campaign", "launch", file, "--dry-run")
    assert f"{PEOPLE} of {PEOPLE} subjects looked at, {len(GOLD)} in the audience, send: {len(GOLD)}" in dry
    assert decisions(stack, "spring_sale") == []

    optin("campaign", "launch", file, "--launch", "spring", "--no-wait")
    optin("campaign", "pause", "spring")
    assert "paused" in optin("campaign", "status")
    worker = next(pid for name, pid in stack.pids().items() if name.startswith("journeys"))
    optin("campaign", "resume", "spring")
    os.kill(worker, signal.SIGKILL)
    assert wait_until(lambda: "spring: done" in optin("campaign", "status"), SETTLE_S)
    assert wait_until(lambda: len(decisions(stack, "spring_sale")) >= len(GOLD), SETTLE_S)
    optin("campaign", "launch", file, "--launch", "spring")

    told = decisions(stack, "spring_sale")
    assert Counter(one["subject"] for one in told) == Counter(GOLD)
    assert {(one["verdict"], one["title"]) for one in told} == {("send", "Spring, neighbour")}

    def accepted() -> Counter[str]:
        topic = asyncio.run(read(stack.kafka_bootstrap, "optin.deliveries"))
        records = [decode(record.value) for record in topic]
        sent = {one["decision_id"] for one in told}
        taken = [one[1] for one in records if one and one[0] == "PushAccepted"]
        return Counter(one["subject"] for one in taken if one["decision_id"] in sent)

    assert wait_until(lambda: accepted() == Counter(GOLD), SETTLE_S)
    optin("verify")
