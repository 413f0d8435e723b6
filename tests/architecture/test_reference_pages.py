"""The generated reference pages say what the code says."""

from __future__ import annotations

import pytest

from processors.reference import DEFAULT_FOLDER, pages


@pytest.mark.parametrize("name", pages())
def test_a_page_is_up_to_date(name: str) -> None:
    """`make docs` was run after the last change."""
    assert (DEFAULT_FOLDER / name).read_text("utf-8") == pages()[name], "run `make docs`"


def test_the_pages_name_what_people_look_for() -> None:
    """Every setting with its default, every view with its comment and SQL, every column with its type."""
    settings, clickhouse = pages()["settings.md"], pages()["clickhouse.md"]

    assert "| `OPTIN_LEASE_S` | `10.0` | more than 0 | longest time from the read barrier" in settings
    assert "one of wall, event" in settings
    assert "### consent_current\n\nConsent now: one row for each installation" in clickhouse
    assert "CREATE OR REPLACE VIEW push_outcomes AS" in clickhouse
    assert (
        "| `token_id` | String | a hash of the delivery address, which is never stored here |" in clickhouse
    )
