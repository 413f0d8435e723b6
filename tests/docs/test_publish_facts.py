"""The program in the how-to on publishing runs as it stands there, and its fact counts."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from connectors.placement import partition_of
from processors.stack import KAFKA_ENV, Servers
from tests.support.plain_reader import decode, read

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "publish-facts.md"
PARTITIONS = int(os.environ.get("OPTIN_PARTITIONS", "8"))


def program() -> str:
    """The Python program of the page."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.timeout(120)
def test_the_python_program_publishes_a_fact_that_is_taken_in(fresh_stack: Servers) -> None:
    """Encoded as the ledger reads it, on the partition where its subject belongs."""
    done = subprocess.run(
        [sys.executable, "-c", program()],
        cwd=ROOT,
        env={**os.environ, KAFKA_ENV: fresh_stack.kafka_bootstrap},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    (record,) = asyncio.run(read(fresh_stack.kafka_bootstrap, "optin.permissions"))
    name, fields = decode(record.value) or ("", {})
    assert (name, fields["subject"], fields["cause"]) == ("PermissionRevoked", "s-4711", "support")
    assert record.partition == partition_of(b"s-4711", PARTITIONS)
