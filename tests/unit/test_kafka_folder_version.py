"""A data folder is run by the newest Kafka that ran on it, or by the pinned one if that is newer."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.kafka import jars
from connectors.kafka.embedded import UNNOTED, EmbeddedKafka

NEWER = "99.0.1"


def formatted(folder: Path, noted: str | None) -> EmbeddedKafka:
    """A broker over a folder that Kafka wrote to, with or without a note of the version."""
    (folder / "log").mkdir()
    (folder / "log" / "meta.properties").touch()
    if noted is not None:
        (folder / "version").write_text(noted)
    return EmbeddedKafka(folder)


def test_a_new_folder_is_run_by_the_pinned_version(tmp_path: Path) -> None:
    """And notes it before anything is written."""
    assert EmbeddedKafka(tmp_path)._version() == jars.VERSION
    assert (tmp_path / "version").read_text() == jars.VERSION


def test_a_folder_without_a_note_was_written_by_the_version_before_notes(tmp_path: Path) -> None:
    """The pinned one is older, and can't read it."""
    said: list[str] = []
    kafka = formatted(tmp_path, None)
    kafka._progress = said.append

    assert kafka._version() == UNNOTED
    assert (tmp_path / "version").read_text() == UNNOTED
    assert f"which {jars.VERSION} can't read" in said[0]


@pytest.mark.parametrize(
    ("noted", "run"), [("4.0.2", jars.VERSION), (jars.VERSION, jars.VERSION), (NEWER, NEWER)]
)
def test_a_folder_never_goes_back_to_an_older_version(noted: str, run: str, tmp_path: Path) -> None:
    """An older one is taken along, a newer one stays."""
    kafka = formatted(tmp_path, noted)

    assert kafka._version() == run
    assert kafka._version() == run
