"""Shipped journeys and policy as YAML, and the loader that checks them.

Where to add the next thing: a journey is a file in `journeys/`; a rule for all of them is in `policy.yaml`.
"""

from __future__ import annotations

from processors.definitions.loader import load, refuse_bad_wait, shipped, write_with_wait

__all__ = ["load", "refuse_bad_wait", "shipped", "write_with_wait"]
