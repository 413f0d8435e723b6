"""The embedded broker keeps the markers of commits that it acknowledged before it was killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.forgotten_markers import TRANSACTIONS, Round, one_round

ROUNDS = 5 if os.environ.get("OPTIN_TEST_LONG") == "1" else 1


@pytest.mark.timeout(240)
@pytest.mark.parametrize("number", range(ROUNDS))
def test_a_killed_node_writes_the_markers_that_it_owes(number: int, tmp_path: Path) -> None:
    """No marker is left out after the restart, and readers see every acknowledged transaction whole.

    On 4.3.1 it fails in some rounds, not in all: whether a leader is known in time is a race there.
    """
    assert one_round(tmp_path / str(number)) == Round(TRANSACTIONS, skipped=0, lost=0)
