"""Rules in CEL and texts in Liquid: what they see, what they do without it, and where they stop."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Final

import pytest

from connectors.rules import cel, filters, liquid
from connectors.rules.cel import LENGTH_MAX, CelRules
from connectors.rules.liquid import BODY_LENGTH_MAX, TITLE_LENGTH_MAX, LiquidTexts
from connectors.rules.parsed import Tree, tree
from connectors.rules.variables import (
    KINDS,
    PROFILE,
    SCALARS,
    all_fields,
    fields_of,
    kind_at,
    shared_fields,
)
from ledger import facts as f
from ledger.journey import Message
from ledger.profile import NOTHING, Attribute, Profile
from ledger.rules import Text, Values, values
from tests.support import rule_fuzzer
from tests.support.given import NOON, fact, message

RULES: Final = CelRules()
TEXTS: Final = LiquidTexts()
ORDER: Final = fact(
    f.OrderPlaced, order_id="o1", items=("boots", "scarf"), amount_minor=4_200, currency="EUR"
)
KNOWN: Final = Profile(orders=2, value={"EUR": 9_000}, attributes={"tier": Attribute("vip", 0)})
LITERALS: Final = {
    "int": "{0} == 1 || {0} != 1",
    "text": "{0} == '' || {0} != ''",
    "flag": "{0} || !{0}",
    "texts": "size({0}) >= 0",
    "notes": "size({0}) >= 0",
    "sums": "size({0}) >= 0",
}
"""A rule that holds for any value of a type, and for none that is missing."""
EXAMPLES: Final[dict[str, Any]] = {"int": 1, "text": "a", "flag": True, "texts": ("a",), "notes": {"a": "b"}}


def seen(profile: Profile = KNOWN, **others: Any) -> Values:
    """What a rule sees of somebody."""
    return values(profile, NOON, **others)


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("profile.orders >= 2", True),
        ("profile . orders >= 3", False),
        ("profile.stage == 'new' && profile.days_since_active == -1", True),
        ("profile.value.EUR > 8000 && profile.value['EUR'] < 10000", True),
        ("attributes.tier == 'vip'", True),
        ("items.exists(item, item.startsWith('b'))", True),
        ("items.size() == 1 && items[0] == 'boots'", True),
        ("fact.items.size() == 2 && 'scarf' in fact.items", True),
        ("fact.amount_minor > 4000 && fact.currency == 'EUR'", True),
        ("fact.order_id == trigger.event_id", False),
        ("trigger.properties.order == 'o1'", True),
        ("has(trigger.properties.order) && !has(trigger.properties.other)", True),
    ],
)
def test_a_rule_holds_or_does_not(rule: str, holds: bool) -> None:
    """Of the profile, attributes, items, the fact at hand, and what was kept of the trigger."""
    known = seen(items=("boots",), fact=ORDER, trigger={"event_id": "t", "properties.order": "o1"})

    assert RULES.holds(rule, known) is holds


@pytest.mark.parametrize(
    "rule",
    [
        "attributes.city == 'Berlin'",
        "attributes.city != 'Berlin'",
        "!(attributes.city == 'Berlin')",
        "profile.value.USD < 100",
        "trigger.event_id != 'x'",
        "fact.currency != 'EUR'",
        "items[3] != 'boots'",
        "timestamp(attributes.tier) < timestamp('2026-01-01T00:00:00Z')",
        "profile.orders / 0 == 1",
    ],
)
def test_a_rule_that_can_not_be_evaluated_does_not_hold(rule: str) -> None:
    """Whatever it says of what nobody said: neither the one nor its contrary."""
    assert RULES.holds(rule, seen()) is False


def test_a_missing_attribute_can_be_asked_for() -> None:
    """`has` makes a rule of it that always has an answer."""
    assert RULES.holds("!has(attributes.city) || attributes.city != 'Berlin'", seen())
    assert cel.unguarded("!has(attributes.city) || attributes.city != 'Berlin'") == ()
    assert cel.unguarded("'city' in attributes && attributes['city'] == 'Berlin'") == ()
    assert cel.unguarded("attributes.city != 'B' && profile.value . EUR > 1") == (
        "attributes.city",
        "profile.value.EUR",
    )


@pytest.mark.parametrize("name", KINDS)
def test_every_field_of_every_fact_can_be_looked_at(name: str) -> None:
    """By its own table when a rule is checked, and by the one that all rules share when it runs."""
    fields = fields_of(name)
    assert fields.items() <= all_fields().items(), (
        "a field that has another type elsewhere needs another name"
    )
    for field, kind in fields.items():
        rule = LITERALS[kind].format(f"fact.{field}")
        here = type("Fact", (), {field: EXAMPLES[kind]})()

        assert cel.problem(rule, fields) is None
        assert RULES.holds(rule, seen(fact=here))
        assert not RULES.holds(rule, seen(fact=None))


@pytest.mark.parametrize(("field", "kind"), PROFILE.items())
def test_every_field_of_the_profile_can_be_looked_at(field: str, kind: str) -> None:
    """Also of somebody of whom nothing is known."""
    rule = LITERALS[kind].format(f"profile.{field}")

    assert cel.problem(rule) is None
    assert RULES.holds(rule, seen(NOTHING))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("profile.orders > 0" + " && true" * 80, f"{LENGTH_MAX} are allowed"),
        ("items.all(a, items.exists(b, a == b))", "once, this one does 2 times"),
        ("items.all(a, true) && items . exists (b, true)", "once, this one does 2 times"),
        ("(" * 60 + "true" + ")" * 60, "nested too deeply"),
        ("true // and so on", "ends in a comment"),
        ("profile.orders >", "something is missing at its end"),
        ("profile.orders and true", "'and' can't stand there"),
        ("profile.stage == 'new", "is no part of a rule"),
        ("profile.orders == 'two'", "== does not go with (int, string)"),
        ("profile.orders", "it gives int, not true or false"),
        ("\ud83d == 1", "half a character"),
    ],
)
def test_a_rule_is_refused_in_plain_words(rule: str, said: str) -> None:
    """And costs next to nothing to refuse."""
    found = cel.problem(rule)

    assert found is not None
    assert said in found.what
    assert not found.unknown


def test_an_unknown_name_is_told_as_such() -> None:
    """So that whoever asks can say what was meant."""
    for rule, unknown in {"profile.ordres > 1": "profile.ordres", "fact.item == 'a'": "fact.item"}.items():
        found = cel.problem(rule)
        assert found is not None
        assert found.unknown == unknown


def test_the_fields_that_a_rule_keeps_of_a_trigger() -> None:
    """A method's name is no entry of a field."""
    rule = (
        "trigger.item.startsWith('b') && trigger.properties.order == trigger . category && 'trigger.no' != ''"
    )

    assert cel.trigger_paths(rule) == {"item", "properties.order", "category"}


