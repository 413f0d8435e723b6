"""What of a message a push provider would refuse each time, as far as the file shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from connectors.push.fits import too_long
from connectors.push.limits import APNS_COLLAPSE_BYTES_MAX, FCM_RESERVED, OURS
from connectors.push.port import Push
from connectors.push.shown import fields_of
from connectors.rules.liquid import is_template
from connectors.rules.longest import longest
from processors.definitions import models as m
from processors.definitions.problem import Problem
from processors.definitions.source import Source

_SOME_ID: Final = "0" * 36


def check_providers(message: m.Message, source: Source) -> Iterator[Problem]:
    """Names that are reserved, ids and texts that are too long: by bytes, with the longest values known."""
    yield from _names(message, source)
    length = len(message.collapse.encode())
    if not is_template(message.collapse) and length > APNS_COLLAPSE_BYTES_MAX:
        what = f"collapse: it has {length} bytes, and APNs takes {APNS_COLLAPSE_BYTES_MAX}"
        yield source.at(("collapse",), what, "Shorten it: it is an id, not a text")
    for args, key in (("title_args", "title_key"), ("body_args", "body_key")):
        if getattr(message, args) and not getattr(message, key):
            what = f"{args} fill in a translation, and there is no {key}: FCM refuses such a push"
            yield source.at((args,), what, f"Name the translation by {key}, or remove {args}")
    yield from _sizes(message, source)


def _names(message: m.Message, source: Source) -> Iterator[Problem]:
    for name in message.data:
        taken = name in OURS and (name in {"aps", "push_id"} or getattr(message, name))
        if FCM_RESERVED.fullmatch(name):
            what = f"data.{name}: FCM refuses each push with data of this name"
            yield source.at(("data", name), what, f"Call it something else, such as shop_{name}")
        elif taken:
            what = f"data.{name}: each push has something else by this name, so it would not arrive"
            yield source.at(("data", name), what, f"Call it something else, such as shop_{name}")


def _sizes(message: m.Message, source: Source) -> Iterator[Problem]:
    parts = {part: longest(part, text) for part, text in message.parts.items()}
    title, body = parts.pop("title"), parts.pop("body")
    push = Push(_SOME_ID, "", "", "", title, body, **fields_of(parts))
    found = too_long(push)
    if not found:
        return
    lengths = {"title": title, "body": body, **parts}
    biggest = max(lengths, key=lambda part: len(lengths[part].encode()))
    limits = ", ".join(f"{one.provider} takes {one.most} bytes and not {one.length}" for one in found)
    over = max(one.length - one.most for one in found)
    yield source.at(
        _place(biggest), f"a push of it can be too long: {limits}", f"Shorten its {biggest} by {over} bytes"
    )


def _place(part: str) -> tuple[str | int, ...]:
    return tuple(int(step) if step.isdigit() else step for step in part.split("."))
