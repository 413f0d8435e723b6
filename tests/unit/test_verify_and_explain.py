"""Verification objects to what can't be derived again; an explanation names the fact behind each part."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from ledger import facts as f
from ledger.consent import EMPTY, TOPICS_MAX, token_id
from ledger.consent_fold import follow
from ledger.explain import explain
from ledger.former_rule import follow_formerly, upgraded
from ledger.gate import CHECKS_ADDED
from ledger.unreadable import UnreadableRecord
from ledger.verify import LedgerFact, folded, objections
from processors.commands.explain import show
from processors.history import History
from tests.support.given import ANN, HOUR, NOON, ZONES, changed, fact, policy
from tests.unit.test_journeys import added, live, reachable

LEDGER: list[LedgerFact] = [
    (one, "permissions", number, one.occurred_at) for number, one in enumerate(reachable())
]


def decided() -> f.PushDecided:
    """A recorded decision that rests on the ledger."""
    (decision,) = live(added(NOON), permissions_next=len(LEDGER)).decisions
    return decision


def again(decision: f.PushDecided, ledger: list[LedgerFact] | None = None) -> list[str]:
    """What verify says."""
    return objections(decision, policy(), ZONES, LEDGER if ledger is None else ledger)


def ledger_of_facts() -> list[LedgerFact]:
    """The very facts that the decision's subject was reachable by."""
    return [
        (changed(one, event_id=f"copy-{number}"), family, number, appended)
        for number, (one, family, _, appended) in enumerate(LEDGER)
    ]


def ledger_at(*entries: f.SubjectFact | UnreadableRecord) -> list[LedgerFact]:
    """What stands on permissions from offset 0 on, each appended when it happened, or an hour after noon."""
    return [
        (one, "permissions", offset, getattr(one, "occurred_at", NOON + HOUR))
        for offset, one in enumerate(entries)
    ]


def test_an_honest_decision_has_no_objection() -> None:
    """In whatever order the ledger is read."""
    assert again(decided()) == []
    assert again(decided(), list(reversed(LEDGER))) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"verdict": "withhold", "reason": "topic"}, "was recorded"),
        ({"checks": ()}, "the checks' results differ"),
        ({"installations": ("tablet",)}, "the chosen installations"),
        ({"hold_until": NOON}, "the end of the hold"),
        ({"send_before": NOON + 5 * HOUR}, "the time limit"),
        ({"occurred_at": NOON + 12 * HOUR}, "was recorded"),
        ({"permissions_next": 1}, "not the fold of the ledger"),
    ],
)
def test_a_tampered_decision_is_found(changes: dict[str, Any], words: str) -> None:
    """Each recorded part that matters is checked against what is derived."""
    assert any(words in objection for objection in again(changed(decided(), **changes)))


def test_an_address_that_counted_as_live_before_it_was_known_to_be_none_is_no_objection() -> None:
    """Decisions were recorded by an older rule; of another address that is not live, it is one."""
    old = [entry for entry in LEDGER if not isinstance(entry[0], f.TokenRegistered)]
    (token,) = (entry[0] for entry in LEDGER if isinstance(entry[0], f.TokenRegistered))
    void = changed(token, token="null")
    assert again(decided(), [*old, (void, "tokens", -1, NOON - HOUR)]) == []
    assert again(decided(), old) != []


def test_a_decision_older_than_a_check_can_be_derived_again() -> None:
    """It has no result of a check that came later; a result that is missing for another reason is found."""
    (*older,) = (check for check in decided().checks if check.name not in CHECKS_ADDED)

    assert again(changed(decided(), checks=tuple(older))) == []
    assert again(changed(decided(), checks=tuple(older[1:]))) == ["the checks' results differ"]


def test_a_mark_that_is_left_out_or_settled_too_early_is_found() -> None:
    """Marks are derived from the order in which records and settlements stand on the partition."""
    marked = [*LEDGER, (UnreadableRecord(ANN), "permissions", len(LEDGER), NOON)]
    (decision,) = live(added(NOON), mark_at=len(LEDGER), permissions_next=len(marked)).decisions
    settled = fact(
        f.UnreadableFactSettled,
        letter="l",
        first_offset=len(LEDGER),
        last_offset=len(LEDGER),
        outcome="dismissed",
    )

    assert decision.reason == "unreadable_fact"
    assert again(decision, marked) == []
    assert again(decision, LEDGER) != []
    later = [*marked, (settled, "permissions", len(marked), NOON)]
    assert again(decision, later) == []
    assert again(changed(decision, permissions_next=len(later)), later) != []


def test_what_has_no_room_in_the_state_leaves_a_mark_too() -> None:
    """As the roles mark it: by the fold of permissions alone, however many addresses there are."""
    many = [fact(f.TopicSubscribed, NOON, topic=f"t{number}") for number in range(TOPICS_MAX)]
    entries = ledger_at(*many, fact(f.TopicUnsubscribed, NOON, topic="one-more"))

    consent, parts = explain(entries)

    assert [(m.first_offset, m.last_offset) for m in consent.unreadable] == [(TOPICS_MAX, TOPICS_MAX)]
    (marked,) = (part for part in parts if part.offset is not None)
    assert (marked.value, marked.fact, marked.offset) == ("no marketing", entries[-1][0], TOPICS_MAX)


def test_a_missing_or_added_fact_is_found() -> None:
    """The consent in the snapshot must be what the ledger gives."""
    assert again(decided(), LEDGER[:1]) != []
    revoked = fact(f.PermissionRevoked, NOON - 1, cause="os_settings")
    assert again(decided(), [*LEDGER, (revoked, "permissions", 1, NOON - 1)]) != []
    later = (revoked, "permissions", len(LEDGER), NOON - 1)
    assert again(decided(), [*ledger_of_facts(), later]) == []


