"""Runs `optin ...` over the servers of a test: as a process in the long form, within this one in the short.

To start a process for each command takes longer than most commands do.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import Final

import pytest

from processors import cli
from processors.stack import Servers
from tests.support.replays import environment

LONG: Final = os.environ.get("OPTIN_TEST_LONG") == "1"
COMMAND_S_MAX: Final = 300


def optin(servers: Servers, *words: str) -> subprocess.CompletedProcess[str]:
    """What a command prints, and how it ends."""
    return _as_process(servers, words) if LONG else _within(servers, words)


def _as_process(servers: Servers, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "processors.cli", *words],
        env={**os.environ, **environment(servers)},
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )


def _within(servers: Servers, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in environment(servers).items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["optin", *words])
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
