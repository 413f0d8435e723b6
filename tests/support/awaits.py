"""Finds every place in a worker's code where it may be suspended, for the table of crash points."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
WHERE: Final = (
    "processors/lane/*.py",
    "processors/agents/*.py",
    "processors/wiring.py",
    "connectors/kafka/append.py",
    "connectors/push/console.py",
)
"""Lane, recovery, rebalance, timers, sender and sink: what a worker runs once it is built.

What a provider's sender awaits lies between the two sides of `hand_over.handed.send`: before it nothing
was handed over, after it everything was, and no outcome is recorded.
"""

NEVER_SUSPENDS: Final = frozenset({"async with asyncio.timeout"})


@dataclass(frozen=True, slots=True)
class Place:
    """An await in the code: the `nth` one of `expression` in `function` of `module`.

    `expression` is what is called, without its arguments, so that most edits leave the table as it is.
    """

    module: str
    function: str
    expression: str
    nth: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """A place with the node that suspends: an Await, or an item of an AsyncWith, or an AsyncFor."""

    place: Place
    node: ast.Await | ast.withitem | ast.AsyncFor


class _Finder(ast.NodeVisitor):
    def __init__(self, module: str) -> None:
        self.found: list[Found] = []
        self._module = module
        self._scopes: list[str] = []
        self._seen: Counter[tuple[str, str]] = Counter()

    def visit(self, node: ast.AST) -> None:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            super().visit(node)
            return
        self._scopes.append(node.name)
        super().visit(node)
        self._scopes.pop()

    def _note(self, node: ast.Await | ast.withitem | ast.AsyncFor, awaited: ast.expr, kind: str = "") -> None:
        expression = kind + ast.unparse(awaited.func if isinstance(awaited, ast.Call) else awaited)
        if expression in NEVER_SUSPENDS:
            return
        function = ".".join(self._scopes)
        self._seen[function, expression] += 1
        place = Place(self._module, function, expression, self._seen[function, expression])
        self.found.append(Found(place, node))

    def visit_Await(self, node: ast.Await) -> None:
        self._note(node, node.value)
        self.generic_visit(node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        for item in node.items:
            self._note(item, item.context_expr, "async with ")
        self.generic_visit(node)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> None:
        self._note(node, node.iter, "async for ")
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        if node.is_async:
            raise ValueError(f"{self._module}: no crash point can stand in an asynchronous comprehension")
        self.generic_visit(node)


def awaits(tree: ast.AST, module: str) -> list[Found]:
    """Every place of a module where its code may be suspended, in the order of the source."""
    finder = _Finder(module)
    finder.visit(tree)
    return finder.found


def sources(root: Path = ROOT) -> Iterator[tuple[str, Path]]:
    """The modules that have crash points, with their files."""
    for pattern in WHERE:
        for path in sorted(root.glob(pattern)):
            module = path.relative_to(root).with_suffix("")
            yield ".".join(part for part in module.parts if part != "__init__"), path


def places(root: Path = ROOT) -> list[Place]:
    """Every place in the code as it is now."""
    return [
        found.place for module, path in sources(root) for found in awaits(ast.parse(path.read_text()), module)
    ]