@pytest.mark.parametrize(
    ("title", "body", "text"),
    [
        ("Hi", "{{ items.size }} wait", Text("Hi", "1 wait")),
        ("{{ attributes.tier | upcase }}", "b", Text("VIP", "b")),
        ("t", "{{ attributes.city }}", Text("", "", "attributes.city")),
        ("t", "{{ attributes.city | default: 'town' }}", Text("t", "town")),
        ("{{ trigger.item }}", "b", Text("", "", "trigger.item")),
        ("t", "{{ trigger.properties.order }}", Text("", "", "trigger.properties")),
        ("t", "{% if attributes.city %}{{ attributes.city }}{% endif %}.", Text("", "", "attributes.city")),
        ("t", "{% for item in items %}<{{ item }}>{% endfor %}", Text("t", "<boots>")),
        ("  {{ 'a' }} ", "b", Text("a", "b")),
    ],
)
def test_a_text_names_what_it_misses(title: str, body: str, text: Text) -> None:
    """A push with a hole in it is not sent; a default fills one."""
    assert TEXTS.render(message(title=title, body=body), seen(items=("boots",))) == text


@pytest.mark.parametrize(
    "body",
    [
        "{% for a in (1..100000) %}x{% endfor %}",
        "{% for a in (1..100) %}{% for b in (1..100) %}x{% endfor %}{% endfor %}",
        "{% for a in (1..900) %}" + "0123456789" * 10 + "{% endfor %}",
        "{{ items | divided_by: 0 }}{{ 'a' | date: }}{{ 1 | divided_by: 0 }}",
    ],
)
def test_a_text_that_gets_out_of_hand_is_withheld(body: str) -> None:
    """Loops and output are bounded; the reason is named."""
    text = TEXTS.render(message(body=body), seen(items=("boots",)))

    assert (text.title, text.body) == ("", "")
    assert text.missing.endswith(("Error", "TooMuch"))


