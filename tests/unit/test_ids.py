"""Derived ids are UUIDs of version 5, as any other language makes them."""

from __future__ import annotations

import uuid

from ledger.ids import derived

NAMESPACE = uuid.UUID("6f2b7c1e-55a0-5d0c-9d7e-0c2f6a1e4b3d")


def test_a_derived_id_is_what_the_standard_says() -> None:
    """Bit by bit, whatever digit the variant takes the place of."""
    for number in range(500):
        parts = ("instance", f"ännchen-{number}", "")

        assert derived(*parts) == str(uuid.uuid5(NAMESPACE, "\0".join(parts)))
