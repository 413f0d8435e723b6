"""The stand-ins that pushes are sent to, each a process that accepts everything, and how to send to it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from connectors import child
from tests.providers.cost.client import Told
from tests.support.providers.apns_mock import ApnsMock
from tests.support.providers.push_service import keys

TIMEOUT_S: Final = 10.0
MODULES: Final = {
    "fcm": "tests.support.providers.fcm_fake",
    "web_push": "tests.support.providers.push_service",
}


@contextmanager
def server(provider: str, apns: ApnsMock) -> Iterator[Told]:
    """What a client must be told. The mock of APNs runs on, so that Java has compiled what it runs often."""
    if provider == "apns":
        apns.tell("reset")
        yield {"folder": str(apns.folder), "port": apns.port}
        return
    process = subprocess.Popen(
        child.python_module(MODULES[provider]),
        env={**os.environ, **child.import_path()},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def credentials(folder: Path, provider: str, told: Told, rate: float) -> Path:
    """Write the file by which a worker sends to the stand-in as app `shop`."""
    if provider == "apns":
        mock = ApnsMock(Path(told["folder"]))
        mock.port = told["port"]
        said = mock.credentials("shop", TIMEOUT_S)
        said = said.replace("  shop:\n", f"  shop:\n    rate: {rate}\n")
    elif provider == "fcm":
        (folder / "account.json").write_text(json.dumps(told["account"]))
        said = _app(rate, "fcm", account_file=str(folder / "account.json"), server=told["server"])
    else:
        (folder / "vapid.pem").write_text(keys()[0])
        said = _app(
            rate,
            "web_push",
            key_file=str(folder / "vapid.pem"),
            contact="mailto:push@shop.de",
            services=[told["origin"]],
        )
    path = folder / "credentials.yaml"
    path.write_text(said)
    return path


def _app(rate: float, provider: str, **part: object) -> str:
    """JSON is YAML, too."""
    return json.dumps({"apps": {"shop": {"rate": rate, provider: part}}, "timeout_s": TIMEOUT_S})
