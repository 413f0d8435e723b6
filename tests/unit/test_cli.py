"""The command line teaches, and says in one line what was wrong with a call."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click import Command
from typer.main import get_command

from processors import cli

USAGE_EXIT = 2


def commands(group: Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Command]]:
    """All commands below a group by their words."""
    found: list[tuple[tuple[str, ...], Command]] = []
    for name, command in getattr(group, "commands", {}).items():
        words = (*path, name)
        found += commands(command, words) if hasattr(command, "commands") else [(words, command)]
    return found


ALL = commands(get_command(cli.app))  # type: ignore[arg-type]


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of `optin WORDS`."""
    monkeypatch.setattr(sys, "argv", ["optin", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_the_commands_are_those_of_the_readme() -> None:
    """A renamed command is a change for everybody."""
    assert {words[0] for words, _ in ALL} == {
        *("up", "status", "down", "demo", "replay", "worker", "topics", "migrate"),
        *("sql", "explain", "verify", "bench", "doctor", "dead-letters"),
        *("definitions", "audience", "campaign", "backtest", "push"),
    }


@pytest.mark.parametrize(
    ("words", "command"), ALL, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_a_command_teaches(words: tuple[str, ...], command: Command) -> None:
    """Its help says what it does; every option says what it means."""
    assert command.help
    assert len(command.help.split()) > 5, words
    assert all(getattr(parameter, "help", None) for parameter in command.params if parameter.name != "help")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["replay", "taobao", "/nonexistent.csv"], "/nonexistent.csv can't be read"),
        (["replay", "taobao", __file__, "--wait", "soon"], "Write a whole number and a unit"),
        (["replay", "taobao", __file__, "--summary", "xml"], "--summary is table or json"),
        (["replay", "otto", __file__], "holds no event of an OTTO log"),
        (["replay", "otto", __file__, "--wait", "soon"], "Write a whole number and a unit"),
        (["replay", "otto", __file__, "--summary", "xml"], "--summary is table or json"),
        (["worker", "painter"], "painter is no role; the roles are journeys, delivery, metrics"),
        (["worker", "journeys", "--log-level", "loud"], "--log-level is one of"),
        (["sql", "SELECT 1", "--format", "yaml"], "--format is one of table, json, csv"),
        (["explain", "ann", "--data", "/nonexistent"], "holds no stack"),
        (["explain", "ann\udcff"], r"argument 2 is not UTF-8 text: 'ann\udcff'"),
        (["up", "--data", "/proc/nowhere"], "The system refused"),
    ],
)
def test_a_wrong_call_is_answered_in_one_line(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, the reason and the remedy on stderr, nothing on stdout, no traceback."""
    for name in ("OPTIN_KAFKA_BOOTSTRAP", "OPTIN_CLICKHOUSE_URL", "OPTIN_DATA"):
        monkeypatch.delenv(name, raising=False)

    assert run(monkeypatch, *words) == 1
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


@pytest.mark.parametrize("file", ["demo-data", "ends.json"])
def test_a_finished_demo_or_replay_is_not_gone_on_with(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It went by the clock of its facts; `up` says what to do instead and touches nothing."""
    (tmp_path / file).write_text("")

    assert run(monkeypatch, "up", "--data", str(tmp_path)) == 1
    printed = " ".join(capsys.readouterr().err.split())
    assert "Choose another folder with --data" in printed
    assert "`optin explain`, `optin sql` and `optin verify` still read this one" in printed
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_every_data_set_is_replayed_with_the_same_options() -> None:
    """Whoever knows one `optin replay` knows all."""
    options = {
        words[1]: [(option.opts, option.default) for option in command.params if option.name != "file"]
        for words, command in ALL
        if words[0] == "replay"
    }

    assert set(options) == {"taobao", "otto"}
    assert options["otto"] == options["taobao"]


def test_a_missing_stack_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever asks before there is anything is told what to run first."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPTIN_KAFKA_BOOTSTRAP", "OPTIN_CLICKHOUSE_URL", "OPTIN_DATA"):
        monkeypatch.delenv(name, raising=False)

    assert run(monkeypatch, "verify") == 1
    assert "run `optin up` or `optin demo` first" in capsys.readouterr().err


def test_a_setting_that_makes_no_sense_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the variable that holds it."""
    monkeypatch.setenv("OPTIN_CHUNK_RECORDS", "0")

    assert run(monkeypatch, "migrate") == 1
    assert "OPTIN_CHUNK_RECORDS: Input should be greater than or equal to 1" in capsys.readouterr().err


@pytest.mark.parametrize("brokers", ["host:abc", "host", "a:1,b", ":9092", "h:99999"])
def test_brokers_that_are_no_host_and_port_are_refused(
    brokers: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is connected to."""
    monkeypatch.setenv("OPTIN_KAFKA_BOOTSTRAP", brokers)

    assert run(monkeypatch, "topics", "apply") == 1
    assert "OPTIN_KAFKA_BOOTSTRAP: Value error" in capsys.readouterr().err


def test_a_mistyped_folder_is_not_called_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`down` of nothing must not look like success."""
    assert run(monkeypatch, "down", "--data", "/nonexistent") == 1
    assert "holds no stack" in capsys.readouterr().err


def test_an_unknown_option_shows_the_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As every command line does."""
    assert run(monkeypatch, "demo", "--people", "3") == USAGE_EXIT
    assert "--people" in capsys.readouterr().err
