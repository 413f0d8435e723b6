"""`optin topics`: create the topics that the system needs, and show how the broker knows them."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

import schemas
from connectors.kafka.topics import apply_topics, list_topics
from processors import report
from processors.attach import servers
from processors.commands.options import DataFolder
from processors.settings import read_settings

app = typer.Typer(no_args_is_help=True, help="Create and list Kafka topics.")


@app.command("apply")
def apply(
    partitions: Annotated[
        int | None, typer.Option(min=1, max=1_000, help="Partitions of each topic; OPTIN_PARTITIONS without.")
    ] = None,
    replication: Annotated[
        int | None, typer.Option(min=1, max=9, help="Copies of each partition; OPTIN_REPLICATION without.")
    ] = None,
) -> None:
    """Create missing topics on OPTIN_KAFKA_BOOTSTRAP and align the settings of the others.

    Nothing else creates topics. The number of partitions is fixed once a topic exists: a changed one is
    refused before anything is touched. Running it again changes nothing.
    """
    settings = read_settings()
    created = asyncio.run(
        apply_topics(
            settings.kafka_bootstrap, partitions or settings.partitions, replication or settings.replication
        )
    )
    for name in created:
        typer.echo(f"created {name}")
    typer.echo(f"{len(created)} created, {len(schemas.topics()) - len(created)} were there")


@app.command("list")
def show(
    data: DataFolder = None,
) -> None:
    """Show our topics as schemas/topics.yaml describes them and as the broker knows them."""
    with report.progress() as progress, servers(data, progress) as where:
        found = {state.name: state for state in asyncio.run(list_topics(where.kafka_bootstrap))}
    rows = []
    for topic in schemas.topics():
        state = found.pop(topic.name, None)
        there = "missing: run optin topics apply" if state is None else "there"
        rows.append(
            (
                topic.name,
                state.partitions if state else 0,
                state.replication if state else 0,
                topic.key,
                there,
            )
        )
    rows += [(state.name, state.partitions, state.replication, "", "not ours") for state in found.values()]
    columns = ("topic", "partitions", "replication", "key", "state")
    report.out.print(report.table("", columns, rows))
