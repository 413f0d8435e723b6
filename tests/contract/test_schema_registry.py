"""One suite for registries with Confluent's API: our fake says what a real one says, as far as we listen."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Final

import pytest

from connectors.errors import Poison
from connectors.schema_registry.client import ANSWER_BYTES_MAX, RegistryClient
from connectors.schema_registry.writer_schemas import ID_MAX
from schemas import fact_schema
from tests.support.fake_registry import FakeRegistry, register
from tests.support.real_registry import real_registry

PLAIN: Final = json.dumps(fact_schema("PermissionRevoked", 1).record)
JSON_SCHEMA: Final = (
    '{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": {}}'
)
REFERRING: Final = {
    "type": "record",
    "name": "Referring",
    "fields": [{"name": "one", "type": "optin.PermissionRevoked"}],
}


@pytest.fixture(scope="module", params=["fake", "real"])
def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a registry answers."""
    if request.param == "fake":
        with FakeRegistry() as fake:
            yield fake.address
        return
    if os.environ.get("OPTIN_TEST_LONG") != "1":
        pytest.skip("a real registry (Apicurio) is started in the long form only: OPTIN_TEST_LONG=1")
    with real_registry(tmp_path_factory.mktemp("registry")) as real:
        yield real


def text(address: str, schema_id: int) -> str:
    """The registered schema, as our client reads it."""
    return asyncio.run(RegistryClient(address).schema_text(schema_id))


def refusal(address: str, schema_id: int) -> str:
    """Why there is none."""
    with pytest.raises(Poison) as refused:
        text(address, schema_id)
    assert refused.value.reason == "unknown_schema"
    return refused.value.detail


def test_a_registered_schema_is_found_by_its_id(address: str) -> None:
    """It means what was registered; the same schema keeps its id."""
    schema_id = register(address, "optin.permissions-value", schema=PLAIN)

    assert json.loads(text(address, schema_id)) == json.loads(PLAIN)
    assert register(address, "optin.permissions-value", schema=PLAIN) == schema_id


@pytest.mark.parametrize("schema_id", [999_999, ID_MAX])
def test_an_id_that_was_never_given_out_is_refused_for_good(address: str, schema_id: int) -> None:
    """This is an answer, unlike silence."""
    assert refusal(address, schema_id) == f"schema {schema_id} of the registry is not registered"


def test_a_schema_of_another_kind_is_refused(address: str) -> None:
    """JSON Schema and Protobuf use the same ids and the same framing."""
    schema_id = register(address, "other-value", schema=JSON_SCHEMA, schemaType="JSON")

    assert "is not an Avro schema" in refusal(address, schema_id)


def test_a_schema_that_refers_to_others_is_refused(address: str) -> None:
    """We would have to ask on and on; facts are described by one schema each."""
    register(address, "revoked-value", schema=PLAIN)
    schema_id = register(
        address,
        "referring-value",
        schema=json.dumps(REFERRING),
        references=[{"name": "optin.PermissionRevoked", "subject": "revoked-value", "version": 1}],
    )

    assert "refers to other schemas" in refusal(address, schema_id)


def test_a_schema_that_is_too_long_is_refused(address: str) -> None:
    """It is refused for good: whoever registered it can't stop what stands behind its records."""
    record = {"type": "record", "name": "Long", "doc": "x" * ANSWER_BYTES_MAX, "fields": []}
    schema_id = register(address, "long-value", schema=json.dumps(record))

    assert f"takes more than {ANSWER_BYTES_MAX} bytes" in refusal(address, schema_id)