def test_without_the_oldest_tokens_the_rest_is_still_checked() -> None:
    """Addresses are kept for a month; a decision of last year is no forgery for that."""
    without = [one for one in LEDGER if not isinstance(one[0], f.TokenRegistered)]

    assert again(decided(), without) != []
    assert objections(decided(), policy(), ZONES, without, tokens_kept=False) == []
    assert objections(decided(), policy(), ZONES, without[:1], tokens_kept=False) != []


def test_explain_names_the_fact_behind_each_part() -> None:
    """The one that counts, also where an earlier one said the same."""
    first = fact(f.PermissionGranted, NOON, level="authorized")
    same = fact(f.PermissionGranted, NOON + 1, level="authorized")
    off = fact(f.TopicUnsubscribed, NOON + 2, topic="carts")
    paused = fact(f.MarketingPaused, NOON + 3)
    chosen = fact(f.FrequencyChosen, NOON + 4, max_pushes=2, window="rolling_week")
    quiet = fact(f.QuietHoursChosen, NOON + 5, start_minute=21 * 60, end_minute=7 * 60 + 30)
    suppressed = fact(f.SubjectSuppressed, NOON + 6, reason="legal")

    _, parts = explain(ledger_at(first, same, off, paused, chosen, quiet, suppressed))

    assert {part.name: (part.value, part.fact) for part in parts} == {
        "permission of shop/phone": ("authorized", same),
        "topic carts": ("off", off),
        "pause": ("on", paused),
        "frequency": ("2 per rolling_week", chosen),
        "quiet hours": ("21:00-07:30", quiet),
        "suppression legal": ("on", suppressed),
    }


def test_explain_tells_whose_an_installation_is() -> None:
    """The claim's fact stands behind it, and behind the permission that it took."""
    granted = fact(f.PermissionGranted, NOON, level="authorized")
    linked = fact(f.InstallationLinked, NOON + 1, claim="c1")
    unlinked = fact(f.InstallationUnlinked, NOON + 2, claim="c2")

    _, parts = explain(ledger_at(granted, linked, unlinked))

    assert {part.name: (part.value, part.fact) for part in parts} == {
        "link of shop/phone": ("unlinked", unlinked),
        "permission of shop/phone": ("unlinked", unlinked),
    }


def test_explain_shows_what_nobody_could_read() -> None:
    """By its offset, until it is settled; whatever stands between is folded."""
    bad = UnreadableRecord(ANN)
    first = fact(f.PermissionGranted, NOON, level="authorized")
    settled = fact(f.UnreadableFactSettled, letter="l", first_offset=1, last_offset=1, outcome="replayed")

    _, parts = explain(ledger_at(first, bad))
    assert [(part.name, part.value, part.fact, part.at, part.offset) for part in parts] == [
        ("permission of shop/phone", "authorized", first, NOON, None),
        ("unreadable record from offset 1", "no marketing", bad, NOON + HOUR, 1),
    ]
    assert len(explain(ledger_at(first, bad, settled))[1]) == 1


def test_explain_of_an_erased_subject_says_nothing_else() -> None:
    """The marker is all there is."""
    erased = fact(f.SubjectErased, NOON + 1)

    _, (part,) = explain(ledger_at(fact(f.PermissionDenied), erased))

    assert (part.name, part.value, part.fact) == ("erased", "yes", erased)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (
            {"cause": "uninstall", "last_seen_ok": NOON - 24 * HOUR, "first_seen_gone": NOON - HOUR},
            "dead (uninstall, between 2026-03-01 12:00:00 and 2026-03-02 11:00:00)",
        ),
        ({}, "dead (unknown, between an unknown time and 2026-03-02 12:00:00)"),
    ],
)
def test_explain_says_of_a_dead_token_when_it_can_have_died(loss: dict[str, Any], words: str) -> None:
    """The interval and the cause, where the fact tells them; the time of the fact is no more than its end."""
    here = {"provider": "console", "token": "t"}
    dead = fact(f.TokenInvalidated, NOON, token_id=token_id(**here), reason="gone", **loss)
    registered = fact(f.TokenRegistered, NOON - 48 * HOUR, **here)
    out = Console(record=True, width=200, file=io.StringIO())

    show(ANN, History(0, ledger_at(registered, dead), None, [], [], []), out)

    assert words in out.export_text()


@pytest.mark.parametrize("said_before", range(4))
def test_a_row_of_before_is_derived_as_it_was_upgraded(said_before: int) -> None:
    """What was folded by the former rule is derived by it, what came later by today's."""
    words: list[f.SubjectFact] = [
        fact(f.PermissionGranted, NOON, level="authorized", sequence=412),
        fact(f.PermissionDenied, NOON + HOUR, sequence=1),
        fact(f.PermissionGranted, NOON + 2 * HOUR, level="authorized", source="server"),
        fact(f.PermissionDenied, NOON - HOUR),
    ]
    entries = ledger_at(*words)
    row = EMPTY
    for entry in entries[:said_before]:
        row = follow_formerly(row, entry)
    row = upgraded(row)
    for entry in entries[said_before:]:
        row = follow(row, entry)

    rule_from = len(entries) if row.rule_from < 0 else row.rule_from
    again_row = folded(entries, rule_from, upgrade=True)

    assert rule_from == said_before
    assert again_row.installations == row.installations
