"""Environment variables of ours: each is a setting, or the command ends and names the nearest one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from connectors.errors import Misconfigured
from processors.settings import known_names, refuse_unknown_names


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("OPTIN_PUSH_CREDENTIAL", "OPTIN_PUSH_CREDENTIALS"),
        ("OPTIN_KAFKA_BOOTSTRAPS", "OPTIN_KAFKA_BOOTSTRAP"),
        ("OPTIN_CLICKHOUSE_USER", "OPTIN_CLICKHOUSE_USERS"),
        ("OPTIN_DATA_", "OPTIN_DATA"),
    ],
)
def test_a_misspelt_setting_is_refused_with_the_nearest_name(name: str, nearest: str) -> None:
    """Else the setting that was meant would stay at its default."""
    with pytest.raises(Misconfigured, match=f"{name} is no setting: did you mean {nearest}\\?"):
        refuse_unknown_names({name: "x"})


def test_a_name_like_no_other_is_refused_too() -> None:
    """All unknown names are listed, so that one look mends them all."""
    with pytest.raises(Misconfigured, match=r"OPTIN_QQQ is no setting: .* \(also unknown: OPTIN_ZZZ\)"):
        refuse_unknown_names({"OPTIN_ZZZ": "1", "OPTIN_QQQ": "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "x") for name in sorted(known_names())),
        ("OPTIN_TEST_LONG", "1"),
        ("OPTIN_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("OPTIN_GATEWAY_SERVICE_PORT_HTTP", "8080"),
        ("OPTIN_GATEWAY_PORT", "tcp://10.0.0.1:8080"),
        ("OPTIN_GATEWAY_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("PATH", "/bin"),
    ],
)
def test_settings_and_what_kubernetes_adds_are_taken(name: str, value: str) -> None:
    """A Service whose name begins with `optin-` puts variables into every pod of its namespace."""
    refuse_unknown_names({name: value})


def test_every_command_ends_on_a_misspelt_setting() -> None:
    """Before it does anything: here, before a worker looks for Kafka."""
    done = subprocess.run(
        [sys.executable, "-m", "processors.cli", "worker", "delivery"],
        env={**os.environ, "OPTIN_PUSH_CREDENTIAL": "keys.yaml"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "did you mean OPTIN_PUSH_CREDENTIALS?" in done.stderr
    assert "Traceback" not in done.stderr
