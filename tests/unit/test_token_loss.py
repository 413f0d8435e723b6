"""What a dead address tells, by the words that providers have for it."""

from __future__ import annotations

import json

import pytest

from ledger.token_loss import CAUSES, STALE_MS, Interval, cause, interval
from schemas import fact_schema
from tests.support.given import DAY, HOUR, NOON

WEEK: Interval = Interval(NOON, NOON + 7 * DAY)


@pytest.mark.parametrize(
    ("provider", "said", "expected"),
    [
        ("apns", "Unregistered", "uninstall"),
        ("apns", "status 410", "uninstall"),
        ("apns", "ExpiredToken", "stale"),
        ("apns", "BadDeviceToken", "wrong"),
        ("apns", "DeviceTokenNotForTopic", "wrong"),
        ("fcm", "UNREGISTERED", "uninstall"),
        ("fcm", "SENDER_ID_MISMATCH", "wrong"),
        ("fcm", "INVALID_ARGUMENT", "wrong"),
        ("web_push", "status 404", "browser"),
        ("web_push", "status 410", "browser"),
        ("web_push", "Unregistered", "unknown"),
        ("fcm", "status 410", "unknown"),
        ("console", "gone", "unknown"),
    ],
)
def test_each_provider_has_words_of_its_own(provider: str, said: str, expected: str) -> None:
    """A word means what its provider means by it, and nothing at another one."""
    assert cause(provider, said, WEEK) == expected


@pytest.mark.parametrize(
    ("ok", "expected"), [(NOON - STALE_MS + 1, "uninstall"), (NOON - STALE_MS, "stale"), (None, "uninstall")]
)
def test_fcm_says_of_an_expired_token_what_it_says_of_an_uninstall(ok: int | None, expected: str) -> None:
    """Where nothing worked for 270 days it may have expired; where nobody knows, the word counts."""
    found = Interval(ok, NOON)

    assert cause("fcm", "UNREGISTERED", found) == expected
    assert cause("apns", "Unregistered", found) == "uninstall"
    assert cause("fcm", "SENDER_ID_MISMATCH", found) == "wrong"


DAYS = [NOON + number * DAY for number in range(6)]


@pytest.mark.parametrize(
    ("registered", "accepted", "gone", "expected"),
    [
        pytest.param(DAYS[0], DAYS[2], None, (DAYS[2], DAYS[5]), id="no time is told"),
        pytest.param(DAYS[0], DAYS[2], DAYS[4], (DAYS[2], DAYS[4]), id="the provider tells one"),
        pytest.param(DAYS[0], DAYS[4], DAYS[3], (DAYS[0], DAYS[3]), id="Apple took one after it"),
        pytest.param(DAYS[3], DAYS[3], DAYS[3], (DAYS[3], DAYS[3]), id="all at once"),
        pytest.param(DAYS[4], DAYS[4], DAYS[3], (None, DAYS[3]), id="registered anew since"),
        pytest.param(DAYS[3], DAYS[2], None, (DAYS[3], DAYS[5]), id="registered after the push"),
        pytest.param(DAYS[1], None, None, (DAYS[1], DAYS[5]), id="never a push"),
        pytest.param(None, DAYS[1], None, (DAYS[1], DAYS[5]), id="an erased person"),
        pytest.param(None, None, None, (None, DAYS[5]), id="nothing is known"),
        pytest.param(DAYS[0], None, DAYS[5] + HOUR, (DAYS[0], DAYS[5]), id="a clock that is ahead"),
    ],
)
def test_it_died_between_its_last_sign_of_life_and_the_first_of_its_death(
    registered: int | None, accepted: int | None, gone: int | None, expected: tuple[int | None, int]
) -> None:
    """An accepted push that is younger than the death is no sign of life; nor is a later registration."""
    assert interval(registered=registered, accepted=accepted, gone=gone, attempted=DAYS[5]) == expected


def test_the_wire_has_the_same_causes() -> None:
    """In the same order, and what an older reader does not know reads as the last one."""
    fields = {field["name"]: field for field in fact_schema("TokenInvalidated").record["fields"]}

    assert tuple(fields["cause"]["type"]["symbols"]) == CAUSES
    assert json.dumps(fields["cause"]["default"]) == '"unknown"'
