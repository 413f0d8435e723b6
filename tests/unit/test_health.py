"""A worker's health and readiness, and the endpoint that tells them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from connectors.errors import Misconfigured
from connectors.loopback import HOST, free_port
from processors.settings import Settings
from processors.telemetry import catalogue as c
from processors.telemetry import endpoint as endpoint_module
from processors.telemetry.endpoint import CONNECTIONS_MAX, REQUEST_BYTES_MAX, Endpoint
from processors.telemetry.exposition import Exposition
from processors.telemetry.health import SILENT_S_MAX, STARTING_S_MAX, Health
from processors.telemetry.meters import FORGETFUL
from processors.telemetry.readiness import ask, ask_all
from processors.telemetry.telemetry import Telemetry
from tests.support.replays import wait_until
from tests.support.scrape import get, scrape, state


class Clock:
    """Seconds that rise when told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    """A worker that has just started."""
    return Health(clock)


class TestHealth:
    """Healthy: a restart would not help. Ready: facts are folded."""

    def test_a_worker_is_ready_between_its_assignments(self, health: Health) -> None:
        """Not before the first one, nor from a revocation until its successor is recovered."""
        assert health.reasons() == ("starting",)
        health.enter("rebalancing")
        assert health.reasons() == ("rebalancing",)
        health.enter("recovering")
        assert health.reasons() == ("recovering",)
        health.enter("ready")
        assert health.reasons() == ()
        health.enter("rebalancing")
        assert health.reasons() == ("rebalancing",)

    def test_nothing_follows_on_stopping(self, health: Health) -> None:
        """A worker that drains is not ready again, whatever its last rebalance says."""
        health.enter("ready")
        health.enter("stopping")
        health.enter("ready")
        assert health.reasons() == ("stopping",)

    def test_a_silent_broker_makes_it_unready_and_leaves_it_healthy(self, health: Health) -> None:
        """A restart would not mend the broker."""
        health.enter("ready")
        health.broker(silent=True)
        assert health.reasons() == ("broker_silent",)
        assert health.healthy()
        health.broker(silent=False, coordinator_known=False)
        assert health.reasons() == ("coordinator_unknown",)
        health.broker(silent=False)
        assert health.reasons() == ()

    def test_a_loop_that_does_not_turn_is_unhealthy(self, health: Health, clock: Clock) -> None:
        """Once its silence is longer than any work that is done in one go."""
        health.enter("ready")
        health.beat()
        clock.now += SILENT_S_MAX
        assert health.healthy()
        clock.now += 0.1
        assert not health.healthy()
        assert health.reasons() == ("event_loop_blocked",)
        health.beat()
        assert health.healthy()

    def test_a_start_may_take_longer_but_not_for_ever(self, health: Health, clock: Clock) -> None:
        """Before its loop turns a worker waits for servers."""
        clock.now += STARTING_S_MAX
        assert health.healthy()
        clock.now += 0.1
        assert not health.healthy()

    def test_an_agent_may_know_another_reason(self, health: Health) -> None:
        """It holds for as long as the agent says so."""
        refuses = [True]
        health.enter("ready")
        health.unready_while("clickhouse_refuses", lambda: refuses[0])
        assert health.reasons() == ("clickhouse_refuses",)
        refuses[0] = False
        assert health.reasons() == ()


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    """The endpoint of a journeys worker."""
    endpoint = Endpoint(HOST, 0, "journeys", Health(), Exposition("journeys", c.CATALOGUE).text)
    yield endpoint
    endpoint.shutdown()
    endpoint.server_close()


@pytest.fixture
def served(server: Endpoint, health: Health) -> str:
    """Its address; it tells of `health`."""
    server.health = health
    return f"http://{HOST}:{server.server_port}"


def raw(url: str, sent: bytes) -> bytes:
    """What comes back for these bytes."""
    port = int(url.rpartition(":")[2])
    with closing(socket.create_connection((HOST, port), 30)) as connection:
        connection.sendall(sent)
        found = b""
        try:
            while piece := connection.recv(65_536):
                found += piece
        except ConnectionError:
            pass
        return found


