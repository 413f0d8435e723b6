"""Nothing that people can write into definitions makes the checker raise; it tells what is wrong instead."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.rules import cel, liquid
from connectors.rules.cel import CelRules
from connectors.rules.liquid import LiquidTexts
from connectors.rules.variables import all_fields, fields_of
from ledger.profile import NOTHING
from ledger.rules import values
from processors.definitions.loader import examine
from tests.support.given import message

BASE: Final = Path(__file__).parents[1] / "unit" / "broken_definitions" / "base"
FILES: Final = sorted(path.relative_to(BASE).as_posix() for path in BASE.rglob("*.yaml"))
FIELDS: Final = fields_of("CustomActivity")
WORDS: Final = (
    *("profile.orders", "profile", "attributes.a", "items", "fact.name", "trigger.properties.x", "'a'", "1"),
    *("&&", "||", "!", "==", "<", "+", "(", ")", "[", "]", ".", ",", "?", ":", "in", "has(", "size(", "//"),
    *(".exists(", ".map(", "matches(", "true", "null", "\n", "{", "}", '"', "'", "\\", "b'x'", "1u", "0x"),
)
MARKS: Final = (
    *("{{", "}}", "{%", "%}", "|", "profile.orders", "trigger.name", "trigger", "items", "attributes.a"),
    *(" if ", " endif ", " for a in items ", " endfor ", " assign x = ", " include ", " raw ", " endraw "),
    *(" default: ", " 'a' ", " 1 ", "[", "]", ".", "(1..9)", " comment ", " case ", " when ", "-", "#"),
)
SCRAPS: Final = (
    *(
        b": ",
        b"- ",
        b"{",
        b"}",
        b"[",
        b"]",
        b"\n",
        b"  ",
        b"'",
        b'"',
        b"&a ",
        b"*a",
        b"!!int ",
        b"!!set ",
        b"? ",
    ),
    *(b"null", b"~", b"true", b"1", b"1.5", b".nan", b"22:00", b"2026-02-30", b"<<: ", b"|\n", b"%", b"\x00"),
    *(
        b"\xff",
        b"\xed\xa0\x80",
        b"---\n",
        b"fact",
        b"steps:",
        b"name: x\n",
        b"\t",
        b"#",
        b'"\\ud800"',
        b"9" * 30,
    ),
)


def words(some: tuple[str, ...]) -> st.SearchStrategy[str]:
    """Any text, and texts that look like the language."""
    return st.one_of(
        st.text(max_size=120),
        st.lists(st.one_of(st.sampled_from(some), st.text(max_size=4)), max_size=25).map("".join),
        st.lists(st.sampled_from(some), max_size=25).map(" ".join),
    )


@given(rule=words(WORDS))
def test_any_text_is_a_rule_or_is_told_what_is_wrong(rule: str) -> None:
    """What is a rule holds or does not, with nothing known of anybody, and alone as in brackets."""
    if cel.problem(rule, all_fields(), all_fields()) is None:
        held = CelRules().holds(rule, values(NOTHING, 0))
        assert held is CelRules().holds(f"({rule})", values(NOTHING, 0))
    cel.problem(rule)
    cel.problem(rule, FIELDS, FIELDS)
    cel.trigger_paths(rule)
    cel.unguarded(rule)


@given(template=words(MARKS))
def test_any_text_is_a_template_or_is_told_what_is_wrong(template: str) -> None:
    """What is a template becomes a text, or names what it misses."""
    problems = list(liquid.problems(template, FIELDS))
    liquid.trigger_paths(template)
    if not problems:
        text = LiquidTexts().render(message(body=template), values(NOTHING, 0))
        assert not (text.missing and text.body)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the good folder whose files are broken one after the other."""
    return Path(shutil.copytree(BASE, tmp_path_factory.mktemp("laws") / "definitions"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(FILES))
def test_any_file_is_a_definition_or_is_told_what_is_wrong(
    folder: Path, data: st.DataObject, name: str
) -> None:
    """Bytes that are cut out, doubled, and put in: either it is in force, or there is something to mend."""
    whole = (BASE / name).read_bytes()
    broken = whole
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(broken)))
        upto = data.draw(st.integers(at, min(len(broken), at + 30)))
        scrap = data.draw(
            st.one_of(st.sampled_from(SCRAPS), st.binary(max_size=6), st.just(broken[at:upto] * 2))
        )
        broken = broken[:at] + scrap + broken[upto:]
    (folder / name).write_bytes(broken)
    try:
        found = examine(folder)
    finally:
        (folder / name).write_bytes(whole)

    assert (found.definitions is None) == bool(found.problems)
    for problem in found.problems:
        assert problem.line >= 1
        assert problem.what
        assert problem.remedy
        str(problem).encode()
        assert "\n" not in str(problem)