@pytest.mark.parametrize("template", ["{0}", "{{{{ '{0}' }}}}"])
def test_a_long_text_is_cut(template: str) -> None:
    """Plain or rendered, to the same length."""
    long = template.format("x" * 3_000)
    text = TEXTS.render(message(title=long, body=long), seen())

    assert (len(text.title), len(text.body)) == (TITLE_LENGTH_MAX, BODY_LENGTH_MAX)


def test_plain_texts_need_no_liquid() -> None:
    """It takes long to import: neither checking nor saying plain words does that."""
    code = (
        "import sys\n"
        "from connectors.rules import liquid\n"
        "from ledger.journey import Message\n"
        "said = Message(name='a', category='marketing', topic='t', title='T', body='B')\n"
        "assert liquid.LiquidTexts().render(said, {}).body == 'B'\n"
        "assert not list(liquid.problems('B', {})) and not liquid.trigger_paths('B')\n"
        "assert 'liquid' not in sys.modules\n"
        "liquid.trigger_paths('{{ a }}')\n"
        "assert 'liquid' in sys.modules\n"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("template", "kind", "unknown"),
    [
        ("{{ profile.ordres }}", "name", "profile.ordres"),
        ("{{ trigger }}", "name", "trigger"),
        ("{{ trigger.properties }}", "name", "trigger.properties"),
        ("{{ trigger.name.first }}", "name", "trigger.name.first"),
        ("{{ trigger[profile.stage] }}", "name", "trigger.[]"),
        ("{{ attributes }}", "name", "attributes"),
        ("{{ 'a' | shout }}", "filter", "shout"),
        ("{% shout %}", "tag", "shout"),
        ("{% render 'other' %}", "tag", "render"),
        ("{% cycle 'a', 'b' %}", "tag", "cycle"),
        ("{{ 'a'", "syntax", ""),
        ("{% if %}", "syntax", ""),
        ("{% if true %}" * 500 + "{% endif %}" * 500, "syntax", ""),
    ],
)
def test_a_template_is_refused_by_what_it_is(template: str, kind: str, unknown: str) -> None:
    """With the name that nobody knows, if that is it."""
    (found,) = liquid.problems(template, fields_of("CustomActivity"))

    assert (found.kind, found.unknown) == (kind, unknown)


@pytest.mark.parametrize(
    "template",
    [
        "{{ trigger.properties.order }} {{ trigger.properties['order'] }} {{ trigger.name }}",
        "{{ items.first }} {{ items[0] }} {{ profile.last_items | last }} {{ profile.value.EUR }}",
        "{% assign mine = attributes.name | default: 'you' %}{{ mine }}",
        "{% for item in items %}{{ forloop.index }}{{ item }}{% endfor %}",
        "{% comment %}{{ nonsense }}{% endcomment %}{% raw %}{{ nonsense }}{% endraw %}",
    ],
)
def test_a_template_that_speaks_of_what_there_is_is_right(template: str) -> None:
    """Also by its own names."""
    assert list(liquid.problems(template, fields_of("CustomActivity"))) == []


