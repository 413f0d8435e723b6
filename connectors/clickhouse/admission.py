"""Decides by the engine's own parse which statements a role may run.

Grants refuse most of what a role may not do. They do not reach files that the embedded client writes
(`INTO OUTFILE`) or reads (`FROM INFILE`), `SYSTEM`, `KILL`, changing one's role, and a few functions: those
are refused here because only what is listed here is allowed. The engine parses and prints the statement; what
is judged, and then run, is what it printed, so that no comment, bracket or first word misleads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from connectors.clickhouse.accounts import Role

REFUSED: Final = 497

_READING: Final = frozenset(
    {
        *("SelectWithUnionQuery", "SelectQuery", "SelectIntersectExceptQuery"),
        *("ShowTables", "ShowColumns", "ShowIndexes", "ShowFunctions", "ShowEngineQuery", "ShowSetting"),
        *("ShowCreateTableQuery", "ShowCreateViewQuery", "ShowCreateDatabaseQuery"),
        *("DescribeQuery", "ExistsTableQuery", "ExistsViewQuery", "ExistsDatabaseQuery"),
        *("Explain", "UseQuery", "Set"),
    }
)
_CHANGING: Final = frozenset(
    {
        *("CreateQuery", "AlterQuery", "DropQuery", "TruncateQuery", "OptimizeQuery", "Rename"),
        *("DeleteQuery", "UpdateQuery", "CheckQuery"),
    }
)
KINDS: Final[Mapping[Role, frozenset[str]]] = {
    "analyst": _READING,
    "metrics": _READING | {"InsertQuery"},
    "admin": _READING | _CHANGING | {"InsertQuery"},
}
"""The kinds of statements, as `EXPLAIN AST` names them."""
FIRST_WORDS: Final = frozenset(
    {
        *(
            "SELECT",
            "WITH",
            "SHOW",
            "DESCRIBE",
            "EXISTS",
            "EXPLAIN",
            "USE",
            "SET",
            "INSERT",
            "CHECK",
            "DELETE",
        ),
        *("CREATE", "ALTER", "DROP", "TRUNCATE", "OPTIMIZE", "RENAME", "EXCHANGE", "UPDATE", ""),
    }
)
"""`ATTACH` and `DETACH` have the kinds of `CREATE` and `DROP`; '' begins with a bracket."""
TABLE_FUNCTIONS: Final = frozenset(
    {
        *("numbers", "numbers_mt", "zeros", "zeros_mt", "values", "view", "null", "primes", "format"),
        *("generateSeries", "generate_series", "generateRandom", "viewIfPermitted"),
    }
)
"""Those that reach nothing: no file, no server, no other table."""
FUNCTIONS_REFUSED: Final = re.compile(
    r"(file|ai[a-z]+|dict(get|has|is)\w*|joinget\w*|getmacro|getserver\w+|filesystem\w*|catboost\w*"
    r"|disk|addressto\w+|evalmlmethod|pythonudf\w*)",
    re.IGNORECASE,
)
"""Functions that read files, ask other services, or show the machine; no grant covers them."""
SYSTEM_REFUSED: Final = re.compile(
    r"(system\.)?(processes|errors|stack_trace|\w+_log|session\w*|disks|server_settings|detached_parts"
    r"|remote_data_paths|filesystem_\w+|crash_log|warnings|certificates|user_processes|query_cache|moves"
    r"|merges|asynchronous_inserts|asynchronous_metrics|metrics|events|azure\w+|s3\w+|named_collections"
    r"|users|roles|grants|row_policies|quotas\w*|settings_profile\w*|backups|environment\w*)",
    re.IGNORECASE,
)
"""Tables of `system` with other clients' statements, or with what the machine is like."""
SETTINGS_REFUSED: Final = frozenset(
    {
        *(
            "profile",
            "readonly",
            "allow_ddl",
            "allow_introspection_functions",
            "log_comment",
            "compatibility",
        ),
        *("custom_settings_prefixes", "timeout_overflow_mode", "result_overflow_mode", "workload"),
        *("timeout_before_checking_execution_speed", "dialect", "polyglot_dialect"),
    }
)
"""Settings that would undo a bound, or change how a statement is parsed."""
_MAY_NAME_SETTINGS: Final = re.compile(r"\bSET(?:TINGS)?\b(.*)", re.DOTALL)
_SETTING: Final = re.compile(r"\b([a-z_0-9]+)`? = ")
_LITERAL: Final = re.compile(r"'(?:[^'\\]|\\.|'')*'", re.DOTALL)
_LINE: Final = re.compile(r"^( *)(\w+) ?(.*)$")
_FORMAT_AT_END: Final = re.compile(r" FORMAT (\w+)$")
_CLIENTS_FILES: Final = re.compile(r"\b(INTO OUTFILE|FROM INFILE|PARALLEL WITH)\b", re.IGNORECASE)
_CALLED: Final = re.compile(r"\b(\w+)`? ?\(|\bAPPLY \(?`?(\w+)", re.IGNORECASE)


