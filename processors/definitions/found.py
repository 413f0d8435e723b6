"""Definitions of one kind as they were found, so that one mistake is told once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Generic, TypeVar

from processors.definitions import models as m
from processors.definitions.problem import one_of
from processors.definitions.source import Source

Model = TypeVar("Model", m.Journey, m.Message, m.Audience, m.Campaign)


@dataclasses.dataclass(frozen=True, slots=True)
class Found(Generic[Model]):
    """What could be read by name, and the names of what could not."""

    sources: dict[str, tuple[Source, Model]] = dataclasses.field(default_factory=dict)
    broken: set[str] = dataclasses.field(default_factory=set)

    def get(self, name: str) -> Model | None:
        """The definition of this name, if it could be read."""
        found = self.sources.get(name)
        return None if found is None else found[1]

    def is_broken(self, name: str) -> bool:
        """Whether somebody meant to define this, so that citing it is no mistake of its own."""
        return name in self.broken and name not in self.sources

    def one_of(self, name: str) -> str:
        """A remedy for a name that nobody defined."""
        return one_of(name, {*self.sources, *self.broken})

    @property
    def models(self) -> dict[str, Model]:
        """All that could be read, by name."""
        return {name: one for name, (_, one) in self.sources.items()}

    def __iter__(self) -> Iterator[tuple[Source, Model]]:
        return iter(self.sources.values())
