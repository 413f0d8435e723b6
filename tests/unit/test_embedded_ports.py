"""The ports of an embedded Kafka: free ones, and never the same one twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from connectors.kafka.embedded import EmbeddedKafka
from connectors.loopback import free_port


def test_broker_and_controller_listen_on_ports_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither listens yet when both are chosen, so the second choice must know of the first."""
    drawn = [one := free_port(), one, free_port({one})]
    monkeypatch.setattr(random, "choice", lambda _: drawn.pop(0))
    kafka = EmbeddedKafka(tmp_path)

    kafka._configure()

    assert kafka._ports is not None
    assert kafka._ports.broker != kafka._ports.controller
    assert drawn == []
