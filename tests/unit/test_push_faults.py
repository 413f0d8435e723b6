"""Whose fault each answer of a provider is: exactly one, by a table each, whatever it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.push.apns import answers as apns
from connectors.push.apns.request import collapse_id, headers_of
from connectors.push.failures import NoAnswer
from connectors.push.faults import Fault, refused
from connectors.push.fcm import answers as fcm
from connectors.push.http_call import Reply
from connectors.push.port import Outcome
from connectors.push.webpush import answers as web_push
from ledger import facts as f
from ledger import reach
from ledger.consent import installation_key
from ledger.token_loss import CAUSES, WRONG, Interval, cause
from ledger.void_addresses import is_void
from tests.support.providers.pushes import push_to

STATUSES = st.integers(300, 599)
NOON = 1_790_000_000_000


def fcm_body(code: str = "", message: str = "", field: str = "", status: str = "", quota: str = "") -> bytes:
    """A refusal as FCM writes it."""
    details: list[dict[str, Any]] = []
    if code:
        kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
        details.append({"@type": kind, "errorCode": code})
    if field:
        kind = "type.googleapis.com/google.rpc.BadRequest"
        details.append({"@type": kind, "fieldViolations": [{"field": field}]})
    if quota:
        kind = "type.googleapis.com/google.rpc.QuotaFailure"
        details.append({"@type": kind, "violations": [{"subject": "project:1", "description": quota}]})
    return json.dumps({"error": {"message": message, "status": status, "details": details}}).encode()


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("proven", [True, False])
def test_each_fault_is_of_one_class(fault: Fault, proven: bool) -> None:
    """Only the address's own, and a foreign one's once the credential has worked, touch a token."""
    outcome = refused(fault, "word", proven=proven)
    assert outcome.kind == "rejected"
    assert outcome.error_class in {"token_dead", "credential", "payload", "transient"}
    is_dead = fault is Fault.ADDRESS or (fault is Fault.FOREIGN and proven)
    assert (outcome.error_class == "token_dead") == is_dead


@pytest.mark.parametrize("proven", [True, False])
@given(status=STATUSES, body=st.binary(max_size=200) | st.sampled_from([b"[]", b"{}", b'{"error":[]}']))
def test_whatever_a_provider_answers_has_an_outcome(proven: bool, status: int, body: bytes) -> None:
    """Also what no table knows; the words of an answer are not repeated."""
    found = [
        apns.outcome_of(apns.Answer(status, body[:20].decode(errors="replace")), proven=proven),
        fcm.outcome_of(Reply(status, body, None), proven=proven),
        web_push.outcome_of(Reply(status, body, None), proven=proven),
    ]
    assert {one.kind for one in found} <= {"rejected", "accepted"}
    assert all(one.error_class for one in found if one.kind == "rejected")


@pytest.mark.parametrize(
    ("status", "body", "fault"),
    [
        (
            400,
            fcm_body("INVALID_ARGUMENT", "The registration token is not a valid one"),
            "F",
        ),
        (400, fcm_body("", "Invalid value at 'message.token' (TYPE_STRING)", status="INVALID_ARGUMENT"), "F"),
        (400, fcm_body("INVALID_ARGUMENT", "Request contains an invalid argument.", "message.token"), "F"),
        (400, fcm_body("INVALID_ARGUMENT", "The registration token ...", "message.data"), "M"),
        (400, fcm_body("INVALID_ARGUMENT", "Request contains an invalid argument."), "M"),
        (400, fcm_body("INVALID_ARGUMENT", "Invalid data payload key: from"), "M"),
        (404, fcm_body("UNREGISTERED", "Requested entity was not found.", status="NOT_FOUND"), "A"),
        (404, fcm_body("", "Requested entity was not found.", status="NOT_FOUND"), "S"),
        (404, b"<html>", "C"),
        (401, fcm_body("", "Request had invalid credentials.", status="UNAUTHENTICATED"), "C"),
        (403, fcm_body("SENDER_ID_MISMATCH", "SenderId mismatch", status="PERMISSION_DENIED"), "F"),
        (403, fcm_body("", "Permission denied", status="PERMISSION_DENIED"), "C"),
        (429, fcm_body("", "Quota", status="RESOURCE_EXHAUSTED"), "P"),
        (429, fcm_body("QUOTA_EXCEEDED", "Quota exceeded", quota="Message rate exceeded"), "P"),
        (429, fcm_body("QUOTA_EXCEEDED", "Quota exceeded", quota="Device message rate exceeded"), "B"),
        (429, fcm_body("QUOTA_EXCEEDED", "Device message rate exceeded"), "B"),
        (429, fcm_body("QUOTA_EXCEEDED", "for some device", quota="Message rate exceeded"), "P"),
        (503, b"", "P"),
    ],
)
def test_fcm_s_answers_are_told_apart_by_code_detail_and_words(status: int, body: bytes, fault: str) -> None:
    """A field that is named counts more than words."""
    names = {
        "S": Fault.SUSPECT,
        "B": Fault.BUSY_ADDRESS,
        "A": Fault.ADDRESS,
        "F": Fault.FOREIGN,
        "M": Fault.MESSAGE,
        "C": Fault.CREDENTIAL,
    }
    assert fcm.fault_of(status, fcm._said(body)) is names.get(fault, Fault.PROVIDER)


@pytest.mark.parametrize(
    ("status", "reason", "fault"),
    [
        (400, "BadDeviceToken", Fault.FOREIGN),
        (404, "BadPath", Fault.FOREIGN),
        (400, "MissingDeviceToken", Fault.ADDRESS),
        (410, "", Fault.ADDRESS),
        (429, "TooManyRequests", Fault.BUSY_ADDRESS),
        (429, "TooManyProviderTokenUpdates", Fault.CREDENTIAL),
        (429, "", Fault.PROVIDER),
        (403, "SomethingNew", Fault.CREDENTIAL),
        (400, "SomethingNew", Fault.MESSAGE),
        (503, "SomethingNew", Fault.PROVIDER),
    ],
)
def test_apns_answers_are_told_apart_by_reason_and_then_by_status(
    status: int, reason: str, fault: Fault
) -> None:
    """A reason that is known counts more than the status beside it."""
    assert apns.fault_of(status, reason) is fault


VOID = {
    "apns": [
        "{length=32,bytes=0x66ea3fea ... 462c7eaf}",
        "<740f4707 bebcf74f 9b7c25d4>",
        "null",
        "(null)",
        " ",
    ],
    "fcm": ["undefined", "[object Object]", "BLACKLISTED", "a b", "\u200b", "None"],
    "web_push": [
        '{"endpoint":"https://permanently-removed.invalid/fcm/send/x","keys":{}}',
        '{"endpoint":"https://PERMANENTLY-REMOVED.INVALID./x"}',
        "null",
    ],
}
GOOD = {
    "apns": ["ab" * 32, "phone1"],
    "fcm": ["bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1", "nullable", "f1d:APA91b-x_y"],
    "web_push": [
        '{"endpoint":"https://push.shop.com/.invalid"}',
        "x.invalid",
        '{"endpoint": 7}.invalid',
        "[" * 9_999,
    ],
}


@pytest.mark.parametrize(("provider", "token"), [(p, one) for p, some in VOID.items() for one in some])
def test_a_void_address_is_dead_from_the_start(provider: str, token: str) -> None:
    """The installation has no live address by it, nor by the one before it, which the app says is over."""
    assert is_void(provider, token)
    row = reach.NOBODY
    for number, (by, address) in enumerate([("apns", "ab" * 32), (provider, token)]):
        told = f.TokenRegistered(
            event_id=f"e{number}",
            app="shop",
            occurred_at=NOON + number,
            source="device",
            subject="anna",
            installation="phone",
            provider=by,
            token=address,
        )
        row = reach.fold(row, told, NOON + number)
    assert reach.address(row, installation_key("shop", "phone")) is None
    assert row.addresses == {}


@pytest.mark.parametrize(("provider", "token"), [(p, one) for p, some in GOOD.items() for one in some])
def test_an_odd_address_that_may_be_one_is_not_void(provider: str, token: str) -> None:
    """Only what is certain is refused before anybody is asked."""
    assert not is_void(provider, token)


DEAD_BY: dict[str, Callable[[], list[Outcome]]] = {
    "apns": lambda: [
        apns.outcome_of(apns.Answer(400, reason), proven=True)
        for reason, fault in apns.FAULTS.items()
        if fault in {Fault.ADDRESS, Fault.FOREIGN}
    ],
    "fcm": lambda: [
        refused(fault, code, proven=True)
        for code, fault in fcm.FAULTS.items()
        if fault in {Fault.ADDRESS, Fault.FOREIGN}
    ],
    "web_push": lambda: [refused(Fault.ADDRESS, word, proven=True) for word, _ in web_push.FAULTS.values()],
}


@pytest.mark.parametrize("provider", DEAD_BY)
def test_each_word_by_which_an_address_dies_has_a_cause(provider: str) -> None:
    """A death without one would be a loss that nobody can sort."""
    for outcome in DEAD_BY[provider]():
        assert outcome.error_class == "token_dead"
        assert cause(provider, outcome.error, Interval(None, NOON)) in set(CAUSES) - {"unknown"}


def test_what_our_sender_refuses_for_the_address_is_a_wrong_one() -> None:
    """Its words explain themselves after a colon."""
    with pytest.raises(NoAnswer) as caught:
        headers_of(push_to("apns", "<740f4707 bebcf74f>"), b"host", b"topic", b"authorization")
    outcome = caught.value.outcome
    assert outcome.error_class == "token_dead"
    assert "740f" not in outcome.error
    assert cause("apns", outcome.error, Interval(None, NOON)) == WRONG


def test_a_collapse_id_that_is_too_long_for_apns_becomes_one_that_is_not() -> None:
    """By bytes; equal ids stay equal, different ones different, and short ones as they are."""
    short = "ä" * 32
    one, same, other = ("spring-sale-" + "x" * 60 + end for end in ("1", "1", "2"))
    ids = [collapse_id(push_to("apns", "ab", collapse_id=each)) for each in (short, one, same, other)]
    assert ids[0] == short.encode()
    assert ids[1] == ids[2] != ids[3]
    assert {len(each) for each in ids[1:]} == {64}
