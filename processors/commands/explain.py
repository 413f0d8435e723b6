"""`optin explain SUBJECT`: why somebody was or wasn't sent a push, fact by fact."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from connectors.errors import Misconfigured
from ledger import facts as f
from ledger.explain import Part, passed_over
from ledger.explain import explain as explain_consent
from ledger.gate import GOAL_MET
from processors import report
from processors.agents.intake import letter_id
from processors.attach import servers
from processors.commands.options import DataFolder
from processors.dead_letters import SHORT
from processors.history import History, history_of
from processors.topic_names import PERMISSIONS


def explain(
    subject: Annotated[str, typer.Argument(help="The subject's id, as the app backend chose it.")],
    data: DataFolder = None,
) -> None:
    """Show what is known of one person, and why each push was or wasn't sent.

    Prints the consent state with the fact behind each part, open journeys, and each decision with every
    check of the gate. Everything is folded anew from the ledger's topics.
    """
    with report.progress() as progress, servers(data, progress) as found:
        progress(f"Reading the ledger of {subject}")
        history = asyncio.run(history_of(found.kafka_bootstrap, subject))
    if not history.known:
        raise Misconfigured(f"nothing is recorded of subject {subject}: check the id and the data folder")
    show(subject, history, report.out)


def show(subject: str, history: History, out: Console) -> None:
    """Print a subject's history."""
    consent, parts = explain_consent(history.ledger)
    out.print(f"[bold]{subject}[/bold] (all times are UTC)", highlight=False)
    out.print(
        report.table(
            "Consent, and the fact behind each part",
            ("part", "value", "since", "fact", "source"),
            [
                (p.name, _value(p, history), at(p.at), type(p.fact).__name__, getattr(p.fact, "source", ""))
                for p in parts
            ],
        )
    )
    without_effect = passed_over(history.ledger, consent)
    if without_effect:
        out.print(
            report.table(
                "Passed over: appended after the word that counts, which they can't undo",
                ("part", "value", "at", "fact", "source"),
                [
                    (p.name, p.value, at(p.at), type(p.fact).__name__, getattr(p.fact, "source", ""))
                    for p in without_effect
                ],
            )
        )
    _show_journeys(history, out)
    for decision in history.decisions:
        _show_decision(decision, history, out)


def _value(part: Part, history: History) -> str:
    """A part's value, with what is known of a dead token's end, or an unreadable record's dead letter."""
    if isinstance(part.fact, f.TokenInvalidated):
        return f"{part.value} ({_end(part.fact)})"
    if part.offset is None:
        return part.value
    return f"{part.value} (letter {letter_id(PERMISSIONS, history.partition, part.offset)[:SHORT]})"


def _end(dead: f.TokenInvalidated) -> str:
    """Why a token died and between which times."""
    gone = dead.occurred_at if dead.first_seen_gone is None else dead.first_seen_gone
    ok = "an unknown time" if dead.last_seen_ok is None else at(dead.last_seen_ok)
    return f"{dead.cause}, between {ok} and {at(gone)}"


def _show_journeys(history: History, out: Console) -> None:
    open_rows = [
        (i.journey, at(i.due), ", ".join(i.items)) for i in (history.row.instances if history.row else ())
    ]
    held = [
        (c.journey, at(c.hold_until), ", ".join(c.left)) for c in (history.row.held if history.row else ())
    ]
    if open_rows:
        out.print(report.table("Open journeys", ("journey", "due", "items"), open_rows))
    if held:
        out.print(report.table("Waiting candidates", ("journey", "decided at", "items"), held))
    if not open_rows and not held:
        out.print("No journey is open and no candidate waits.")
        if not history.decisions:
            out.print(
                "Nothing began so far: `optin definitions show` says what is in force, and a case under"
                " `optin definitions test` what a journey makes of facts like these."
            )


def _show_decision(decision: f.PushDecided, history: History, out: Console) -> None:
    verdict = decision.verdict if decision.reason is None else f"{decision.verdict}: {decision.reason}"
    if decision.hold_until is not None:
        verdict += f" until {at(decision.hold_until)}"
    out.print(
        f"\n[bold]{at(decision.occurred_at)}[/bold]  {decision.journey}/{decision.step}  "
        f"[bold]{verdict}[/bold]  (decision {decision.decision_id[:8]}, revision {decision.revision})",
        highlight=False,
        soft_wrap=True,
    )
    if decision.items or decision.reason == GOAL_MET:
        out.print(f"  items: {', '.join(decision.items) or 'none left'}", highlight=False)
    for check in decision.checks:
        mark = "[green]pass[/green]" if check.passed else "[red]FAIL[/red]"
        out.print(f"  {mark}  {check.name:<18}  {escape(check.detail)}".rstrip(), highlight=False)
    if decision.verdict != "send":
        return
    for fact in history.deliveries:
        if fact.decision_id == decision.decision_id:
            line = f"  {at(fact.occurred_at)}  {type(fact).__name__}  to {fact.installation}"
            out.print(line, highlight=False)
    for contact in history.row.contacts if history.row else ():
        if contact.decision_id == decision.decision_id:
            for when, what in ((contact.opened_at, "opened"), (contact.ordered_at, "an order followed")):
                if when >= 0:
                    out.print(f"  {at(when)}  {what}", highlight=False)


def at(ms: int) -> str:
    """An instant as people read it, in UTC."""
    return datetime.fromtimestamp(ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