def test_the_fields_that_a_text_keeps_of_a_trigger() -> None:
    """Each by its path, entries of maps by their own."""
    assert liquid.trigger_paths("{{ trigger.properties.order }}{{ trigger.item }}{{ items }}") == {
        "properties.order",
        "item",
    }
    assert liquid.trigger_paths("trigger.item") == frozenset()


def test_the_table_of_variables() -> None:
    """Optional fields have their type, what several facts share has one, and maps have entries."""
    order, cart = fields_of("OrderPlaced"), fields_of("CartUpdated")

    assert (order["items"], order["amount_minor"], cart["quantity"]) == ("texts", "int", "int")
    assert "order_id" not in shared_fields(["OrderPlaced", "CartUpdated"])
    assert shared_fields(["OrderPlaced", "CartUpdated"])["occurred_at"] == "int"
    assert shared_fields([]) == {}
    assert kind_at({"properties": "notes"}, "properties.order") == "text"
    assert kind_at({"value": "sums"}, "value.EUR") == "int"
    assert kind_at(cart, "item.first") is None
    assert kind_at(cart, "itm") is None
    assert {"texts", "notes", "sums"}.isdisjoint(SCALARS)
    with pytest.raises(KeyError):
        fields_of("Nonsense")


@pytest.mark.parametrize("value", ["NaN", "inf", "1e400", "9" * 400, "2026-02-30", "\ud800", "", "x"])
@pytest.mark.parametrize(
    "template",
    [
        "{{ attributes.v | round }}!",
        "{{ attributes.v | floor }}!",
        "{{ attributes.v | times: 0 }}!",
        "{{ attributes.v | times: 999999999999 | times: 999999999999 }}!",
        "{{ attributes.v | base64_decode }}!",
        "{{ attributes.v | date: '%d' }}!",
        "{{ attributes.v | date: '%999999999d' }}!",
        "{{ (1..1000000000) | reverse | first }}{{ attributes.v }}!",
        "{{ (1..100000000) | join }}!",
        "{% assign a = 'xxxxxxxx' %}{% for i in (1..40) %}{% assign a = a | append: a %}{% endfor %}!",
    ],
)
def test_a_text_of_an_odd_value_is_sent_or_withheld_within_its_work(template: str, value: str) -> None:
    """Whatever a filter raises or would build, rendering is total."""
    found = LiquidTexts().render(_message(template), _odd(value))
    assert found.body or found.missing
    # The call that passes the bound is counted, too: two values and, were it to run, its result.
    assert filters.spent() <= filters.WORK_MAX + 3 * filters.SIZE_MAX


@pytest.mark.parametrize(
    "template",
    [
        "{% assign a = 'xxxxxxxx' %}{% for i in (1..40) %}{% assign a = a | append: a %}{% endfor %}!",
        (
            "{% assign a = 'xxxxxxxx' %}{% for i in (1..400) %}{% assign b = a | append: a | size %}"
            "{% assign a = a | append: 'xxxxxxxx' %}{% endfor %}!"
        ),
        "{{ (1..100000000) | join }}!",
        "{{ (1..1000000000) | reverse | first }}!",
    ],
    ids=["one value too large", "all calls together too many", "a range joined", "a range turned round"],
)
def test_a_text_past_its_bound_is_withheld(template: str) -> None:
    """By a count, before the work is done."""
    assert LiquidTexts().render(_message(template), _odd("x")).missing


def test_a_text_that_renders_to_nothing_is_withheld() -> None:
    """A gap never leaves."""
    assert LiquidTexts().render(_message("{{ attributes.v }}"), _odd(" ")).missing == "body"


@pytest.mark.parametrize("rule", ['{"a":1,"a":2}.size()==1', "'a'.matches('(')", "1/0 == 1"])
def test_a_rule_that_the_engine_refuses_is_a_no(rule: str) -> None:
    """Nothing that the engine raises passes."""
    assert not cel.CelRules().holds(rule, _odd("x") | {"fact": None})


