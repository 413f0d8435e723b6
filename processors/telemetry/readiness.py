"""Asks workers whether they are ready, as an operator's command does."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import urlsplit

ANSWER_S_MAX: Final = 2.0
BODY_BYTES_MAX: Final = 4_096
AT_ONCE: Final = 16

READY: Final = "yes"
NO_ANSWER: Final = "no answer"


def ask(url: str) -> str:
    """`yes`, the reasons why not, or `no answer`, of the worker under this address. Raises nothing."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=ANSWER_S_MAX)
    try:
        connection.request("GET", "/readyz")
        answer = json.loads(connection.getresponse().read(BODY_BYTES_MAX))
        return READY if answer["ready"] else ", ".join(answer["reasons"])
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException):
        return NO_ANSWER
    finally:
        connection.close()


def ask_all(endpoints: Mapping[str, str]) -> dict[str, str]:
    """The answers of all workers by their names."""
    if not endpoints:
        return {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(endpoints, pool.map(ask, endpoints.values()), strict=True))
