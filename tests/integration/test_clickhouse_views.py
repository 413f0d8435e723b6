"""The views answer what the core answers, and a second copy of any batch changes nothing."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.clickhouse.client import connect
from connectors.clickhouse.migrate import Migration, migrate, shipped
from connectors.clickhouse.query import ask
from connectors.clickhouse.rows import NAMES, TABLES, TYPES, table_of
from connectors.clickhouse.sink import FactSink
from connectors.datasets.shop_week import shop_week
from connectors.errors import Misconfigured, Transient
from ledger import facts as f
from ledger.consent import EMPTY, Consent
from ledger.consent_fold import take_in
from ledger.effective import effective, own_token
from processors.stack import Servers
from tests.support.examples import MEASURED, example_of
from tests.support.fact_strategies import CONSENT_FACTS, Dated
from tests.support.given import DAY, HOUR, NOON, changed, fact
from tests.support.stack import drop_database


@pytest.fixture
def url(stack: Servers) -> Iterator[str]:
    """Our tables, all empty."""
    drop_database(stack.clickhouse_url)
    migrate(stack.clickhouse_url)
    yield stack.clickhouse_url
    drop_database(stack.clickhouse_url)


def rows_of(facts: Sequence[tuple[f.Fact, int]]) -> list[tuple[f.Fact, int, int, int]]:
    """Facts as the metrics role hands them over, each with an offset of its own."""
    return [(one, 0, offset, appended) for offset, (one, appended) in enumerate(facts)]


def fold(facts: list[Dated]) -> Consent:
    """What the core makes of the facts."""
    state = EMPTY
    for offset, (one, appended) in enumerate(facts):
        state = take_in(state, one, appended, offset)
    return state


def consent_of(state: Consent) -> dict[str, tuple[Any, ...]]:
    """What `consent_current` should say, by installation."""
    if state.erased_at is not None:
        return {"": ("", "", "", "not_determined", "", False)}
    found = {}
    for key, installation in state.installations.items():
        word, token = effective(installation), own_token(state.installations, key)
        found[key.partition("/")[2]] = (
            installation.platform,
            installation.time_zone or "",
            installation.country or "",
            word.permission,
            word.register,
            token is not None and token.live,
        )
    return found or {"": ("", "", "", "not_determined", "", False)}


def preferences_of(state: Consent) -> tuple[Any, ...]:
    """What `consent_current` should say of a subject's own choices; ends in the past are over."""
    frequency, quiet, pause = state.frequency, state.quiet, state.pause
    return (
        sorted(topic for topic, choice in state.topics.items() if choice.on),
        sorted(topic for topic, choice in state.topics.items() if not choice.on),
        frequency.max_pushes if frequency else None,
        frequency.window if frequency else "",
        (quiet.start_minute, quiet.end_minute) if quiet else (None, None),
        bool(pause and pause.on and pause.until is None),
        sorted(reason for reason, s in state.suppressions.items() if s.on and s.until is None),
        state.erased_at is not None,
    )


