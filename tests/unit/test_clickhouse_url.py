"""What is said of a ClickHouse URL that holds a password with odd signs."""

from __future__ import annotations

import pytest

from connectors.clickhouse.client import connect
from connectors.errors import Misconfigured
from processors.stack import redacted


@pytest.mark.parametrize("password", ["se/cret", "12/cret", "se#cret", "se?cret", "se@/cret"])
def test_no_message_shows_a_part_of_the_password(password: str) -> None:
    """The refusal says which signs to write in another way; the shown address has no password in it."""
    url = f"http://user:{password}@127.0.0.1:1/optin"
    with pytest.raises(Misconfigured, match="%2F") as refused:
        connect(url)

    assert "cret" not in str(refused.value)
    assert redacted(url) == "http://user:***@127.0.0.1:1/optin"
