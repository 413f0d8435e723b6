"""A schema registry with Confluent's HTTP API, for values that name their schema by its id there."""
