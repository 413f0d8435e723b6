"""The core reads no clock, no file, no socket and no random number, and can't start to unnoticed.

import-linter watches the third-party imports of `ledger`; this watches the standard library and the
built-ins, where purity is lost in a single call.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.sources import ROOT, imported, modules

PURE: Final = frozenset(
    {
        "__future__", "abc", "bisect", "collections", "dataclasses", "datetime", "decimal", "enum",
        "difflib", "fractions", "functools", "hashlib", "heapq", "hmac", "itertools", "math", "operator",
        "re", "string", "struct", "types", "typing", "unicodedata", "uuid", "zlib",
    }
)  # fmt: skip
"""Parts of the standard library that compute and do nothing else; `IMPURE` names their exceptions."""

ALLOWED: Final = PURE | {"ledger", "msgspec"}

IMPURE: Final = {
    "now": "reads the clock",
    "utcnow": "reads the clock",
    "today": "reads the clock",
    "fromtimestamp": "uses the machine's time zone unless it is given one; count from the epoch",
    "uuid1": "reads the clock and the machine's address",
    "uuid4": "is random",
    "getnode": "reads the machine's address",
}
"""What no code of the core calls, on whatever object, or takes from one of `CLOCKS`, and why."""

CLOCKS: Final = frozenset({"datetime", "date", "uuid"})
"""Reading `now` of anything else reads a field, as the gate reads its snapshot's."""

IMPURE_BUILTINS: Final = {
    "open": "reads or writes a file",
    "print": "writes",
    "input": "reads",
    "exec": "runs text",
    "eval": "runs text",
    "__import__": "hides an import",
    "hash": "of a text differs from process to process",
    "id": "differs from process to process",
    "globals": "reaches for hidden state",
}


def impurities(source: str) -> Iterator[str]:
    """What this module of the core does that the core must not do, as sentences with a line number."""
    tree = ast.parse(source)
    for name in imported(tree):
        if name.startswith(".") or name.split(".")[0] not in ALLOWED:
            yield f"imports {name}"
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=module, names=names):
                for alias in names:
                    if alias.name in IMPURE:
                        yield f"line {node.lineno}: {module}.{alias.name} {IMPURE[alias.name]}"
            case ast.Attribute(attr=attr) if attr in IMPURE and (node in called or _of_a_clock(node)):
                yield f"line {node.lineno}: .{attr} {IMPURE[attr]}"
            case ast.Name(id=name, ctx=ast.Load()) if name in IMPURE_BUILTINS:
                yield f"line {node.lineno}: {name} {IMPURE_BUILTINS[name]}"
            case ast.Global() | ast.Nonlocal():
                yield f"line {node.lineno}: rebinds a name outside the function"
            case ast.AsyncFunctionDef() | ast.Await():
                yield f"line {node.lineno}: waits"
            case _:
                pass


def _of_a_clock(node: ast.Attribute) -> bool:
    return ast.unparse(node.value).rpartition(".")[2] in CLOCKS


@pytest.mark.parametrize("path", modules("ledger"), ids=str)
def test_a_module_of_the_core_is_pure(path: Path) -> None:
    """No module of the core imports or calls anything whose answer is not given by its arguments."""
    assert list(impurities((ROOT / path).read_text())) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import time",
        "import random",
        "import os",
        "import logging",
        "def f():\n    from pathlib import Path",
        "import socket as s",
        "import asyncio",
        "from . import facts",
        "from connectors import errors",
        "from datetime import datetime\nx = datetime.now()",
        "import datetime\nx = datetime.datetime.now(datetime.UTC)",
        "import datetime\nread = datetime.datetime.utcnow",
        "import datetime as d\nx = d.date.today()",
        "from datetime import datetime\nx = datetime.fromtimestamp(0)",
        "import uuid\nx = uuid.uuid4()",
        "from uuid import uuid4 as u",
        "x = open('f')",
        "print('x')",
        "x = sorted(y, key=hash)",
        "x = __import__('time')",
        "def f():\n    global x\n    x = 1",
        "async def f(): ...",
    ],
)
def test_an_impure_line_is_found(planted: str) -> None:
    """The check sees each way in which a clock, a file, chance or hidden state could come in."""
    assert list(impurities(planted))


def test_a_pure_line_is_let_through() -> None:
    """Derived ids, hashes, given times and msgspec are what the core is made of."""
    pure = (
        "from __future__ import annotations\nimport hashlib, uuid\n"
        "from datetime import UTC, datetime, timedelta\n"
        "import msgspec\nfrom ledger import facts as f\n"
        "x = uuid.uuid5(uuid.NAMESPACE_URL, 'a')\ny = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(1)\n"
        "z = snapshot.now\n"
    )

    assert list(impurities(pure)) == []


def test_the_list_of_pure_parts_names_only_the_standard_library() -> None:
    """A misspelt or third-party name in the list would let nothing in, or too much."""
    assert set(PURE) <= set(sys.stdlib_module_names)
