"""Stops a role whose input is mostly bad, or whose steps mostly fail: the fault is then not one record's.

Dead-lettering everything would fill the box and hide the cause. The process ends before it commits, says why,
and is started again by its supervisor, which reports a part that keeps ending.
"""

from __future__ import annotations

from typing import Final

from connectors.errors import Backpressure, Misconfigured, Transient
from ledger.definitions import UnknownDefinition

RECORDS_MIN: Final = 1_000
"""Fewer records say nothing about a share."""
WINDOW: Final = 10_000
"""After so many records the counts are halved, so that the share is that of about the last ten thousand."""


REFUSED_RECORDS: Final = (
    "{bad:,} of the last {read:,} records were refused, more than the share of {most:g} that"
    " OPTIN_BAD_SHARE_MAX allows: look at `optin dead-letters list`, mend the producer (or upgrade this role,"
    " if it is the older one), or raise the setting to 1 to go on"
)
FAILED_STEPS: Final = (
    "{bad:,} of the last {read:,} steps failed, more than the share of {most:g} that OPTIN_FAILED_SHARE_MAX"
    " allows: look at `optin dead-letters list --reason internal_error`, mend the definition or go back to"
    " the version of optin before (docs/how-to/mend-failed-steps.md), or raise the setting to 1 to go on"
)

ENDING: Final = (Misconfigured, Transient, Backpressure, UnknownDefinition)
"""Errors that end the process, whatever step they come from: each says what an operator does. A definition
that state cites and nobody has is nobody's own fault: marking one after the other would help nobody."""


class BadShare:
    """Counts refused records, or failed steps, among the last ones; see `note`."""

    def __init__(self, share_max: float, complaint: str = REFUSED_RECORDS) -> None:
        self._share_max = share_max
        self._complaint = complaint
        self._read = 0
        self._bad = 0
        self.good = 0
        """Good records since the last `note`: whoever reads many counts them here, at next to no cost."""

    def note(self, *, refused: bool) -> None:
        """Count one record. Raises `Misconfigured` once more than `share_max` of the last are refused."""
        self._read += self.good
        self.good = 0
        self._halve()
        self._read += 1
        self._bad += refused
        if refused and self._read >= RECORDS_MIN and self._bad > self._share_max * self._read:
            raise Misconfigured(self._complaint.format(bad=self._bad, read=self._read, most=self._share_max))
        self._halve()

    def _halve(self) -> None:
        while self._read >= WINDOW:
            self._read //= 2
            self._bad //= 2
