"""Imports go down only, and the tool that says so would say otherwise if they did not."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.sources import PACKAGES, ROOT, imported, modules

LINT: Final = (
    "import sys; from importlinter.cli import lint_imports; "
    "sys.exit(lint_imports(no_cache=True, no_logo=True))"
)
LINT_S_MAX: Final = 120

KNOWS_FAUST: Final = (
    "processors/lane/",  # the road that hides it
    "processors/agents/",  # an agent takes a stream
    "processors/wiring.py",  # puts a role's app together
    "processors/commands/worker.py",  # runs that app
    "processors/benchmarks/stock_app.py",  # stock Faust is what it measures us against
)
FAUST: Final = frozenset({"faust", "mode"})

PLANTED: Final = (
    ("ledger", "import connectors.errors", "Imports go down only"),
    ("connectors", "from processors import lane", "Imports go down only"),
    ("ledger", "from schemas import FACTS", "Imports go down only"),
    ("ledger", "import pydantic", "The core is pure"),
    ("schemas", "def late() -> None:\n    import chdb", "The wire contract knows nothing of ours"),
    ("processors/lane", "import ledger.facts", "The lane knows nothing of opt-in"),
    ("connectors", "import faust", "Connectors do not know Faust"),
    ("connectors/push", "import connectors.kafka.read", "Vendor folders do not know each other"),
)
"""Where, what, and the contract that has to break."""


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the project in this folder, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", LINT],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=LINT_S_MAX,
        check=False,
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the four packages and their import rules, to plant violations in."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_packages_keep_the_import_rules() -> None:
    """Every contract of import-linter is kept."""
    result = lint(ROOT)

    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(("package", "code", "contract"), PLANTED)
def test_a_planted_import_breaks_the_rule_that_forbids_it(
    copied: Path, package: str, code: str, contract: str
) -> None:
    """Each contract breaks on an import that it is there to forbid, and names the module at fault."""
    (copied / package / "planted.py").write_text(f'"""Planted."""\n\n{code}\n')

    result = lint(copied)

    assert result.returncode == 1, result.stdout + result.stderr
    broken = [line for line in result.stdout.splitlines() if line.endswith("BROKEN")]
    assert any(line.startswith(contract) for line in broken), result.stdout
    assert f"{package.replace('/', '.')}.planted" in result.stdout


def faust_outside(root: Path) -> list[str]:
    """The modules that import Faust and should not know it."""
    return [
        path.as_posix()
        for path in modules(root=root)
        if not path.as_posix().startswith(KNOWS_FAUST)
        and any(name.split(".")[0] in FAUST for name in imported(ast.parse((root / path).read_text())))
    ]


def test_only_the_lane_and_what_stands_on_it_know_faust() -> None:
    """Faust is imported by the lane, the agents, and what wires and runs them; by nobody else."""
    assert faust_outside(ROOT) == []


def test_an_import_of_faust_elsewhere_is_found(copied: Path) -> None:
    """The rule sees an import inside a function of a module that must not know Faust."""
    (copied / "processors" / "planted.py").write_text("def late():\n    from faust.types import TP\n")

    assert faust_outside(copied) == ["processors/planted.py"]
