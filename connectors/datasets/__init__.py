"""Inputs made of files and of hashes: a shop's real log, and simulated people around it.

Everything simulated says so in `source` (`device:simulated`, `device:demo`), and everything is the same on
each run and each machine. May import `ledger` and `schemas`; knows no broker and no database.
Where to add the next thing: a new data set is a new file here with a `DATASET` (`recorded_log`).
"""
