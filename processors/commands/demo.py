"""`optin demo`: a simulated shop week through the whole path, and what people ask of it."""

from __future__ import annotations

import asyncio
import shlex
import shutil
from pathlib import Path
from typing import Annotated, Final

import typer

from connectors.datasets.shop_stories import ANNA
from connectors.datasets.shop_week import SUBJECTS, SUBJECTS_MAX, shop_week
from connectors.errors import Misconfigured
from processors import report
from processors.attach import FOLDER
from processors.bounded_run import INPUTS, BoundedRun, event_environment
from processors.commands.explain import show
from processors.definitions.loader import shipped
from processors.history import history_of
from processors.people import as_lived
from processors.prepare import migrate_tables, publish
from processors.stack import DEMO_FILE, LOCK_FILE, Stack, refuse_running
from processors.topic_names import ACTIVITY, DEAD_LETTERS, DECISIONS, DELIVERIES

DEMO: Final = FOLDER / "demo"

TABLES: Final = (
    (
        "Consent now (view consent_current, counted)",
        (
            "SELECT platform, permission, count() AS installations, countIf(token_live) AS with_live_token"
            " FROM consent_current WHERE installation != '' GROUP BY 1, 2 ORDER BY 1, 3 DESC"
        ),
    ),
    (
        "Opt-in by platform and context (view opt_in_rate, all days)",
        (
            "SELECT platform, context, sum(r.asked) AS asked,"
            " sum(r.authorized) AS authorized, sum(r.denied) AS denied,"
            " authorized / nullIf(authorized + denied, 0) AS rate,"
            " sum(r.provisional) AS provisional, sum(r.pre_granted) AS pre_granted"
            " FROM opt_in_rate AS r GROUP BY platform, context ORDER BY platform, context"
        ),
    ),
    (
        "Final decisions (view decisions_by_reason, all days)",
        (
            "SELECT journey, verdict, reason, sum(decisions) AS decisions"
            " FROM decisions_by_reason WHERE final GROUP BY 1, 2, 3 ORDER BY 4 DESC"
        ),
    ),
    (
        "Journeys by the day they started (view journey_funnel)",
        (
            "SELECT day, started, converted, candidates, withheld, held_out, sent, accepted, opened, ordered"
            " FROM journey_funnel WHERE journey = 'cart_abandonment' ORDER BY day"
        ),
    ),
    ("Pushes (view push_outcomes)", "SELECT * EXCEPT (app, journey) FROM push_outcomes ORDER BY day"),
)


def demo(
    data: Annotated[Path, typer.Option(help="Folder for the demo's data; made anew on each run.")] = DEMO,
    subjects: Annotated[int, typer.Option(min=1, max=SUBJECTS_MAX, help="How many people.")] = SUBJECTS,
) -> None:
    """Run a simulated shop week on real parts and show what came of it.

    Starts Kafka, ClickHouse and all roles, publishes a seeded week of a small shop (marked as simulated in
    every fact's source), waits until all of it is decided and measured, and prints the tables that people
    ask for, and one person's story. Stops cleanly; the data stays for `optin explain` and `optin sql`.
    """
    _make_anew(data)
    from connectors.clickhouse.query import ask

    with report.progress() as progress:
        stack = Stack(
            data,
            roles={"journeys": 1, "delivery": 1, "metrics": 1},
            env=event_environment(None),
            prepare=[migrate_tables, publish(None)],
            progress=progress,
        )
        with stack:
            _run(stack, subjects, progress)
            progress("Asking ClickHouse")
            tables = [(title, ask(stack.clickhouse_url, query)) for title, query in TABLES]
            story = asyncio.run(history_of(stack.kafka_bootstrap, ANNA))
            progress("Stopping")
    report.out.print("[bold]A simulated shop week[/bold] (nobody in it is real)\n")
    for title, answer in tables:
        report.out.print(report.table(title, answer.columns, answer.rows))
        report.out.print()
    report.out.print("[bold]One person's story[/bold] (optin explain demo-anna)\n")
    show(ANNA, story, report.out)
    report.out.print(f"\nThe data stays in {data}. Ask on:", highlight=False)
    where = "" if data == DEMO else f" --data {shlex.quote(str(data))}"
    for command in (f"optin explain {ANNA}", 'optin sql "SELECT * FROM push_outcomes"', "optin verify"):
        report.out.print(f"  {command}{where}", highlight=False)


def _run(stack: Stack, subjects: int, progress: report.Progress) -> None:
    progress("Making up the week")
    week = as_lived(shop_week(subjects), shipped())
    run = BoundedRun(stack, progress)
    run.refuse_used_topics()
    run.publish(week.permissions, "permissions")
    run.publish(week.tokens, "tokens")
    run.publish(week.activity, "activity")
    ends = run.record_ends(INPUTS)
    stack.start_roles()
    run.finish_journeys(ends)
    ends |= run.record_ends([DECISIONS])
    run.finish_delivery({topic: ends[topic] for topic in ends if topic != ACTIVITY})
    ends |= run.record_ends([DELIVERIES, DEAD_LETTERS])
    run.finish_metrics(ends)


def _make_anew(data: Path) -> None:
    if data.exists() and any(data.iterdir()):
        if not (data / DEMO_FILE).exists():
            raise Misconfigured(
                f"{data} was not made by `optin demo`, so it is left alone: choose another --data"
            )
        refuse_running(data)
        for part in (part for part in data.iterdir() if part.name != LOCK_FILE):
            shutil.rmtree(part) if part.is_dir() else part.unlink()
    data.mkdir(parents=True, exist_ok=True)
    (data / DEMO_FILE).write_text("Made by `optin demo`, which makes it anew on each run.\n")
