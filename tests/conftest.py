"""Fixtures for tests that need a broker and a ClickHouse; see `tests.support.stack` for where from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from processors.stack import CLICKHOUSE_ENV, KAFKA_ENV, Servers
from tests.support.stack import Choice, TestServers, choose, test_servers

CHOICE = pytest.StashKey[Choice]()
NEEDS_SERVERS = frozenset({"servers", "stack", "fresh_stack"})


def pytest_report_header(config: pytest.Config) -> str:
    """Tell which servers the tests use."""
    choice = config.stash[CHOICE] = choose(os.environ)
    return f"stack: {choice.kind} ({choice.missing or choice.why})"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the servers, so that `-m "not stack"` leaves it out."""
    for item in items:
        if NEEDS_SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("stack")


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestServers]:
    """The servers of this session; started when first asked for, ended with it."""
    choice = pytestconfig.stash.get(CHOICE, None) or choose(os.environ)
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")

    def progress(line: str) -> None:
        if reporter is not None:
            reporter.write_line(line)

    with ExitStack() as resources:
        yield test_servers(choice, tmp_path_factory.mktemp("stack"), resources, progress)


@pytest.fixture(scope="session")
def stack(servers: TestServers) -> Servers:
    """Servers shared by all tests: our topics exist, records of other tests may be on them."""
    return servers.shared()


@pytest.fixture
def fresh_stack(servers: TestServers, tmp_path: Path) -> Iterator[Servers]:
    """Servers for this test alone: our topics are empty, our ClickHouse database does not exist."""
    with servers.fresh(tmp_path) as fresh:
        yield fresh


@pytest.fixture
def named_stack(fresh_stack: Servers, monkeypatch: pytest.MonkeyPatch) -> Servers:
    """A fresh stack that the environment names, so that what the test starts uses it."""
    monkeypatch.setenv(KAFKA_ENV, fresh_stack.kafka_bootstrap)
    monkeypatch.setenv(CLICKHOUSE_ENV, fresh_stack.clickhouse_url)
    return fresh_stack
