"""A YAML file with the line of each of its parts, so that a mistake can be pointed at."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from processors.definitions.problem import Problem

BYTES_MAX: Final = 262_144
_OPEN: Final = ("while parsing a flow", "while scanning a quoted")
_DATE: Final = "tag:yaml.org,2002:timestamp"


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
        node = self._root
        line = 1 if node is None else node.start_mark.line + 1
        for key in loc:
            found = _part(node, key)
            if found is None:
                break
            line, node = found
        return line

    def at(self, loc: Sequence[str | int], what: str, remedy: str) -> Problem:
        """A mistake in a part of this file."""
        return Problem(self.name, self.line(loc), what, remedy)

    def written(self, loc: Sequence[str | int]) -> str | None:
        """How a value is written in the file, before YAML makes something of it; None if it is no scalar."""
        node = self._root
        for key in loc:
            found = _part(node, key)
            if found is None:
                return None
            node = found[1]
        return node.value if isinstance(node, yaml.ScalarNode) else None

    def _read(self) -> None:
        try:
            if self.path.exists() and not (self.path.is_file() or self.path.is_dir()):
                self._fail(1, "it is no regular file", "Put a readable file there")
                return
            with self.path.open("rb") as file:
                raw = file.read(BYTES_MAX + 1)
        except FileNotFoundError:
            self._fail(1, "there is no such file", "A definitions folder needs it")
            return
        except OSError as error:
            self._fail(1, f"it can't be read: {error.strerror or error}", "Put a readable file there")
            return
        if len(raw) > BYTES_MAX:
            self._fail(1, f"the file is longer than {BYTES_MAX} bytes", "Split it, or shorten it")
            return
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            self._fail(raw.count(b"\n", 0, error.start) + 1, "it is not UTF-8", "Save the file as UTF-8")
            return
        try:
            self._take(text)
        except _Alias as alias:
            self._fail(
                alias.line, "it repeats a part by a YAML alias", "Write the value out where it is used"
            )
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            self._fail(line, f"it holds the control character U+{ord(text[error.position]):04X}", "Remove it")
        except yaml.MarkedYAMLError as error:
            context, what = error.context or "", error.problem or error.context or "something is wrong"
            # What is left open is told where it begins.
            opened = error.context_mark if context.startswith(_OPEN) else None
            mark = opened or error.problem_mark or error.context_mark
            self._fail(mark.line + 1 if mark else 1, f"it is not YAML: {what}", _remedy(what))
        except RecursionError:
            self._fail(1, "it is nested too deeply", "Mend its brackets")
        except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
            self._fail(1, f"it is not YAML: {type(error).__name__}", "Mend the YAML")

    def _take(self, text: str) -> None:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return
            self._root = root
            self.problems += _doubled(root, self.name)
            halves = _half_character(root)
            if halves is not None:
                self._fail(halves, "it holds half a character (a surrogate)", "Write the whole character")
                return
            self.body = loader.construct_document(root)
        finally:
            loader.dispose()

    def _fail(self, line: int, what: str, remedy: str) -> None:
        self.problems.append(Problem(self.name, line, what, remedy))


class _Alias(Exception):  # noqa: N818 - named for what was met
    """A few aliases of aliases unfold to gigabytes, so none is followed."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Loader(yaml.SafeLoader):
    """YAML without aliases and dates, whose keys are what is written: `on` is a key of ours, not true."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _Alias(self.get_event().start_mark.line + 1)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a name is no plain word", key.start_mark)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}

    def construct_yaml_map(self, node: yaml.MappingNode) -> Generator[dict[Any, Any], None, None]:
        data: dict[Any, Any] = {}
        yield data
        data.update(self.construct_mapping(node))


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_yaml_map)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _DATE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _remedy(what: str) -> str:
    if "mapping values" in what:
        return "Put a text with a colon in quotes"
    if "\\t" in what or "'\t'" in what:
        return "Indent with spaces"
    if "plain word" in what:
        return "Write a word before the colon"
    if "another document" in what:
        return "Write one document per file, without ---"
    if "tag" in what:
        return "Write plain values, and texts with an exclamation mark in quotes"
    return "Look for a missing quote, bracket or colon here or in the lines before"


def _doubled(node: yaml.Node, name: str) -> Iterator[Problem]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                what = f"{key.value} stands here twice; YAML would take the last without a word"
                yield Problem(name, key.start_mark.line + 1, what, "Remove one of them")
            seen.add(key.value)
            yield from _doubled(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for part in node.value:
            yield from _doubled(part, name)


def _half_character(node: yaml.Node) -> int | None:
    """The line of a text that can't be encoded: YAML's escapes can write one."""
    if isinstance(node, yaml.ScalarNode):
        is_whole = node.value.isascii() or not any("\ud800" <= one <= "\udfff" for one in node.value)
        return None if is_whole else node.start_mark.line + 1
    parts = node.value if isinstance(node, yaml.SequenceNode) else [one for two in node.value for one in two]
    return next((line for part in parts if (line := _half_character(part)) is not None), None)


def _part(node: yaml.Node | None, key: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return name.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        part = node.value[key]
        return part.start_mark.line + 1, part
    return None
