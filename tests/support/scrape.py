"""Reads what a worker tells about itself, as Prometheus and a load balancer would."""

from __future__ import annotations

import http.client
import json
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

Samples: TypeAlias = dict[tuple[str, str], float]
"""(name, labels besides `role` as `a=b,c=d`) -> value."""


def samples_of(text: str) -> Samples:
    """All samples of an exposition in the text format."""
    families = text_string_to_metric_families(text)
    return {(one.name, _labels(one.labels)): one.value for family in families for one in family.samples}


def _labels(labels: dict[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()) if name != "role")


def get(url: str, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body; status 0 while nobody answers."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def scrape(url: str) -> Samples:
    """The metrics of the worker under this address; empty while it does not answer."""
    return samples_of(get(url, "/metrics")[1])


def state(url: str, path: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON of `/healthz` or `/readyz`."""
    status, body = get(url, path)
    return status, json.loads(body) if body else {}
