"""Reading a record: whatever stands in it or in its headers, the answer is a fact or a reason."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from connectors import codec
from ledger import facts as f
from processors.agents.intake import Accepted, Refused, checked, kind_on, read
from tests.support.given import ANN, HOUR, NOON, fact


def record(value: bytes | None, **fields: Any) -> Any:
    """A record as the consumer hands it over."""
    known = {
        "key": ANN.encode(),
        "value": value,
        "timestamp": NOON,
        "headers": (),
        "topic": "optin.permissions",
    }
    return SimpleNamespace(**{**known, **fields})


GOOD = codec.encode(fact(f.PermissionDenied, NOON - HOUR))


@pytest.mark.parametrize(
    ("header", "appended"),
    [
        (b"1772449200000", NOON - HOUR),
        (str(NOON + HOUR).encode(), NOON),
        (None, NOON),
        (b"", NOON),
        (b"-5", NOON),
        (b"1.5", NOON),
        (b"9" * 5_000, NOON),
        ("²".encode(), NOON),
    ],
)
def test_the_first_append_is_the_headers_if_it_makes_sense(header: bytes | None, appended: int) -> None:
    """Anybody can write a header; only an earlier time in plain digits is believed."""
    _, item = read(record(GOOD, headers=(("first_appended_ms", header),)))

    assert isinstance(item, Accepted)
    assert item.appended_ms == appended


def test_a_decision_is_not_measured_against_the_brokers_clock() -> None:
    """A replay's clock may be ahead of it; an app's may not."""
    ahead = record(codec.encode(fact(f.PermissionDenied, NOON + HOUR)))

    assert isinstance(read(ahead, ours=True)[1], Accepted)
    refused = read(ahead)[1]
    assert isinstance(refused, Refused)
    assert refused.reason == "from_the_future"


def test_each_topic_takes_its_own_kind_of_facts() -> None:
    """A claim is no fact about a subject: on another topic it is refused, and so is the reverse."""
    claim = f.InstallationClaimed(
        event_id="c", app="shop", occurred_at=NOON, source="device", installation="phone", subject=ANN
    )
    here = record(codec.encode(claim), key=b"phone", topic="optin.links")

    assert checked(here, kind_on(here.topic)) == (claim, NOON, 0)
    for stray in (read(here)[1], checked(record(GOOD), kind_on("optin.links"))):
        assert isinstance(stray, Refused)
        assert stray.reason == "misplaced_fact"


@pytest.mark.parametrize("value", [None, b"", b"\xc3\x01", GOOD[:12], GOOD + b"x", bytes(70_000)])
def test_bytes_that_are_no_fact_are_refused_with_a_reason(value: bytes | None) -> None:
    """They come first under the event clock: they never block, and never wait."""
    time_ms, item = read(record(value))

    assert time_ms == 0
    assert isinstance(item, Refused)
    assert item.reason
