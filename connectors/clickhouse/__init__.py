"""ClickHouse: the embedded server, the client, the migrations and the sink of facts.

What the rest of the project sees is a URL; whether a cluster or the embedded engine answers there is
nobody's business but `embedded.py`'s.
"""
