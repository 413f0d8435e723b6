"""The core: what facts mean. Pure functions over frozen values.

Nothing here reads a clock, a file, a socket or a random number, and nothing logs: time, ids, policy,
zones and texts come in as arguments. Allowed imports: the standard library and msgspec.

Where to add the next thing:
a fact -> `facts.py` (and its file in `schemas/facts/`); what it does to consent -> `consent.py`;
what a check of the gate looks at -> `gate.py`; what a journey does -> `journeys.py`.
"""
