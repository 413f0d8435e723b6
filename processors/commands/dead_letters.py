"""`optin dead-letters`: see what was refused and why, and replay or dismiss it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from connectors.errors import Misconfigured
from ledger.unreadable import UnreadableRecord
from processors import report
from processors.attach import servers
from processors.commands.options import DataFolder
from processors.dead_letters import OPEN, SHORT, Letter, Settling, chosen, read_letters
from processors.history import FAMILIES, history_of
from processors.topic_names import PERMISSIONS

app = typer.Typer(no_args_is_help=True, help="See, replay and dismiss records that were refused.")

BYTES_SHOWN: Final = 512
BYTES_PER_LINE: Final = 16

Ids = Annotated[list[str] | None, typer.Argument(help="Ids of letters, or their beginnings.")]
Reason = Annotated[str | None, typer.Option(help="All open letters with this reason.")]


@app.command("list")
def show_all(
    reason: Annotated[str | None, typer.Option(help="Only letters with this reason.")] = None,
    settled: Annotated[bool, typer.Option("--settled", help="Replayed and dismissed ones, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many, the latest first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array of objects.")] = False,
    data: DataFolder = None,
) -> None:
    """List the records that the ledger could not take in, the latest first.

    Each has a reason as a fixed word, the place where it stood, and its bytes. The producer that made it
    needs mending; then replay the letter (if it can be read now) or dismiss it.
    """
    letters = [
        letter
        for letter in _read(data)
        if (settled or letter.state == OPEN) and (reason is None or letter.fact.reason == reason)
    ]
    shown = letters[::-1][:limit]
    if as_json:
        typer.echo(json.dumps([_as_json(letter) for letter in shown]))
        return
    columns = ("id", "time", "topic", "partition", "offset", "reason", "detail", "state")
    rows = [
        (
            letter.fact.event_id[:SHORT],
            _at(letter.fact.appended_at),
            letter.fact.topic,
            letter.fact.partition,
            letter.fact.offset,
            letter.fact.reason,
            letter.fact.detail,
            letter.state,
        )
        for letter in shown
    ]
    report.out.print(report.table("", columns, rows))
    typer.echo(f"{len(shown)} of {len(letters)} letters")


@app.command("show")
def show_one(
    letter_id: Annotated[str, typer.Argument(help="The letter's id, or its beginning.")],
    data: DataFolder = None,
) -> None:
    """Show one letter: its place, its reason, its bytes, and whether it could be read now."""
    (letter,) = chosen(_read(data), [letter_id], None)
    for name, value in _as_json(letter).items():
        typer.echo(f"{name:<12} {value}")
    again = letter.refused_again()
    typer.echo(f"{'now':<12} {'it would be taken in: replay it' if again is None else f'refused: {again}'}")
    for start in range(0, min(len(letter.fact.value or b""), BYTES_SHOWN), BYTES_PER_LINE):
        line = (letter.fact.value or b"")[start : start + BYTES_PER_LINE]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)  # noqa: PLR2004 - ASCII
        typer.echo(f"{start:06x}  {line.hex(' '):<{3 * BYTES_PER_LINE}} {text}")


@app.command("replay")
def replay(ids: Ids = None, reason: Reason = None, data: DataFolder = None) -> None:
    """Append the records of letters again, where their keys belong, with their first append kept.

    A record that would be refused again, or of which the letter keeps only the beginning, is left alone and
    named; then the exit code is 1. Replaying twice folds nothing twice.
    """
    left = asyncio.run(_settle(ids or [], reason, data, replaying=True))
    for letter, why in left:
        report.err.print(f"{letter.fact.event_id[:SHORT]} not replayed: {why}", highlight=False)
    if left:
        raise typer.Exit(1)


@app.command("dismiss")
def dismiss(
    ids: Ids = None,
    reason: Reason = None,
    subject: Annotated[
        str | None, typer.Option(help="All that keeps marketing away from this subject, kept letters or not.")
    ] = None,
    data: DataFolder = None,
) -> None:
    """Settle letters whose records are not wanted. Their bytes stay as long as the topic keeps them.

    A record of permissions that nobody could read keeps marketing away from its subject until its letter is
    settled. Letters are kept for a month; with --subject the ledger itself is read, which is kept for ever.
    """
    if subject is None:
        asyncio.run(_settle(ids or [], reason, data, replaying=False))
    elif ids or reason is not None:
        raise Misconfigured("--subject names all letters of one subject: leave out ids and --reason")
    else:
        asyncio.run(_dismiss_subject(subject, data))


async def _dismiss_subject(subject: str, data: Path | None) -> None:
    with report.progress() as progress, servers(data, progress) as where:
        progress(f"Reading the ledger of {subject}")
        bootstrap = where.kafka_bootstrap
        ledger = (await history_of(bootstrap, subject)).ledger
        offsets = [offset for _, family, offset, _ in ledger if family == FAMILIES[PERMISSIONS]]
        if not offsets:
            raise Misconfigured(f"nothing is on {PERMISSIONS} of subject {subject}: check the id")
        last = max(offsets)
        letters = [
            letter
            for letter in await read_letters(bootstrap)
            if letter.state == OPEN
            and (letter.fact.topic, letter.fact.key) == (PERMISSIONS, subject.encode())
            and letter.fact.offset <= last
        ]
        async with Settling(bootstrap) as settling:
            for letter in letters:
                await settling.dismiss(letter)
            await settling.dismiss_until(subject, last)
    bad = sum(isinstance(fact, UnreadableRecord) for fact, *_ in ledger)
    typer.echo(f"{len(letters)} letters dismissed; none of {bad} unreadable records keeps marketing away now")


async def _settle(
    ids: list[str], reason: str | None, data: Path | None, *, replaying: bool
) -> list[tuple[Letter, str]]:
    left: list[tuple[Letter, str]] = []
    with report.progress() as progress, servers(data, progress) as where:
        progress("Reading the dead letters")
        letters = chosen(await read_letters(where.kafka_bootstrap), ids, reason)
        done = 0
        async with Settling(where.kafka_bootstrap) as settling:
            for letter in letters:
                if not replaying:
                    await settling.dismiss(letter)
                elif letter.cut:
                    left.append((letter, "the letter keeps only the beginning of its record"))
                    continue
                elif (again := letter.refused_again()) is not None:
                    left.append((letter, f"it would be refused again: {again}"))
                    continue
                else:
                    await settling.replay(letter)
                done += 1
                progress(f"{'Replaying' if replaying else 'Dismissing'}: {done} of {len(letters)}")
    typer.echo(f"{done} letters {'replayed' if replaying else 'dismissed'}")
    return left


def _read(data: Path | None) -> list[Letter]:
    with report.progress() as progress, servers(data, progress) as where:
        progress("Reading the dead letters")
        return asyncio.run(read_letters(where.kafka_bootstrap))


def _as_json(letter: Letter) -> dict[str, Any]:
    fact = letter.fact
    return {
        "id": fact.event_id,
        "state": letter.state,
        "topic": fact.topic,
        "partition": fact.partition,
        "offset": fact.offset,
        "appended_at": _at(fact.appended_at),
        "reason": fact.reason,
        "detail": fact.detail,
        "key_hex": (fact.key or b"").hex(),
        "value_bytes": len(fact.value or b""),
    }


def _at(ms: int) -> str:
    return datetime.fromtimestamp(max(ms, 0) / 1000, tz=UTC).isoformat(timespec="seconds")
