"""Go's APNs client as a program to measure ours against: built once for each machine, by its own Go.

Needs Go on the path, and the first time its module proxy.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from connectors.kafka.jars import cache_folder
from tests.support.providers.part import Unavailable

SOURCES: Final = Path(__file__).with_name("apns2")
FILES: Final = ("main.go", "go.mod", "go.sum")
BUILD_S_MAX: Final = 300


def binary() -> Path:
    """The built program, of just these sources. Raises `Unavailable`."""
    sources = b"".join((SOURCES / name).read_bytes() for name in FILES)
    built = cache_folder() / f"apns2-client-{hashlib.sha256(sources).hexdigest()[:16]}"
    if built.exists():
        return built
    go = shutil.which("go")
    if go is None:
        raise Unavailable("there is no Go on the path")
    draft = built.with_name(f"{built.name}.{os.getpid()}.new")
    draft.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            [go, "build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-o", str(draft), "."],
            cwd=SOURCES,
            capture_output=True,
            text=True,
            timeout=BUILD_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"Go did not build its client within {BUILD_S_MAX} s") from None
    if done.returncode:
        raise Unavailable(f"Go's client can't be built: {done.stderr.strip()[-300:]}")
    draft.replace(built)  # whole, or not there: others may build it at the same time
    return built
