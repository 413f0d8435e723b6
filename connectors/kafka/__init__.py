"""Apache Kafka: an embedded broker, the topics, and plain publishing and reading of facts.

The processors' own reading and writing (one transaction for each chunk) is `processors/lane`; what
is here serves tools, replays, tests and the embedded stack. Knows the wire, never what facts mean.
"""
