"""Audiences inside and outside of other audiences, put together into one rule."""

from __future__ import annotations

from collections.abc import Mapping

from processors.definitions.models import Audience
from processors.definitions.problem import Wrong, one_of


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
