"""A role goes on with single bad records and stops when most are bad."""

from __future__ import annotations

import pytest

from connectors.errors import Misconfigured
from processors.agents.bad_share import RECORDS_MIN, WINDOW, BadShare


def test_half_bad_goes_on() -> None:
    """For ever, whatever the order within the share."""
    share = BadShare(0.5)
    for number in range(3 * WINDOW):
        share.note(refused=number % 2 == 1)


def test_more_than_the_share_stops() -> None:
    """Not before enough records were seen to speak of a share."""
    share = BadShare(0.5)
    for _ in range(RECORDS_MIN - 1):
        share.note(refused=True)

    with pytest.raises(Misconfigured, match=r"1,000 of the last 1,000 records .* dead-letters list"):
        share.note(refused=True)


def test_a_long_good_past_does_not_hide_a_bad_present() -> None:
    """The share is that of the last records."""
    share = BadShare(0.5)
    for _ in range(100 * WINDOW):
        share.note(refused=False)
    stopped_after = next(number for number in range(3 * WINDOW) if stops(share))

    assert stopped_after < 2 * WINDOW


def stops(share: BadShare) -> bool:
    """Whether one more bad record stops the role."""
    try:
        share.note(refused=True)
    except Misconfigured:
        return True
    return False


def test_a_share_of_one_never_stops() -> None:
    """For whoever wants to go on."""
    share = BadShare(1.0)
    for _ in range(2 * WINDOW):
        share.note(refused=True)
