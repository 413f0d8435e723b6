"""Fixtures: third-party stand-ins of push providers, shared by the tests of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.providers.apns_mock import ApnsMock
from tests.support.providers.part import or_skip
from tests.support.providers.web_push_mock import WebPushMock


@pytest.fixture(scope="session")
def apns_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApnsMock]:
    """Pushy's mock server, once for the session."""
    with or_skip(ApnsMock(tmp_path_factory.mktemp("apns"))) as mock:
        yield mock


@pytest.fixture
def apns(apns_process: ApnsMock) -> ApnsMock:
    """The mock as if it had just been started."""
    apns_process.tell("reset")
    return apns_process


@pytest.fixture(scope="session")
def web_push(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebPushMock]:
    """The push service of web-push-testing, once for the session."""
    with or_skip(WebPushMock(tmp_path_factory.mktemp("web-push"))) as mock:
        yield mock
