"""A data folder is one stack's: nobody deletes in it while the stack runs, and no password is left in it."""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path

import pytest

from connectors.errors import Misconfigured
from processors import cli, report
from processors.stack import DEMO_FILE, LOCK_FILE, redacted, refuse_running


def test_a_folder_whose_lock_is_held_is_refused(tmp_path: Path) -> None:
    """Held by whoever runs; free again when they are gone, and also where there never was a lock."""
    refuse_running(tmp_path)
    with (tmp_path / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Misconfigured, match="optin down"):
            refuse_running(tmp_path)

    refuse_running(tmp_path)


def test_a_second_demo_leaves_a_running_ones_data_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be made anew otherwise."""
    (tmp_path / DEMO_FILE).write_text("")
    (tmp_path / "kafka").mkdir()
    monkeypatch.setattr(sys, "argv", ["optin", "demo", "--data", str(tmp_path)])
    with (tmp_path / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SystemExit):
            cli.main()

    assert "a stack already runs over" in capsys.readouterr().err
    assert (tmp_path / "kafka").is_dir()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://w:s3cret@host:8123/optin", "http://w:***@host:8123/optin"),
        ("https://w:p%40ss@host/optin", "https://w:***@host/optin"),
        ("http://default@127.0.0.1:1/optin", "http://default@127.0.0.1:1/optin"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    """Neither in the folder's state nor on the screen."""
    assert redacted(url) == shown


def test_a_table_shows_what_looks_like_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """People write what they like; it is shown as they wrote it."""
    report.out.print(report.table("", ("source",), [("device:[/b][bold]x",)]))

    assert "device:[/b][bold]x" in capsys.readouterr().out