def test_a_comment_does_not_hide_a_second_macro() -> None:
    """Macros are counted past comments."""
    found = cel.problem("items.//\nall(a, items.//\nall //\n(b, a == b))")
    assert found is not None
    assert "once" in found.what


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("'a'.matches('(')", "no regular expression"),
        ("'a'.matches('((a{1000}){1000}){1000}')", "no regular expression"),
        ("profile.stage.matches(attributes.a)", "not written in it"),
        ("items.map(a, items.filter(b, b == a))[0].size() > 0", "goes through"),
        ("{'a': items.all(a, true)}['a'] && [items.exists(b, true)][0]", "goes through"),
    ],
)
def test_what_is_bounded_is_looked_at_in_the_parsed_rule(rule: str, said: str) -> None:
    """Wherever it stands: in calls, maps, lists, behind comments."""
    found = cel.problem(rule)
    assert found is not None
    assert said.replace("goes through", "go through a list once") in found.what


@pytest.mark.parametrize(
    "rule",
    ["profile.stage.matches('^a.*(b|c)+$')", "items.exists(a, a.matches('[0-9]+'))", "'it\\'s'.size() == 4"],
)
def test_patterns_and_one_macro_are_right(rule: str) -> None:
    """What people write."""
    assert cel.problem(rule) is None


def test_rules_that_are_put_together_may_each_go_through_a_list() -> None:
    """One after the other is not one in the other."""
    assert cel.whole_problem("(items.exists(a, a == 'x')) && (items.exists(a, a == 'y'))") == ""


def test_bytes_that_are_no_rule_are_no_tree() -> None:
    """Cut anywhere, or of something else."""
    whole = cel._shared_environment().compile("items.exists(a, a.matches('x'))").serialize()
    assert tree(whole) == Tree(1, ("x",))
    for cut in (b"", b"\x12", b"\xff", whole[:-1], whole[: len(whole) // 2]):
        with pytest.raises(ValueError, match=r"no expression|in the middle|wire type"):
            tree(cut)


@pytest.mark.parametrize(
    ("template", "kind"),
    [
        (
            "{% assign a = 'xxxxxxxx' %}{% for i in (1..40) %}{% assign a = a | append: a %}{% endfor %}!",
            "work",
        ),
        ("{{ (1..100000000) | join }}!", "work"),
        ("{% for a in (1..900) %}{% for b in (1..900) %}x{% endfor %}{% endfor %}", "work"),
        ("{% if (1..1000000000) contains items %}x{% endif %}!", "work"),
        ("{{ 'now' | date: '%Q' }}", "date"),
        ("{{ '' }}", "empty"),
        ("{{ 'a' | escapejs }}", "filter"),
        ("{{ 'a' | sha256 }}", "filter"),
    ],
)
def test_check_sees_what_a_text_does_whatever_it_is_given(template: str, kind: str) -> None:
    """Before anybody's push is withheld for it."""
    assert kind in {found.kind for found in liquid.problems(template, {})}


def test_a_filter_that_nobody_vouched_for_is_none() -> None:
    """A release of the library that adds one adds none here; all of ours are there."""
    assert liquid.filters() == filters.FILTERS


def test_generated_templates_and_rules_stay_within_bounds() -> None:
    """A short form of `make fuzz`; the outcomes show that each kind is met."""
    found = rule_fuzzer.run(600, seed=7)

    assert sum(found.values()) == 600
    kinds = {
        "text: sent",
        "text: withheld",
        "text: refused by check",
        "rule: True",
        "rule: False",
        "rule: refused",
    }
    assert found.keys() == kinds


def _message(body: str) -> Message:
    return Message(name="m", category="marketing", topic="t", title="x", body=body)


def _odd(value: str) -> dict[str, Any]:
    return {
        "profile": {},
        "attributes": {"v": value},
        "items": [],
        "trigger": {},
        "now": 1_773_396_000_000,
        "zones": (),
    }
