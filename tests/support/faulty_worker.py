"""A worker that ends or freezes itself at a named place: `python -m tests.support.faulty_worker ROLE`.

`OPTIN_TEST_FAULT` holds faults, `;` between them: `<point>@<before|after>:<kill|stop|slow>[:<number>]`. The
points are those of `crash_points`. `kill` and `stop` send SIGKILL and SIGSTOP to the process itself when it
gets there for the n-th time (1); `slow` waits there so many ms each time, which makes rare overlaps likely.
`OPTIN_TEST_FAULT_HITS` names a file to which each side of a point is written at its first hit, and each fault
right before it strikes. The product has no part in this: its modules are rewritten while they are imported,
in this process alone.
"""

from __future__ import annotations

import ast
import asyncio
import importlib.abc
import importlib.machinery
import os
import signal
import sys
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import Any, Final

from tests.support.awaits import Place, awaits, sources
from tests.support.crash_points import POINTS

FAULT_ENV: Final = "OPTIN_TEST_FAULT"
HITS_ENV: Final = "OPTIN_TEST_FAULT_HITS"
REFUSALS_ENV: Final = "OPTIN_TEST_REFUSALS"
"""Where it is set, the console refuses some pushes as providers do."""
SIDES: Final = ("before", "after")
SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
MARKER: Final = "__crash_point__"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens on one side of a point. `number`: which hit, or for `slow` how many ms."""

    point: str
    side: str
    action: str
    number: int = 1

    def __str__(self) -> str:
        return f"{self.point}@{self.side}:{self.action}:{self.number}"


def read_faults(text: str) -> list[Fault]:
    """The faults of `OPTIN_TEST_FAULT`. Raises ValueError for a point, side or action that doesn't exist."""
    faults = []
    for piece in filter(None, (piece.strip() for piece in text.split(";"))):
        point, _, rest = piece.partition("@")
        side, action, *number = rest.split(":")
        if point not in POINTS:
            raise ValueError(f"{point!r} is no crash point; tests/support/crash_points.py lists them")
        if side not in SIDES or action not in {*SIGNALS, "slow"}:
            raise ValueError(f"{piece!r} is not <point>@<before|after>:<kill|stop|slow>[:<number>]")
        faults.append(Fault(point, side, action, *map(int, number)))
    return faults


