"""Profiles for laws: how many examples hypothesis tries, and whether a run can be repeated."""

from __future__ import annotations

import os
from typing import Final

import pytest
from hypothesis import settings

SHORT_EXAMPLES: Final = 100
LONG_EXAMPLES: Final = 1_000
IN_CI: Final = "CI" in os.environ

# No deadline: an example's time depends on the machine, and no test here is about time.
# In CI the examples are the same on each run, so that a failure belongs to the change it is shown for.
settings.register_profile(
    "short", max_examples=SHORT_EXAMPLES, deadline=None, derandomize=IN_CI, print_blob=True
)
settings.register_profile(
    "long", max_examples=LONG_EXAMPLES, deadline=None, derandomize=IN_CI, print_blob=True
)


def pytest_configure(config: pytest.Config) -> None:
    """Load the profile, unless `--hypothesis-profile` names one."""
    if not config.getoption("--hypothesis-profile", default=None):
        settings.load_profile("long" if os.environ.get("OPTIN_TEST_LONG") == "1" else "short")
