"""What the embedded ClickHouse's HTTP interface finds in an SQL text before the engine sees it."""

from __future__ import annotations

import pytest

from connectors.clickhouse.statements import data_insert, first_word


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        (b"SELECT 1", "SELECT"),
        (b"  -- a comment\n/* and\nanother */ insert into t values (1)", "INSERT"),
        (b"-- only a comment", ""),
        (b"", ""),
        (b"(SELECT 1)", ""),
    ],
)
def test_the_first_word_is_found_behind_comments(sql: bytes, word: str) -> None:
    """An INSERT is looked for data before all of it is there."""
    assert first_word(sql) == word


@pytest.mark.parametrize("first_byte", [9, 10, 11, 12, 13, 32])
def test_data_that_begin_with_white_space_are_kept(first_byte: int) -> None:
    """A Native block of 10 columns begins with the byte of a line end: it belongs to the data."""
    block = bytes([first_byte, 3, 1])
    sql = b"INSERT INTO `db`.`t` (`a`, `b(c)`) FORMAT Native\n" + block
    found = data_insert(sql, complete=False)

    assert found is not None
    assert found.data_format == "Native"
    assert sql[found.data_at :] == block


@pytest.mark.parametrize(
    "sql",
    [
        b"INSERT INTO t SELECT number AS format FROM numbers(3)",
        b"INSERT INTO t SELECT 1 FORMAT Native\n",
        b"SELECT 1 FORMAT CSV\n",
    ],
)
def test_other_statements_are_not_taken_for_inserts_of_data(sql: bytes) -> None:
    """A word `format` elsewhere does not cut a statement in two."""
    assert data_insert(sql, complete=True) is None


def test_a_head_that_is_cut_in_the_format_waits_for_more() -> None:
    """`FORMAT Nat` may go on with `ive`: only a line end, or the end of all, ends the name."""
    assert data_insert(b"INSERT INTO t FORMAT Nat", complete=False) is None
    found = data_insert(b"INSERT INTO t FORMAT CSV", complete=True)

    assert found is not None
    assert found.data_format == "CSV"


def test_settings_of_the_insert_stay_in_the_statement() -> None:
    """SETTINGS before FORMAT belong to the engine's statement."""
    sql = b"INSERT INTO t (a) SETTINGS async_insert=0, insert_deduplication_token='x' FORMAT TSV\n1\n"
    found = data_insert(sql, complete=False)

    assert found is not None
    assert found.statement.strip().endswith("insert_deduplication_token='x'")
    assert sql[found.data_at :] == b"1\n"


def test_values_are_data_too() -> None:
    """What follows VALUES never reaches the engine as a statement, whatever stands in it."""
    sql = b"INSERT INTO t (a) VALUES (1); DROP TABLE t"
    found = data_insert(sql, complete=False)

    assert found is not None
    assert (found.statement.strip(), found.data_format) == ("INSERT INTO t (a)", "VALUES")
    assert sql[found.data_at :] == b"(1); DROP TABLE t"
