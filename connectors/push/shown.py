"""How a message is shown beside its title and body: flat names in decisions, fields in a push.

A decision's `shown` maps names to rendered texts: `link`, `data.cart`, `apns.level`, `title_args.0`. What is
not known here is left out: a newer role may have decided.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

from connectors.push.port import Options

TEXTS: Final = {
    "link": "link",
    "image": "image",
    "collapse": "collapse_id",
    "title_key": "title_key",
    "body_key": "body_key",
}
"""Name -> field of `Push`."""
LISTS: Final = ("title_args", "body_args")
"""The same names in both."""
OPTIONS: Final = {
    "apns.level": "apns_level",
    "apns.category": "apns_category",
    "apns.thread": "apns_thread",
    "apns.sound": "apns_sound",
    "fcm.channel": "fcm_channel",
    "web.urgency": "web_urgency",
}
"""Name -> field of `Options`."""
RELEVANCE: Final = "apns.relevance"
BACKGROUND: Final = "background"
DATA: Final = "data."
YES: Final = "yes"


def flat(said: Mapping[str, Any]) -> dict[str, str]:
    """The nested fields of a message's definition by flat names; what says nothing is left out."""
    found: dict[str, str] = {}
    for name, value in said.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": text for inner, text in flat(value).items()}
        elif isinstance(value, list | tuple):
            found |= {f"{name}.{number}": str(one) for number, one in enumerate(value)}
        elif value is True:
            found[name] = YES
        elif value is not None and value is not False and value != "":
            found[name] = str(value)
    return found


def fields_of(shown: Mapping[str, str]) -> dict[str, Any]:
    """The fields of `Push` that a decision's flat names give. Total."""
    fields: dict[str, Any] = {place: shown[name] for name, place in TEXTS.items() if name in shown}
    for name in LISTS:
        numbered = (f"{name}.{number}" for number in range(len(shown)))
        args = tuple(shown[one] for one in numbered if one in shown)
        if args:
            fields[name] = args
    if shown.get(BACKGROUND) == YES:
        fields["background"] = True
    data = {name.removeprefix(DATA): text for name, text in shown.items() if name.startswith(DATA)}
    if data:
        fields["data"] = data
    options: dict[str, Any] = {place: shown[name] for name, place in OPTIONS.items() if name in shown}
    if RELEVANCE in shown:
        with contextlib.suppress(ValueError):
            options["apns_relevance"] = float(shown[RELEVANCE])
    if options:
        fields["options"] = Options(**options)
    return fields