class TestTheEndpoint:
    """Three paths, GET, and bounds."""

    def test_it_tells_whether_the_worker_is_ready_and_why_not(self, health: Health, served: str) -> None:
        """503 with the reasons, 200 without."""
        assert state(served, "/readyz") == (
            503,
            {"ready": False, "role": "journeys", "reasons": ["starting"]},
        )
        health.enter("ready")
        assert state(served, "/readyz") == (200, {"ready": True, "role": "journeys", "reasons": []})

    def test_it_tells_that_the_loop_is_blocked(self, health: Health, clock: Clock, served: str) -> None:
        """Its threads answer when the loop can't."""
        health.enter("ready")
        health.beat()
        assert state(served, "/healthz") == (200, {"healthy": True, "role": "journeys", "silent_s": 0.0})
        clock.now += 2 * SILENT_S_MAX
        assert state(served, "/healthz")[0] == 503
        assert state(served, "/readyz")[1]["reasons"] == ["event_loop_blocked"]

    def test_metrics_are_shown_in_text(self, served: str) -> None:
        """With those of the process itself."""
        found = scrape(served)
        assert found["optin_rebalances_total", ""] == 0
        assert ("process_resident_memory_bytes", "") in found

    @pytest.mark.parametrize("path", ["/", "/metrics/", "/metrics?name=ann", "/../etc/passwd"])
    def test_other_paths_are_not_there(self, served: str, path: str) -> None:
        """No parameters either: nothing can be asked about a person, nor is the path repeated."""
        status, body = get(served, path)
        assert status == 404
        assert path not in body.replace('"/metrics"', "") or path == "/"

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
    def test_nothing_but_get_is_answered(self, served: str, method: str) -> None:
        """There is nothing to change."""
        assert get(served, "/metrics", method)[0] == 501

    def test_a_long_request_is_cut_off(self, served: str) -> None:
        """No memory is given to headers without end; the endpoint goes on."""
        header = b"X: " + bytes(1_000).replace(b"\0", b"x") + b"\r\n"
        long = b"GET /metrics HTTP/1.0\r\n" + header * (REQUEST_BYTES_MAX // 500)
        assert b" 431 " in raw(served, long).partition(b"\r\n")[0]
        assert get(served, "/metrics")[0] == 200

    def test_more_connections_than_the_bound_are_turned_away(
        self, served: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At once, while those inside say nothing; when they leave there is room again."""
        monkeypatch.setattr(endpoint_module, "REQUEST_S_MAX", 600.0)
        port = int(served.rpartition(":")[2])
        silent = [socket.create_connection((HOST, port), 30) for _ in range(CONNECTIONS_MAX)]
        assert raw(served, b"GET /healthz HTTP/1.0\r\n\r\n") == b""
        for connection in silent:
            connection.close()
        assert wait_until(lambda: get(served, "/healthz")[0] == 200, 30)

    def test_a_connection_that_says_nothing_is_sent_away(
        self, served: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When its time is over, whether it was silent or slow."""
        monkeypatch.setattr(endpoint_module, "REQUEST_S_MAX", 0.05)
        assert raw(served, b"") == b""
        assert b" 200 " not in raw(served, b"GET /healthz HTTP/1.0\r\nX: ").partition(b"\r\n")[0]

    def test_a_port_that_is_taken_is_named(self, served: str) -> None:
        """With the setting to change."""
        port = int(served.rpartition(":")[2])
        with pytest.raises(Misconfigured, match="OPTIN_METRICS_PORT"):
            Endpoint(HOST, port, "journeys", Health(), bytes)


class TestAsking:
    """What `optin status` shows."""

    def test_the_answer_is_yes_or_why_not(self, health: Health, served: str) -> None:
        """Reasons in words; a worker that is not there does not answer."""
        assert ask(served) == "starting"
        health.enter("ready")
        nobody = f"http://{HOST}:{free_port()}"
        assert ask_all({"journeys-0": served, "gone-0": nobody}) == {
            "journeys-0": "yes",
            "gone-0": "no answer",
        }

    @pytest.mark.parametrize("body", [b"[]", b"{}", b"junk", b"\xff"])
    def test_an_answer_of_something_else_is_none(self, body: bytes) -> None:
        """Another program may listen there now."""
        with closing(socket.create_server((HOST, 0))) as listening:

            def answer() -> None:
                connection, _ = listening.accept()
                with closing(connection):
                    connection.recv(1_024)
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + body)

            other = threading.Thread(target=answer)
            other.start()
            assert ask(f"http://{HOST}:{listening.getsockname()[1]}") == "no answer"
            other.join()


class TestTelemetry:
    """Off unless a port is named."""

    def test_nothing_is_measured_without_a_port(self) -> None:
        """The meters forget, and nobody listens."""
        assert Telemetry("journeys", settings()).meters is FORGETFUL

    def test_with_a_port_the_worker_tells_of_itself(self) -> None:
        """Health is among its metrics, for rules that can't read JSON."""
        port = free_port()
        telemetry = Telemetry("delivery", settings(metrics_port=port))
        url = f"http://{HOST}:{port}"
        assert scrape(url)["optin_ready", ""] == 0
        assert scrape(url)["optin_unready", "reason=starting"] == 1
        telemetry.health.enter("ready")
        assert scrape(url)["optin_ready", ""] == 1
        assert scrape(url)["optin_unready", "reason=starting"] == 0

    def test_a_role_without_metrics_is_refused_at_the_start(self) -> None:
        """Before it folds anything that it would fail to count."""
        with pytest.raises(Misconfigured, match="invented"):
            Telemetry("invented", settings(metrics_port=free_port()))


def settings(**changes: Any) -> Settings:
    """Settings of a test."""
    return Settings(**changes)
