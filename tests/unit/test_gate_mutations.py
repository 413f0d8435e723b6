"""Each entry of the gate's table matters: replaced by "pass", at least one of the gate's tests fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ledger.gate import CHECKS

ROOT = Path(__file__).parents[2]
FAILED = 1
"""pytest's exit code when tests ran and some failed."""


def run_gate_tests(passing: str) -> subprocess.CompletedProcess[str]:
    """Run the gate's tests in a process of their own with one check (or none) replaced."""
    return subprocess.run(
        [
            *(sys.executable, "-c", MUTATE, passing),
            *("-q", "-x", "-p", "no:cacheprovider", "--no-header", "tests/unit/test_gate.py"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


MUTATE = (
    "import sys, pytest\n"
    "from ledger import gate\n"
    "name = sys.argv[1]\n"
    "assert name in gate.CHECKS or not name\n"
    "if name: gate.CHECKS[name] = lambda question: (True, '')\n"
    "sys.exit(pytest.main(sys.argv[2:]))\n"
)


def test_the_gates_tests_pass_as_it_is() -> None:
    """Without a mutation nothing fails, so that a failure below is the mutation's."""
    done = run_gate_tests("")

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_that_always_passes_is_caught(name: str) -> None:
    """Some example needs this check to say no."""
    done = run_gate_tests(name)

    assert done.returncode == FAILED, done.stdout
    assert "AssertionError" in done.stdout or "assert" in done.stdout