ONE_PERSON = st.lists(CONSENT_FACTS, min_size=1, max_size=12)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(people=st.lists(ONE_PERSON, min_size=8, max_size=8), erased=st.sets(st.integers(0, 7), max_size=2))
def test_consent_current_says_what_the_core_says(
    people: list[list[Dated]], erased: set[int], url: str
) -> None:
    """Permission, its clock, token, place and choices of every installation, for eight people at once."""
    with connect(url) as client:
        for table in TABLES:
            client.command(f"TRUNCATE TABLE {table}")
    everything: dict[str, list[Dated]] = {}
    for number, history in enumerate(people):
        name = f"person-{number}"
        history.sort(key=lambda dated: dated[1])  # as they stand on the topic
        mine = [(changed(one, subject=name, event_id=f"{name}-{one.event_id}"), at) for one, at in history]
        if number in erased:
            mine.append((fact(f.SubjectErased, NOON, subject=name), NOON))
        everything[name] = mine
    rows = rows_of([dated for mine in everything.values() for dated in mine])
    sink = FactSink(url)
    sink.insert(rows)
    sink.insert(rows[: len(rows) // 2])  # a batch that is repeated after a crash

    answer = ask(
        url,
        "SELECT subject, installation, platform, time_zone, country, permission, permission_by, token_live,"
        " topics_on, topics_off, max_pushes, frequency_window, quiet_start_minute, quiet_end_minute, paused,"
        " suppressed_for, erased FROM consent_current",
    )

    places: defaultdict[str, dict[str, tuple[Any, ...]]] = defaultdict(dict)
    choices: dict[str, tuple[Any, ...]] = {}
    for subject, installation, *rest in answer.rows:
        places[subject][installation] = tuple(rest[:6])
        on, off, most, window, start, end, paused, suppressed, gone = rest[6:]
        choices[subject] = (on, off, most, window, (start, end), paused, suppressed, gone)
    wanted = {name: fold(mine) for name, mine in everything.items()}
    assert places == {name: consent_of(state) for name, state in wanted.items()}
    assert choices == {name: preferences_of(state) for name, state in wanted.items()}


def test_an_address_that_never_was_one_is_dead_for_analysts_too(url: str) -> None:
    """From its registration on, until the app registers another one."""
    told = [
        fact(f.TokenRegistered, NOON + number, provider="fcm", token=token)
        for number, token in enumerate(("token-1", "null", "token-2"))
    ]
    asked = "SELECT token_live FROM consent_current"
    live = []
    for number in range(len(told)):
        facts: list[Dated] = [(one, one.occurred_at) for one in told[: number + 1]]
        FactSink(url).insert(rows_of(facts))
        live.append(ask(url, asked).rows[0][0])
        assert consent_of(fold(facts))["phone"][5] is live[-1]
    assert live == [True, False, True]


def test_a_week_counted_by_the_views_is_the_week_counted_in_python(url: str) -> None:
    """opt_in_rate, over all days, equals a plain count over the facts of the simulated shop."""
    week = shop_week(400)
    rows = rows_of([(one, one.occurred_at) for one in (*week.permissions, *week.tokens, *week.activity)])
    random.Random(3).shuffle(rows)
    FactSink(url).insert(rows)

    answer = ask(
        url,
        "SELECT day, platform, context, asked, authorized, denied, provisional, pre_granted FROM opt_in_rate",
    )

    platform = {
        (one.subject, one.installation): one.platform
        for one in week.permissions
        if isinstance(one, f.InstallationSeen)
    }
    counted: defaultdict[tuple[Any, ...], list[set[str]]] = defaultdict(lambda: [set() for _ in range(5)])
    for one in week.permissions:
        column = answer_column(one)
        if column is not None:
            where = platform[one.subject, one.installation]  # type: ignore[attr-defined]
            context = getattr(one, "context", None) or ""
            counted[one.occurred_at // DAY, where, context][column].add(one.subject)
    asked = {(days(row[0]), row[1], row[2]): list(row[3:]) for row in answer.rows}
    assert asked == {place: [len(people) for people in columns] for place, columns in counted.items()}
    assert sum(row[3] for row in answer.rows) > 0


def days(day: Any) -> int:
    """Days since 1970 of a date."""
    from datetime import date

    return (day - date(1970, 1, 1)).days  # type: ignore[no-any-return]


def answer_column(one: f.SubjectFact) -> int | None:
    """Which of asked, authorized, denied, provisional, pre_granted a fact counts in."""
    match one:
        case f.PromptShown(prompt="os"):
            return 0
        case f.PermissionGranted(level="authorized"):
            return 1
        case f.PermissionDenied():
            return 2
        case f.PermissionGranted(level="provisional") | f.PermissionObserved(permission="provisional"):
            return 3
        case f.PermissionGranted(level="pre_granted") | f.PermissionObserved(permission="pre_granted"):
            return 4
        case _:
            return None


def send(number: int, at: int, **fields: Any) -> list[f.SubjectFact]:
    """One journey that ended in a push to one installation."""
    envelope: dict[str, Any] = {"app": "shop", "source": "processor", "subject": "ann"}
    common: dict[str, Any] = {"journey": "cart", "journey_version": "v", "instance": f"i{number}"}
    return [
        f.JourneyStarted(
            event_id=f"s{number}",
            occurred_at=at - HOUR,
            trigger_event_id=f"t{number}",
            holdout=False,
            **common,
            **envelope,
        ),
        f.JourneyEnded(
            event_id=f"e{number}",
            occurred_at=at,
            outcome=fields.get("outcome", "candidate"),
            **common,
            **envelope,
        ),
        f.PushDecided(
            event_id=f"d{number}",
            occurred_at=at,
            decision_id=f"decision-{number}",
            revision=0,
            candidate_at=at,
            policy_version="p",
            step="reminder",
            category="marketing",
            topic="carts",
            verdict="send",
            checks=(),
            snapshot=b"",
            permissions_next=0,
            tokens_next=0,
            installations=("phone",),
            attribution_ms=DAY,
            **common,
            **envelope,
        ),
        f.PushAccepted(
            event_id=f"a{number}",
            occurred_at=at,
            push_id=f"push-{number}",
            decision_id=f"decision-{number}",
            installation="phone",
            provider="console",
            **envelope,
        ),
    ]


def test_opens_and_orders_are_credited_as_the_core_credits_them(url: str) -> None:
    """An order goes to the last push before it within the window; a push counts once."""
    facts = [*send(1, NOON), *send(2, NOON + 2 * HOUR), *send(3, NOON + 40 * HOUR)]
    facts += [
        fact(f.PushOpened, NOON + HOUR, push_id="push-1"),
        fact(f.PushOpened, NOON + HOUR + 1, push_id="push-1"),
        fact(f.OrderPlaced, NOON + 3 * HOUR, order_id="o1", items=("a",)),
        fact(f.OrderPlaced, NOON + 4 * HOUR, order_id="o2", items=("a",)),
        fact(f.OrderPlaced, NOON + 27 * HOUR, order_id="too late for 2", items=("a",)),
        fact(f.OrderPlaced, NOON - HOUR, order_id="before all", items=("a",)),
    ]
    rows = rows_of([(one, one.occurred_at) for one in facts])
    sink = FactSink(url)
    sink.insert(rows)
    sink.insert(rows)

    (funnel,) = ask(
        url, "SELECT sum(f.started), sum(f.sent), sum(f.opened), sum(f.ordered) FROM journey_funnel AS f"
    ).rows
    (pushes,) = ask(
        url, "SELECT sum(p.pushes), sum(p.accepted), sum(p.pending), sum(p.opened) FROM push_outcomes AS p"
    ).rows

    assert funnel == (3, 3, 1, 1)
    assert pushes == (3, 3, 0, 1)


def test_a_push_that_was_passed_on_was_chosen_twice_and_ends_twice(url: str) -> None:
    """The refusal names the next installation; until that one has its outcome, it is pending."""
    started, decided, accepted = send(1, NOON)[0], send(1, NOON)[2], send(1, NOON)[3]
    assert isinstance(accepted, f.PushAccepted)
    about = {"push_id": "push-1", "decision_id": "decision-1", "provider": "fcm", "error": "UNREGISTERED"}
    refused = fact(f.PushRejected, NOON, error_class="token_dead", next_installation="tablet", **about)
    taken = msgspec.structs.replace(accepted, push_id="push-1b", installation="tablet")
    asked = (
        "SELECT sum(p.pushes), sum(p.accepted), sum(p.rejected), sum(p.pending), sum(p.passed_on)"
        " FROM push_outcomes AS p"
    )
    sink = FactSink(url)

    sink.insert(rows_of([(one, NOON) for one in (started, decided, refused)]))
    (before,) = ask(url, asked).rows
    sink.insert(rows_of([(one, NOON) for one in (started, decided, refused, taken)]))
    (after,) = ask(url, asked).rows

    assert before == (2, 0, 1, 1, 1)
    assert after == (2, 1, 1, 0, 1)


def test_receipts_are_joined_to_the_pushes_that_they_are_about(url: str) -> None:
    """Once each, however often they came; who opened a push had got it."""
    facts = [*send(1, NOON), *send(2, NOON), *send(3, NOON), *send(4, NOON), *send(5, NOON)]
    facts += [
        fact(f.PushDelivered, NOON + 2_000, push_id="push-1"),
        fact(f.PushDelivered, NOON + 9_000, push_id="push-1"),
        fact(f.PushOpened, NOON + HOUR, push_id="push-1"),
        fact(f.PushDelivered, NOON + 4_000, push_id="push-2"),
        fact(f.PushDismissed, NOON + HOUR, push_id="push-2"),
        fact(f.PushOpened, NOON + HOUR, push_id="push-3"),
        fact(f.PushDismissed, NOON + HOUR, push_id="push-3"),
        fact(f.PushDelivered, NOON + 2_000, push_id="a push of before"),
    ]
    rows = rows_of([(one, one.occurred_at) for one in facts])
    sink = FactSink(url)
    sink.insert(rows)
    sink.insert(rows)

    (receipts,) = ask(
        url,
        "SELECT provider, journey, accepted, delivered, opened, dismissed, median_delivery_s"
        " FROM push_receipts",
    ).rows

    assert receipts == ("console", "cart", 5, 3, 2, 1, 3.0)


def dead(number: int, ok: int | None, gone: int, cause: str = "uninstall") -> f.TokenInvalidated:
    """An address was lost between two times."""
    return fact(
        f.TokenInvalidated,
        gone,
        event_id=f"dead-{number}-{gone}",
        token_id=f"token-{number}",
        reason="r",
        cause=cause,
        last_seen_ok=ok,
        first_seen_gone=gone,
    )


def test_losses_are_not_pinned_on_the_day_on_which_they_were_noticed(url: str) -> None:
    """Each is spread over its interval, counted once, and nowhere but on its days."""
    facts: list[f.Fact] = [
        dead(1, NOON, NOON + HOUR),  # within Monday
        dead(2, NOON, NOON),  # an interval without a length
        dead(3, NOON, NOON + 2 * DAY),  # a quarter, a half, a quarter
        dead(3, NOON, NOON + 3 * DAY),  # another refused push, the same death
        dead(4, None, NOON + DAY),
        dead(5, NOON + DAY, NOON + DAY, "browser"),
        fact(f.TokenInvalidated, NOON + 2 * DAY, token_id="token-6", reason="an older app's"),
        fact(f.TokenRegistered, NOON, provider="apns", token="t"),
    ]
    rows = rows_of([(one, one.occurred_at) for one in facts])
    sink = FactSink(url)
    sink.insert(rows)
    sink.insert(rows)

    losses = ask(
        url,
        "SELECT toDayOfMonth(day), cause, surely, possibly, expected, noticed, no_start FROM token_losses"
        " ORDER BY day, cause",
    ).rows

    assert losses == [
        (2, "uninstall", 2, 3, 2.25, 2, 0),
        (3, "browser", 1, 1, 1.0, 1, 0),
        (3, "uninstall", 0, 1, 0.5, 1, 1),
        (4, "uninstall", 0, 1, 0.25, 1, 0),
        (4, "unknown", 0, 0, 0.0, 1, 1),
    ]


def test_the_tables_have_the_columns_that_the_sink_writes(url: str) -> None:
    """Names, types and order; so a forgotten column in either place is found."""
    for table, names in NAMES.items():
        told = ask(url, f"DESCRIBE TABLE {table}").rows
        assert [(row[0], row[1]) for row in told] == list(zip(names, TYPES[table], strict=True))


def test_every_fact_of_the_contract_has_its_row(url: str) -> None:
    """The golden example of each fact is taken in, maps and lists included, by the table of its topic."""
    examples = [example_of(kind) for kind in MEASURED]
    FactSink(url).insert(rows_of([(one, one.occurred_at) for one in examples]))

    stored = {
        row[0]: (table, row[1])
        for table in TABLES
        for row in ask(url, f"SELECT fact, event_id FROM {table}").rows
    }
    wanted = {type(one).__name__: (table_of(type(one)), one.event_id) for one in examples}
    assert stored == wanted
    (notes,) = ask(url, "SELECT attributes FROM activity_facts WHERE fact = 'SubjectAttributesSet'").rows
    assert notes == (example_of(f.SubjectAttributesSet).attributes,)


def test_the_earliest_copy_of_a_fact_stays(url: str) -> None:
    """The same fact at two offsets is one row, that of the lower offset."""
    one = fact(f.AppOpened)
    sink = FactSink(url)
    sink.insert([(one, 0, 7, NOON + 7)])
    sink.insert([(one, 0, 3, NOON + 3), (one, 0, 9, NOON + 9)])

    assert ask(url, "SELECT offset FROM activity_facts FINAL").rows == [(3,)]


def test_no_delivery_address_reaches_a_table(url: str) -> None:
    """A token goes by its hash alone."""
    FactSink(url).insert([(fact(f.TokenRegistered, provider="apns", token="very-secret"), 0, 0, NOON)])

    (row,) = ask(url, "SELECT * FROM token_facts").rows
    assert not any("very-secret" in str(value) for value in row)


class TestMigrations:
    """Numbered files, each applied once."""

    def test_statements_end_at_lines_and_comments_at_nothing(self) -> None:
        """A comment may hold any sign, and belongs to the statement below it."""
        sql = "-- one; two;\nSELECT 1;\n\n-- three\nSELECT\n  ';',\n  2;\n"

        assert Migration(1, "x", sql).statements == [
            "-- one; two;\nSELECT 1",
            "-- three\nSELECT\n  ';',\n  2",
        ]

    def test_a_second_run_applies_nothing(self, url: str) -> None:
        """Whoever starts first applies; the others find nothing to do."""
        assert migrate(url) == []

    def test_a_new_file_is_applied_alone(self, url: str) -> None:
        """An upgrade applies what is missing, and no more."""
        number = len(shipped()) + 1
        new = Migration(number, "more", "CREATE TABLE IF NOT EXISTS more (x UInt8) ENGINE = Memory;")

        assert migrate(url, [*shipped(), new]) == [f"{number:04} more"]

    def test_a_file_that_stopped_in_the_middle_is_run_again(self, url: str) -> None:
        """A statement that failed leaves the file unapplied; after the repair it runs from its beginning."""
        first = "CREATE TABLE IF NOT EXISTS half (x UInt8) ENGINE = Memory;\n"
        broken = Migration(len(shipped()) + 1, "half", first + "CREATE TABLE half;")
        with pytest.raises(Transient, match="ClickHouse failed"):
            migrate(url, [*shipped(), broken])

        assert migrate(url, [*shipped(), changed_sql(broken, first)]) == [f"{broken.number:04} half"]

    def test_an_edited_file_is_refused(self, url: str) -> None:
        """What was applied is not what the file says now."""
        edited = [changed_sql(shipped()[0], "SELECT 1;"), *shipped()[1:]]

        with pytest.raises(Misconfigured, match="0001 facts was edited"):
            migrate(url, edited)

    def test_an_older_version_refuses_a_newer_database(self, url: str) -> None:
        """It can't know what the newer tables mean."""
        with pytest.raises(Misconfigured, match="run the newer version"):
            migrate(url, shipped()[:1])


def changed_sql(migration: Migration, sql: str) -> Migration:
    """The migration with another text."""
    return Migration(migration.number, migration.name, sql)


class TestErrors:
    """What goes wrong says what to do."""

    def test_a_bad_statement_is_told_in_clickhouses_words(self, url: str) -> None:
        """For people at a prompt."""
        with pytest.raises(Misconfigured, match="nonsense"):
            ask(url, "SELECT nonsense FROM push_outcomes")

    def test_a_missing_table_names_the_command(self, stack: Servers) -> None:
        """A metrics role that starts before the migrations says so."""
        drop_database(stack.clickhouse_url)

        with pytest.raises(Misconfigured, match="optin migrate"):
            FactSink(stack.clickhouse_url).insert([(fact(f.AppOpened), 0, 0, NOON)])

    def test_a_server_that_is_away_is_transient(self) -> None:
        """The metrics role waits and tries again."""
        with pytest.raises(Transient, match="does not answer"):
            FactSink("http://127.0.0.1:9/optin").insert([(fact(f.AppOpened), 0, 0, NOON)])

    @pytest.mark.parametrize("url", ["", "clickhouse:9000", "http:///optin", "http://h:1/x-y;z"])
    def test_a_url_that_is_none_is_refused(self, url: str) -> None:
        """Before anything is sent anywhere, and without repeating its password."""
        with pytest.raises(Misconfigured, match="OPTIN_CLICKHOUSE_URL"):
            connect(url)
