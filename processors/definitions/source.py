"""A YAML file with the line of each of its parts, so that a mistake can be pointed at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from processors.definitions.problem import Problem

BYTES_MAX = 262_144


class Source:
    """One file. `body` is None where it could not be read; then `problems` says why."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.name = path.relative_to(folder).as_posix()
        self.body: Any = None
        self.problems: list[Problem] = []
        self._root: yaml.Node | None = None
        self._read()

    def line(self, loc: Sequence[str | int] = ()) -> int:
        """The line of a part, such as ("steps", 2, "wait"); of the nearest part around it if it is absent."""
        node, line = self._root, 1
        for key in loc:
            found = _part(node, key)
            if found is None:
                break
            line, node = found
        return line

    def at(self, loc: Sequence[str | int], what: str, remedy: str) -> Problem:
        """A mistake in a part of this file."""
        return Problem(self.name, self.line(loc), what, remedy)

    def _read(self) -> None:
        try:
            raw = self.path.read_bytes()
            if len(raw) > BYTES_MAX:
                self._fail(1, f"the file has {len(raw)} bytes", f"Keep it below {BYTES_MAX}")
                return
            text = raw.decode()
            self._root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.problems += self._doubled(self._root)
            if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
                # A few aliases of aliases unfold to gigabytes.
                self._fail(1, "it uses a YAML alias", "Write the value out")
                return
            self.body = yaml.safe_load(text)
        except FileNotFoundError:
            self._fail(1, "there is no such file", "A definitions folder needs it")
        except UnicodeDecodeError:
            self._fail(1, "it is not UTF-8", "Save it as UTF-8")
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            self._fail(
                line, f"it is not YAML: {error.problem}", "Mend the YAML; texts with a colon need quotes"
            )
        except (yaml.YAMLError, RecursionError) as error:
            self._fail(1, f"it is not YAML: {type(error).__name__}", "Mend the YAML")

    def _fail(self, line: int, what: str, remedy: str) -> None:
        self.problems.append(Problem(self.name, line, what, remedy))

    def _doubled(self, node: yaml.Node | None) -> Iterator[Problem]:
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if key.value in seen:
                    what = f"{key.value} stands here twice; YAML would take the last without a word"
                    yield Problem(self.name, key.start_mark.line + 1, what, "Remove one of them")
                seen.add(key.value)
                yield from self._doubled(value)
        elif isinstance(node, yaml.SequenceNode):
            for part in node.value:
                yield from self._doubled(part)


def _part(node: yaml.Node | None, key: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return name.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        part = node.value[key]
        return part.start_mark.line + 1, part
    return None