class Strikes:
    """Notes hits and lets faults happen; called from the event loops of all threads of the process."""

    def __init__(self, faults: Sequence[Fault], hits: str | None) -> None:
        self._faults = faults
        self._seen: Counter[tuple[str, str]] = Counter()
        self._file = os.open(hits, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if hits else None

    async def __call__(self, point: str, side: str, value: Any = None) -> Any:
        """The marker on one side of an await; gives `value` back."""
        self._seen[point, side] += 1
        number = self._seen[point, side]  # others may come by while this one dawdles
        if number == 1:
            self._note(f"{point}@{side}")
        for fault in self._faults:
            if (fault.point, fault.side) != (point, side):
                continue
            if fault.action == "slow":
                await asyncio.sleep(fault.number / 1000)
            elif fault.number == number:
                self._note(f"strike {fault}")
                os.kill(os.getpid(), SIGNALS[fault.action])
        return value

    def _note(self, line: str) -> None:
        if self._file is not None:
            os.write(self._file, f"{line}\n".encode())


class _Marking(ast.NodeTransformer):
    """Puts a marker before and after each place; a marker that does nothing does not suspend."""

    def __init__(self, names: dict[ast.AST, str]) -> None:
        self._names = names

    def visit_Await(self, node: ast.Await) -> ast.AST:
        name = self._names.get(node)
        self.generic_visit(node)
        if name is None:
            return node
        pair = ast.Tuple([_marker(name, "before"), _marker(name, "after", node)], ast.Load())
        return ast.copy_location(ast.Subscript(pair, ast.Constant(1), ast.Load()), node)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> list[ast.stmt]:
        names = [self._names[item] for item in node.items if item in self._names]
        return self._around(node, names)

    def visit_AsyncFor(self, node: ast.AsyncFor) -> list[ast.stmt]:
        return self._around(node, [self._names[node]] if node in self._names else [])

    def _around(self, node: ast.AsyncWith | ast.AsyncFor, names: Sequence[str]) -> list[ast.stmt]:
        self.generic_visit(node)
        node.body[:0] = [ast.copy_location(ast.Expr(_marker(name, "after")), node) for name in names]
        return [*(ast.copy_location(ast.Expr(_marker(name, "before")), node) for name in names), node]


def _marker(name: str, side: str, value: ast.expr | None = None) -> ast.Await:
    arguments: list[ast.expr] = [ast.Constant(name), ast.Constant(side)]
    call = ast.Call(ast.Name(MARKER, ast.Load()), arguments + ([value] if value else []), [])
    return ast.Await(call)


def marked(tree: ast.Module, module: str, points: Mapping[str, Place] = POINTS) -> ast.Module:
    """The module with its markers."""
    names = {place: name for name, place in points.items()}
    places = {found.node: names[found.place] for found in awaits(tree, module) if found.place in names}
    with_markers: ast.Module = _Marking(places).visit(tree)  # type: ignore[arg-type]
    return ast.fix_missing_locations(with_markers)


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles a module with its markers; never from or into the cache of compiled files."""

    def __init__(self, fullname: str, path: str, strikes: Strikes) -> None:
        super().__init__(fullname, path)
        self._strikes = strikes

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = marked(ast.parse(self.get_data(path), path), fullname)
        return compile(tree, path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, MARKER, self._strikes)
        super().exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that have crash points."""

    def __init__(self, strikes: Strikes) -> None:
        self._strikes = strikes
        self._paths = {module: str(path) for module, path in sources()}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del target
        if fullname not in self._paths:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None:
            spec.loader = _Loader(fullname, self._paths[fullname], self._strikes)
        return spec


def install(faults: Sequence[Fault], hits: str | None) -> None:
    """From now on modules get their markers when they are imported; those that are imported already don't."""
    early = sorted({module for module, _ in sources()} & sys.modules.keys())
    if early:
        raise RuntimeError(f"imported before its markers: {early}")
    sys.meta_path.insert(0, _Finder(Strikes(faults, hits)))


def install_from_environment() -> None:
    """Install what `OPTIN_TEST_FAULT` and `OPTIN_TEST_FAULT_HITS` say."""
    install(read_faults(os.environ.get(FAULT_ENV, "")), os.environ.get(HITS_ENV))


def refuse_some() -> None:
    """Have the console find a third of the tokens dead, and refuse another third when it first sees them."""
    from connectors.push.console import ConsoleSender
    from connectors.push.port import Outcome

    honest = ConsoleSender.send
    seen: set[str] = set()

    def refusal(push: str) -> Outcome | None:
        match zlib.crc32(push.encode()) % 3:
            case 0:
                return Outcome("rejected", "token_dead", "Unregistered")
            case 1 if push not in seen:
                seen.add(push)
                return Outcome("rejected", "transient", "ServiceUnavailable")
        return None

    async def send(self: Any, pushes: Sequence[Any], **until: Any) -> list[Outcome]:
        refused = [refusal(push.push_id) for push in pushes]
        taken = [push for push, no in zip(pushes, refused, strict=True) if no is None]
        outcomes = iter(await honest(self, taken, **until) if taken else [])
        return [no or next(outcomes) for no in refused]

    ConsoleSender.send = send  # type: ignore[method-assign]


def run(role: str) -> None:
    """Run a worker of the role in this process; returns when it was told to stop."""
    from processors.cli import main

    sys.argv = ["optin", "worker", role]
    main()


if __name__ == "__main__":
    install_from_environment()
    if os.environ.get(REFUSALS_ENV):
        refuse_some()
    run(sys.argv[1])
