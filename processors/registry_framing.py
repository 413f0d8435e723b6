"""Makes this process read values in a schema registry's framing, where the settings name a registry."""

from __future__ import annotations

from functools import lru_cache

from connectors import codec
from connectors.schema_registry.client import RegistryClient
from connectors.schema_registry.writer_schemas import WriterSchemas
from processors.settings import Settings


def writer_schemas(settings: Settings) -> WriterSchemas | None:
    """The registry's schemas, which have to be looked up before records are read; None without a registry.

    One for each process, as the codec is. Raises `Misconfigured`.
    """
    url = settings.schema_registry_url
    if url is None:
        codec.accept_registry(None)
        return None
    schemas = _schemas_at(url.get_secret_value())
    codec.accept_registry(schemas.resolve)
    return schemas


@lru_cache(maxsize=1)
def _schemas_at(url: str) -> WriterSchemas:
    return WriterSchemas(RegistryClient(url))