class Refused(Exception):  # noqa: N818 - an answer to the client
    """The role may not run the statement; the text says what is refused."""


def check(role: Role, statement: str, tree: str, *, read_only: bool, has_data: bool = False) -> None:
    """Raise Refused unless the role may run `statement`, as the engine printed it, with its `EXPLAIN AST`.

    `read_only`: nothing but reading is allowed, whatever the role. `has_data`: data follow the statement.
    """
    kind, lines = _kind(tree)
    plain = _LITERAL.sub("''", statement)
    first = re.match(r"[A-Z]*", plain)
    if kind not in KINDS["analyst" if read_only else role] or (first and first[0] not in FIRST_WORDS):
        raise Refused(f"{role} may not run this kind of statement ({kind})")
    if found := _CLIENTS_FILES.search(plain):
        raise Refused(f"{found[0]} is refused")
    if kind == "Explain" and _word(lines, 1) not in _READING - {"Explain", "Set", "UseQuery"}:
        raise Refused("only a statement that reads is explained")
    if kind not in {"InsertQuery", *_CHANGING} and any(
        depth == 1 and word == "Literal" for depth, word, _ in lines
    ):
        raise Refused("INTO OUTFILE is refused")
    has_select = any(depth == 1 and word == "SelectWithUnionQuery" for depth, word, _ in lines)
    if kind == "InsertQuery" and has_select == has_data:
        raise Refused("write INSERT INTO table (columns) and then SELECT, VALUES or FORMAT and the data")
    refuse_settings(_settings_of(plain))
    for called in _CALLED.findall(plain):
        if FUNCTIONS_REFUSED.fullmatch(called[0] or called[1]):
            raise Refused(f"the function {called[0] or called[1]} is refused")
    _check_names(kind, lines)


def _kind(tree: str) -> tuple[str, list[tuple[int, str, str]]]:
    lines = [
        (len(found[1]), found[2], found[3]) for line in tree.splitlines() if (found := _LINE.match(line))
    ]
    return (lines[0][1] if lines else ""), lines


def _word(lines: list[tuple[int, str, str]], depth: int) -> str:
    return next((word for at, word, _ in lines if at == depth), "")


def _settings_of(plain: str) -> list[str]:
    found = _MAY_NAME_SETTINGS.search(plain)
    return _SETTING.findall(found[1]) if found else []


def refuse_settings(names: list[str]) -> None:
    """Raise Refused if a setting among the names is not for clients."""
    for name in names:
        if name in SETTINGS_REFUSED:
            raise Refused(f"the setting {name} is not for clients")


def _check_names(kind: str, lines: list[tuple[int, str, str]]) -> None:
    for place, (depth, word, rest) in enumerate(lines):
        name = rest.partition(" ")[0].strip("`")
        above = lines[place - 1] if place else (0, "", "")
        if word == "Function":
            a_table = above[1] == "TableExpression" or (kind == "InsertQuery" and depth == 1)
            if a_table and name not in TABLE_FUNCTIONS:
                raise Refused(f"the table function {name} is refused")
        elif word == "TableIdentifier" and SYSTEM_REFUSED.fullmatch(name):
            raise Refused(f"the table {name} is refused")


def output_format(statement: str, default: str) -> tuple[str, str]:
    """Split a statement, as the engine printed it, into its text and the format of its answer."""
    found = _FORMAT_AT_END.search(statement)
    return (statement, default) if found is None else (statement[: found.start()], found[1])


def escaped(value: str) -> str:
    """A value of a query parameter: the engine reads it as tab-separated text."""
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
