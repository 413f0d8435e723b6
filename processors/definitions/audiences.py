"""Audiences inside and outside of other audiences, put together into one rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from connectors.rules import cel
from processors.definitions.found import Found
from processors.definitions.heard import check_rule
from processors.definitions.models import Audience
from processors.definitions.problem import Problem, Wrong, one_of
from processors.definitions.source import Source

WHOLE_LENGTH_MAX: Final = 4_000
"""Of a rule with those of all audiences that it takes in, in characters."""


def rule_of(name: str, audiences: Mapping[str, Audience], above: tuple[str, ...] = ()) -> str:
    """The audience's rule in CEL. Raises `Wrong` for an unknown audience and for one that contains itself."""
    if name in above:
        raise Wrong(f"the audience contains itself: {' > '.join((*above, name))}", "Remove one of them")
    if name not in audiences:
        raise Wrong(f"{name} is no audience", one_of(name, audiences))
    audience = audiences[name]
    parts = [] if audience.rule is None else [f"({audience.rule})"]
    parts += [f"({rule_of(one, audiences, (*above, name))})" for one in audience.inside]
    parts += [f"!({rule_of(one, audiences, (*above, name))})" for one in audience.outside]
    return " && ".join(parts) or "true"


def check_audiences(audiences: Found[Audience]) -> Iterator[Problem]:
    """Everything that is wrong with audiences, alone and inside and outside of each other."""
    problems = [problem for source, audience in audiences for problem in _alone(audience, source, audiences)]
    problems += _cycles(audiences)
    yield from problems or _together(audiences)


def _alone(audience: Audience, source: Source, audiences: Found[Audience]) -> Iterator[Problem]:
    if audience.rule is None and not audience.inside and not audience.outside:
        yield source.at((), "the audience says nothing of anybody", "Give it a rule, or inside or outside")
    if audience.rule is not None:
        yield from check_rule(source, ("rule",), audience.rule)
    cited = {"inside": audience.inside, "outside": audience.outside}
    for field, names in cited.items():
        for number, name in enumerate(names):
            loc = (field, number)
            if audiences.get(name) is None and not audiences.is_broken(name):
                yield source.at(loc, f"{name} is no audience", audiences.one_of(name))
            elif field == "outside" and name in audience.inside:
                what = f"{name} stands inside and outside, so nobody is in {audience.name}"
                yield source.at(loc, what, "Remove one of them")
    for number, name in enumerate(audience.outside):
        other = audiences.get(name)
        missing = () if other is None or other.rule is None else cel.unguarded(other.rule)
        if missing:
            what = f"whoever has no {missing[0]} is neither in {name} nor outside of it"
            yield source.at(("outside", number), what, f"Begin the rule of {name} with has({missing[0]}) &&")


def _cycles(audiences: Found[Audience]) -> Iterator[Problem]:
    """Each way by which an audience comes back to itself, once."""
    known, done = audiences.models, set[str]()
    for first in sorted(known):
        path = [first]
        waiting = [_cited(known[first])]
        while path:
            loc, name = next(waiting[-1], (None, ""))
            if loc is None:
                done.add(path.pop())
                waiting.pop()
            elif name in path:
                around = " > ".join([*path[path.index(name) :], name])
                source, _ = audiences.sources[path[-1]]
                yield source.at(loc, f"the audience contains itself: {around}", "Remove one of them")
            elif name in known and name not in done:
                path.append(name)
                waiting.append(_cited(known[name]))


def _cited(audience: Audience) -> Iterator[tuple[tuple[str, int], str]]:
    for field in ("inside", "outside"):
        for number, name in enumerate(getattr(audience, field)):
            yield (field, number), name


def _together(audiences: Found[Audience]) -> Iterator[Problem]:
    """Whether rules that take each other in stay within bounds; the innermost that does not is told."""
    known = audiences.models
    lengths: dict[str, int] = {}
    wrong: set[str] = set()
    for name in _inner_first(known):
        source, audience = audiences.sources[name]
        inner = [*audience.inside, *audience.outside]
        lengths[name] = len(audience.rule or "") + sum(lengths.get(one, 0) + 8 for one in inner)
        if wrong & set(inner) or any(one not in known for one in inner):
            wrong.add(name)
        elif lengths[name] > WHOLE_LENGTH_MAX:
            wrong.add(name)
            what = f"put together, its rule has {lengths[name]} characters, {WHOLE_LENGTH_MAX} are allowed"
            yield source.at((), what, "Take in fewer audiences")
        elif said := cel.whole_problem(f"(true) && ({rule_of(name, known)})"):
            wrong.add(name)
            yield source.at((), f"put together, its rule is wrong: {said}", "Take in fewer audiences")


def _inner_first(known: Mapping[str, Audience]) -> list[str]:
    """Names in an order in which an audience comes after those that it takes in; there are no cycles."""
    order: dict[str, None] = {}
    for first in sorted(known):
        waiting = [first]
        while waiting:
            name = waiting[-1]
            left = [one for _, one in _cited(known[name]) if one in known and one not in order]
            if left:
                waiting.append(left[0])
            else:
                order[waiting.pop()] = None
    return list(order)
