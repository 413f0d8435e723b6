"""Definitions as data: journeys, messages, audiences, campaigns and policy in YAML, checked and compiled.

Where to add the next thing: the shipped ones are in `shipped/`; a field of a file is in `models.py`, what it
means with others in `checks.py`, and its value for the core in `compile.py`.
"""

from __future__ import annotations

from processors.definitions.loader import load, refuse_bad_wait, shipped, write_definitions

__all__ = ["load", "refuse_bad_wait", "shipped", "write_definitions"]
