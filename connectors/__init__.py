"""Adapters: how the outside world is spoken to. One folder per outside system, plus codec and errors.

May import `ledger` and `schemas`; vendor folders don't know each other and none knows Faust.
Where to add the next thing: a new outside system is a new folder with a port in `ports.py`.
"""
