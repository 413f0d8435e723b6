"""Templates and rules made at random, with odd values: none may raise, or work without bound.

`python -m tests.support.rule_fuzzer 100000 [SEED]` (`make fuzz`). Each is made from a grammar of what people
write and what they should not, checked as `optin definitions check` does, and evaluated twice with values
that apps and CRMs have sent. Bounds are counted, not timed.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from connectors.rules import cel, filters, liquid
from connectors.rules.variables import PROFILE
from connectors.time_zones import zone_table
from ledger.journey import Message
from tests.support.given import NOON

ODD: Final[Sequence[Any]] = (
    *(
        "",
        " ",
        "x",
        "NaN",
        "nan",
        "inf",
        "-Infinity",
        "1e400",
        "9" * 400,
        "0x1F",
        "1_000",
        "-0",
        "2026-02-30",
    ),
    *(
        "1772452800000",
        "1772452800",
        "9999999999999999",
        "\u0000",
        "\u202e",
        "\ud7ff",
        "\U0001f468\u200d",
        "a" * 256,
    ),
    *(
        "{{ x }}",
        "{% raw %}",
        "%d",
        "../..",
        "<script>",
        "'",
        '"',
        "\\",
        "\n\r\t",
        "EUR",
        "de_DE",
        "Europe/Berlin",
    ),
    *(
        "x,y;z",
        "true",
        "false",
        "null",
        "[]",
        "{}",
        "(",
        "a+b*c?",
        "1/0",
        "--",
        "0.1",
        "-1",
        "1e-400",
        "\u0661\u0662",
    ),
)
NUMBERS: Final[Sequence[Any]] = (0, 1, -1, 7, 1_772_452_800_000, 2**31, 2**53 + 1, 10**18, -(10**18))
LISTS: Final[Sequence[Any]] = ((), ("boots",), ("boots", "scarf", ""), tuple(f"i{n}" for n in range(100)))
NAMES: Final = (
    *(
        "attributes.a",
        "attributes.b",
        "items",
        "trigger.item",
        "trigger.at",
        "trigger.properties.p",
        "items.first",
    ),
    *(f"profile.{name}" for name in PROFILE),
    *(
        "'x'",
        "''",
        "7",
        "-1",
        "3.5",
        "1e3",
        "true",
        "nil",
        "(1..3)",
        "(1..1000000000)",
        "items[0]",
        "items.size",
    ),
)
ARGUMENTS: Final = (*NAMES, "'%d.%m.%Y'", "'%s'", "'EUR'", "'xxxxxxxx'", "100000", "2147483648", "','")
CASES: Final = "{% case 1 %}{% when 1 %}a{% endcase %}"
DEEP: Final = 3
JOINED: Final = 0.4
SAID: Final = 0.9
HARMLESS: Final = frozenset({"syntax", "filter", "tag", "name", "work", "date", "empty"})


def template(draw: random.Random, depth: int = 0) -> str:
    """A template: words, outputs through filters, loops, conditions, assignments and captures."""
    parts = [_part(draw, depth) for _ in range(draw.randint(1, 3 if depth else 5))]
    return "".join(parts)[:2_000]


def _part(draw: random.Random, depth: int) -> str:
    match draw.randrange(12 if depth < 3 else 6):
        case 0:
            return draw.choice([*("Hello ", "!", "\n", "100 %") * 8, "{{", "}}", "{%", "%}"])
        case 6:
            body = template(draw, depth + 1)
            sign = draw.choice(["==", ">", "contains", "<>"])
            return f"{{% if {_name(draw)} {sign} {_name(draw)} %}}{body}{{% endif %}}"
        case 7 | 8:
            through = draw.choice([*NAMES[-8:], "items", "(1..100)", "(1..99999)"])
            return f"{{% for i in {through} %}}{template(draw, depth + 1)}{{{{ i }}}}{{% endfor %}}"
        case 9:
            return f"{{% assign v = {_name(draw)}{_filters(draw)} %}}{{{{ v{_filters(draw)} }}}}"
        case 10:
            inner = template(draw, depth + 1)
            return f"{{% capture v %}}{inner}{{{{ v }}}}{{{{ v }}}}{{% endcapture %}}{{{{ v }}}}"
        case 11:
            return draw.choice(
                [
                    "{% break %}",
                    "{% raw %}{{{% endraw %}",
                    "{% include 'x' %}",
                    "{% case 1 %}{% when 1 %}a{% endcase %}",
                ]
            )
        case _:
            return f"{{{{ {_name(draw)}{_filters(draw)} }}}}"


def _name(draw: random.Random) -> str:
    return draw.choice([*NAMES * 3, "v", "unknown"])


def _filters(draw: random.Random) -> str:
    found = []
    for _ in range(draw.choice([0, 0, 0, 1, 1, 1, 2, 12])):
        arguments = ", ".join(draw.choice(ARGUMENTS) for _ in range(draw.choice([0, 0, 1, 1, 2])))
        name = draw.choice([*sorted(filters.FILTERS) * 3, "sha"])
        found.append(f" | {name}{': ' if arguments else ''}{arguments}")
    return "".join(found)


INTS: Final = tuple(f"profile.{name}" for name, kind in PROFILE.items() if kind == "int")
TEXTS: Final = ("attributes.a", "attributes['b']", "profile.stage", "trigger.item")
SAFE_TEXTS: Final = ("profile.stage", "(has(attributes.a) ? attributes.a : '')")
LISTS_NAMED: Final = ("items", "profile.last_items", "profile.onboarding_steps", "['a', 'b']")
PATTERNS: Final = (
    "'(a+)+$'",
    "'('",
    "'((a{1000}){1000}){1000}'",
    "attributes.a",
    "'^x'",
    "'[0-9]{1,5}'",
    "'\\\\p{L}+'",
)
ODD_RULES: Final = (
    *(
        "!" * 40 + "true",
        "[" * 30 + "]" * 30 + " == []",
        "true //",
        "{'a': 1, 'a': 2}.size() == 1",
        "-" * 60 + "1 == 1",
    ),
    *(
        "1 / 0 == 1",
        "9223372036854775807 + profile.orders > 0",
        "'a' == 1",
        "profile",
        "items.all(a, items.all(b, a == b))",
    ),
    *(
        "[1, 2].map(x, x * 9223372036854775807)[1] > 0",
        "items[99] == 'x'",
        "profile.value['CHF'] > 0",
        "'\U0001f468'.size() == 1",
    ),
)


def rule(draw: random.Random, depth: int = 0) -> str:
    """A rule: comparisons, arithmetic, macros, patterns, maps; mostly right ones."""
    number, text = draw.choice(INTS), draw.choice([*TEXTS, *SAFE_TEXTS, *SAFE_TEXTS])
    if depth < DEEP and draw.random() < JOINED:
        return f"({rule(draw, depth + 1)}) {draw.choice(['&&', '||', '!='])} ({rule(draw, depth + 1)})"
    match draw.randrange(9):
        case 0:
            macro, hidden = draw.choice(["all", "exists", "exists_one"]), draw.choice(["", "", "//\n"])
            inner = rule(draw, DEEP) if draw.random() < JOINED else "a.size() > 1"
            return f"{draw.choice(LISTS_NAMED)}.{hidden}{macro}(a, {inner})"
        case 1:
            return f"{text}.matches({draw.choice(PATTERNS)})"
        case 2:
            return f"{draw.choice(LISTS_NAMED)}.{draw.choice(['map', 'filter'])}(a, a == 'boots').size() > 0"
        case 3:
            what, sign = draw.choice([text, *LISTS_NAMED]), draw.choice([">", "<", "=="])
            return f"size({what}) {sign} {draw.choice('019')}"
        case 4:
            other = draw.choice([*INTS, "0", "1", "-1", "9223372036854775807"])
            return f"{number} {draw.choice('+-*/%')} {other} {draw.choice(['>', '=='])} {draw.choice(INTS)}"
        case 5:
            return draw.choice(ODD_RULES)
        case 6:
            call = draw.choice(["startsWith", "endsWith", "contains"])
            return f"{text}.{call}({draw.choice([text, repr('x'), repr('')])})"
        case 7:
            return f"{text} in {draw.choice(LISTS_NAMED)}"
        case _:
            return f"{number} {draw.choice(['==', '!=', '>', '<='])} {draw.choice([*INTS, '0', '28'])}"


def values(draw: random.Random) -> dict[str, Any]:
    """What a rule or a text may see of somebody odd."""
    texts = {name: draw.choice(ODD) for name in ("a", "b") if draw.random() < 0.9}
    profile: dict[str, Any] = {name: draw.choice(NUMBERS) for name in PROFILE}
    profile |= {"stage": draw.choice(ODD), "last_items": list(draw.choice(LISTS)), "onboarding_steps": []}
    profile["value"] = {"EUR": draw.choice(NUMBERS)}
    zones = zone_table().zones
    return {
        "profile": profile,
        "attributes": texts,
        "items": list(draw.choice(LISTS)),
        "trigger": {
            "item": draw.choice(ODD),
            "at": draw.choice(NUMBERS),
            "properties": {"p": draw.choice(ODD)},
        },
        "fact": None,
        "now": draw.choice([0, NOON, 4_102_444_800_000]),
        "zones": tuple(zones[name] for name in draw.choice([(), ("Europe/Berlin",), ("Asia/Tokyo", "UTC")])),
    }


def one(number: int, seed: int) -> str:
    """Make, check and evaluate one; what became of it. Raises AssertionError, and whatever got through."""
    draw = random.Random(f"{seed}-{number}")
    seen = values(draw)
    if number % 2:
        source = rule(draw)
        wrong = cel.problem(source)
        if wrong is not None and not _compiles(source):
            return "rule: refused"
        held = [cel.CelRules().holds(source, seen) for _ in range(2)] if wrong is None else [False, False]
        assert held[0] == held[1], source
        return "rule: refused" if wrong is not None else f"rule: {held[0]}"
    source = template(draw)
    problems = list(liquid.problems(source, {"item": "text", "at": "int", "properties": "notes"}))
    assert {problem.kind for problem in problems} <= HARMLESS, (source, problems)
    message = Message(name="m", category="marketing", topic="t", title="T", body=source)
    first = liquid.LiquidTexts().render(message, seen)
    spent = filters.spent()
    again = liquid.LiquidTexts().render(message, seen)
    assert (first, spent) == (again, filters.spent()), source
    assert spent <= filters.WORK_MAX, (spent, source)
    assert len(first.body) <= liquid.BODY_LENGTH_MAX, source
    if problems:
        return "text: refused by check"
    return "text: withheld" if first.missing else "text: sent"


def _compiles(source: str) -> bool:
    return not cel.whole_problem(source)


def run(count: int, seed: int = 1) -> Counter[str]:
    """So many templates and rules; how many ended how."""
    return Counter(one(number, seed) for number in range(count))


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    for outcome, times in sorted(run(wanted, int(sys.argv[2]) if len(sys.argv) > 2 else 1).items()):
        print(f"{times:>8,}  {outcome}")
