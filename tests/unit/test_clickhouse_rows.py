"""Every fact has a table, and every field a column or a reason to have none."""

from __future__ import annotations

import msgspec
import pytest

from connectors.clickhouse.rows import NAMES, NOT_MEASURED, Place, columns_of, table_of
from ledger import facts as f
from tests.support.examples import MEASURED, example_of

ELSEWHERE = {
    "level": "permission",
    "checks": "checks.name",
    "partition": "source_partition",
    "offset": "source_offset",
    "appended_at": "source_appended_at",
}
"""Fields whose column has another name."""


@pytest.mark.parametrize("kind", MEASURED)
def test_every_field_has_a_column(kind: type[f.Fact]) -> None:
    """A new field that nobody measures is found here, before an analyst misses it."""
    fields = {ELSEWHERE.get(name, name) for name in kind.__struct_fields__} - NOT_MEASURED

    assert fields - set(NAMES[table_of(kind)]) == set()


@pytest.mark.parametrize("held_out", [True, False])
def test_a_decision_says_whether_it_was_held_out(held_out: bool) -> None:
    """A decision has no field of that name: its check of the holdout says it."""
    checks = (f.CheckResult(name="token", passed=True), f.CheckResult(name="holdout", passed=not held_out))
    decided = msgspec.structs.replace(example_of(f.PushDecided), checks=checks)

    columns = columns_of("decision_facts", [(decided, Place(0, 0, 0))])

    assert columns[NAMES["decision_facts"].index("holdout")] == [held_out]


@pytest.mark.parametrize("kind", MEASURED)
def test_a_row_holds_the_golden_examples_own_values(kind: type[f.Fact]) -> None:
    """Each field that has a column of its name stands in it as the fact says it."""
    fact, names = example_of(kind), NAMES[table_of(kind)]
    row = dict(
        zip(names, columns_of(table_of(kind), [(fact, Place(3, 7, fact.occurred_at + 1))]), strict=True)
    )
    place = {"partition", "offset", "appended_at", "version"}

    for name in set(kind.__struct_fields__) & set(names) - place:
        (value,) = row[name]
        told = getattr(fact, name)
        assert value == told or (told is None and value in ("", None)), name
    assert [row[name] for name in ("fact", "partition", "offset")] == [[kind.__name__], [3], [7]]
