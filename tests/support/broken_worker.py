"""A worker whose texts raise for one kind of person until a file says that they are mended.

`OPTIN_TEST_MENDED` names the file: `python -m tests.support.broken_worker ROLE`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

from connectors.rules.liquid import LiquidTexts

MENDED_ENV: Final = "OPTIN_TEST_MENDED"
BROKEN: Final = "broken"
"""Whoever has this attribute breaks a text."""


def break_texts() -> None:
    """What a filter could do before any error of one withheld its own push."""
    honest = LiquidTexts.render

    def render(self: Any, message: Any, values: Any) -> Any:
        if BROKEN in values["attributes"] and not Path(os.environ[MENDED_ENV]).exists():
            raise OverflowError("date value out of range")
        return honest(self, message, values)

    LiquidTexts.render = render  # type: ignore[method-assign]


if __name__ == "__main__":
    from processors.cli import main

    break_texts()
    sys.argv = ["optin", "worker", sys.argv[1]]
    main()
