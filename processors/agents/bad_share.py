"""Stops a role whose input is mostly bad: the fault is then ours, or a whole producer's.

Dead-lettering everything would fill the box and hide the cause. The process ends before it commits, says why,
and is started again by its supervisor, which reports a part that keeps ending.
"""

from __future__ import annotations

from typing import Final

from connectors.errors import Misconfigured

RECORDS_MIN: Final = 1_000
"""Fewer records say nothing about a share."""
WINDOW: Final = 10_000
"""After so many records the counts are halved, so that the share is that of about the last ten thousand."""


class BadShare:
    """Counts refused records among the last ones; see `note`."""

    def __init__(self, share_max: float) -> None:
        self._share_max = share_max
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
            raise Misconfigured(
                f"{self._bad:,} of the last {self._read:,} records were refused, more than the share of"
                f" {self._share_max:g} that OPTIN_BAD_SHARE_MAX allows: look at `optin dead-letters list`,"
                " mend the producer (or upgrade this role, if it is the older one), or raise the setting to 1"
                " to go on"
            )
        self._halve()

    def _halve(self) -> None:
        while self._read >= WINDOW:
            self._read //= 2
            self._bad //= 2
