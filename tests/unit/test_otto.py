"""The OTTO reader, its facts, and the simulated consent around them."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from connectors.datasets import otto
from connectors.datasets.recorded_log import AMPLIFY_MAX, BAD_LINES_KEPT_MAX
from connectors.datasets.simulated_consent import CHINA, GERMANY, Span, consent_of
from connectors.errors import Misconfigured
from ledger import facts as f
from ledger.admission import ITEMS_MAX, rejection
from tests.support import generated_otto_log

NOW_MS = 1_700_000_000_000
AT = 1_659_304_800_025
HOUR_MS = 3_600_000
SPAN = Span(AT, AT + 28 * 24 * HOUR_MS)
REAL = "otto-sample/train.jsonl"


def _line(session: int, *events: generated_otto_log.Told) -> str:
    return generated_otto_log.line(session, events)


def _read(tmp_path: Path, *lines: str | bytes) -> otto.Rows:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return otto.read(path, now_ms=NOW_MS)


@pytest.fixture(name="generated")
def _generated_rows(tmp_path: Path) -> otto.Rows:
    return _read(tmp_path, *generated_otto_log.lines(30))


@pytest.fixture(name="real")
def _real() -> Path:
    folder = os.environ.get("OPTIN_TEST_DATA")
    if not folder:
        pytest.skip("OPTIN_TEST_DATA is not set: CONTRIBUTING.md says where the real log comes from")
    path = Path(folder) / REAL
    if not path.exists():
        pytest.skip(f"OPTIN_TEST_DATA has no {REAL}")
    return path


class TestReading:
    """What becomes of lines and events."""

    def test_equal_events_count_once(self, tmp_path: Path) -> None:
        """An event equal in all four values counts once, in its line and in another line of its session."""
        rows = _read(
            tmp_path,
            _line(1, (2, AT, "clicks"), (2, AT + 1, "clicks"), (2, AT, "clicks")),
            _line(1, (2, AT, "clicks"), (2, AT, "carts")),
        )

        assert [(row.at_ms, otto.TYPES[row.type]) for row in rows] == [
            (AT, "carts"),
            (AT, "clicks"),
            (AT + 1, "clicks"),
        ]
        assert (rows.lines, len(rows), rows.duplicates, rows.bad) == (2, 3, 2, 0)

    def test_a_file_that_comes_twice_is_the_same_facts(self, tmp_path: Path) -> None:
        """Whole lines again, or the whole file again: nothing is added."""
        lines = list(generated_otto_log.lines(5))
        once, twice = _read(tmp_path, *lines), _read(tmp_path, *lines, *lines)

        assert list(otto.facts(once)) == list(otto.facts(twice))
        assert list(otto.simulated_consent(once)) == list(otto.simulated_consent(twice))
        assert twice.duplicates == len(once) + once.duplicates * 2

    def test_rows_are_sorted_by_time_session_type_article_as_numbers(self, tmp_path: Path) -> None:
        """At one instant: by session as a number, then orders, carts, clicks, then by article."""
        rows = _read(
            tmp_path,
            _line(10, (5, AT - 1, "clicks"), (1, AT, "clicks")),
            _line(9, (1, AT, "clicks"), (10, AT, "carts"), (9, AT, "carts"), (1, AT, "orders")),
        )

        assert [(row.user, otto.TYPES[row.type], row.article) for row in rows] == [
            (10, "clicks", 5),
            (9, "orders", 1),
            (9, "carts", 9),
            (9, "carts", 10),
            (9, "clicks", 1),
            (10, "clicks", 1),
        ]
        assert (rows.span.first_ms, rows.span.last_ms, rows.users()) == (AT - 1, AT, [9, 10])

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"", "truncated"),
            (b"session,aid,ts,type", "malformed"),
            (b'{"session":1,"events":[{"aid":2,"ts":1659304800025,"type":"clicks"}]', "truncated"),
            (b'{"session":1,"events":[]} {}', "trailing characters"),
            (b"[1,[]]", "Expected `object`, got `array`"),
            (b'{"session":1}', "missing required field `events`"),
            (b'{"session":1,"labels":{"clicks":2}}', "missing required field `events`"),
            (b'{"events":[]}', "missing required field `session`"),
            (b'{"session":"1","events":[]}', "Expected `int`, got `str` - at `$.session`"),
            (b'{"session":1.0,"events":[]}', "Expected `int`, got `float` - at `$.session`"),
            (b'{"session":-1,"events":[]}', "session is not a number of 1 to 18 digits"),
            (b'{"session":1000000000000000000,"events":[]}', "session is not a number of 1 to 18 digits"),
            (b'{"session":1,"events":{}}', "Expected `array`, got `object` - at `$.events`"),
            (b'{"session":1,"events":[]}', "session has no events"),
            (b'{"session":1,"events":[NaN]}', "malformed"),
            (b'{"session":1,"events":' + b"[" * 100_000, "nested too deeply"),
            (b"\xff\xfe", "malformed"),
            (b" " * otto.LINE_BYTES_MAX + b"{}", "line is longer than 1048576 bytes"),
            (b"x" * (3 * otto.LINE_BYTES_MAX), "line is longer than 1048576 bytes"),
        ],
    )
    def test_a_bad_line_is_reported_with_its_number_and_left_out(
        self, tmp_path: Path, line: bytes, reason: str
    ) -> None:
        """The good lines around it are rows, and the lines after it keep their numbers."""
        good = _line(1, (2, AT, "clicks")), _line(1, (2, AT + 5, "clicks"))
        rows = _read(tmp_path, good[0], line + b"\n", good[1], "nonsense\n")

        assert [row.at_ms for row in rows] == [AT, AT + 5]
        assert (rows.lines, rows.bad) == (4, 2)
        assert [bad.line for bad in rows.bad_lines] == [2, 4]
        assert reason in rows.bad_lines[0].reason

    @pytest.mark.parametrize(
        ("event", "reason"),
        [
            (b"3", "Expected `object`, got `int`"),
            (b"{}", "missing required field `aid`"),
            (b'{"aid":2,"ts":1659304800025}', "missing required field `type`"),
            (b'{"aid":"2","ts":1659304800025,"type":"clicks"}', "Expected `int`, got `str` - at `$.aid`"),
            (b'{"aid":true,"ts":1659304800025,"type":"clicks"}', "Expected `int`, got `bool` - at `$.aid`"),
            (b'{"aid":-2,"ts":1659304800025,"type":"clicks"}', "aid is not a number of 1 to 18 digits"),
            (b'{"aid":%b,"ts":1659304800025,"type":"clicks"}' % (b"9" * 19), "aid is not a number of 1 to"),
            (b'{"aid":%b,"ts":1659304800025,"type":"clicks"}' % (b"9" * 9999), "out of range - at `$.aid`"),
            (b'{"aid":2,"ts":1659304800025.5,"type":"clicks"}', "Expected `int`, got `float` - at `$.ts`"),
            (b'{"aid":2,"ts":null,"type":"clicks"}', "Expected `int`, got `null` - at `$.ts`"),
            (b'{"aid":2,"ts":1659304800,"type":"clicks"}', "ts is before 2000-01-02"),
            (b'{"aid":2,"ts":-1,"type":"clicks"}', "ts is before 2000-01-02"),
            (b'{"aid":2,"ts":1700000000001,"type":"clicks"}', "ts lies in the future"),
            (b'{"aid":2,"ts":1659304800025,"type":"Clicks"}', "type is not one of orders, carts, clicks"),
            (b'{"aid":2,"ts":1659304800025,"type":"\xff"}', "text is not UTF-8"),
            (b'{"aid":2,"ts":1659304800025,"type":["clicks"]}', "Expected `str`, got `array` - at `$.type`"),
        ],
    )
    def test_a_bad_event_is_reported_with_its_line_and_takes_no_other_with_it(
        self, tmp_path: Path, event: bytes, reason: str
    ) -> None:
        """The events before and after it in its line are rows."""
        first, last = (b'{"aid":%d,"ts":1659304800025,"type":"clicks"}' % aid for aid in (1, 9))
        rows = _read(
            tmp_path,
            _line(5, (7, AT, "carts")),
            b'{"session":4,"events":[' + b",".join((first, event, last, event)) + b"]}\n",
        )

        assert [(row.session, row.article) for row in rows] == [(4, 1), (4, 9), (5, 7)]
        assert (rows.lines, rows.bad) == (2, 2)
        assert [bad.line for bad in rows.bad_lines] == [2, 2]
        assert rows.bad_lines[0].reason.startswith("event 2: ")
        assert rows.bad_lines[1].reason.startswith("event 4: ")
        assert reason in rows.bad_lines[0].reason

    def test_members_that_nobody_asked_for_are_ignored(self, tmp_path: Path) -> None:
        """A log with more in it is still a log."""
        event = f'{{"price":1e3,"type":"carts","ts":{AT},"aid":2}}'
        rows = _read(tmp_path, f'{{"source":[1],"session":1,"events":[{event}],"n":null}}')

        assert list(rows) == [otto.Row(AT, 1, otto.TYPES.index("carts"), 2)]
        assert rows.bad == 0

    def test_values_at_their_limits_are_fine(self, tmp_path: Path) -> None:
        """The largest numbers, the earliest and the latest time, and facts of them that the ledger takes."""
        largest = 10**18 - 1
        rows = _read(
            tmp_path, _line(largest, (largest, 946_771_200_000, "carts"), (0, NOW_MS, "orders")), _line(0)
        )

        assert [(row.session, row.article) for row in rows] == [(largest, largest), (largest, 0)]
        assert [rejection(fact, fact.subject.encode(), NOW_MS) for fact in otto.facts(rows)] == [None, None]

    def test_bad_lines_beyond_the_bound_are_counted_but_not_listed(self, tmp_path: Path) -> None:
        """A large broken file, or one line of nothing but bad events, gives a short report."""
        bad = b'{"session":1,"events":[' + b",".join([b"0"] * 500) + b"]}\n"
        rows = _read(tmp_path, bad, "x\n" * 500, _line(1, (2, AT, "clicks")))

        assert (rows.bad, len(rows.bad_lines)) == (1_000, BAD_LINES_KEPT_MAX)

    @pytest.mark.parametrize(
        "text", ["", "x\n", "1,2,3,pv,1511600000\n", '{"session":1,"events":[]}\n', _line(1, (1, 0, "carts"))]
    )
    def test_a_file_without_a_good_event_is_refused(self, tmp_path: Path, text: str) -> None:
        """All lines bad, or none at all: the error says what the file should look like."""
        with pytest.raises(Misconfigured, match="holds no event of an OTTO log"):
            _read(tmp_path, text)

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        """The error names the file."""
        with pytest.raises(Misconfigured, match=r"nowhere\.jsonl can't be read"):
            otto.read(tmp_path / "nowhere.jsonl")

    def test_windows_line_ends_and_a_missing_last_one_are_fine(self, tmp_path: Path) -> None:
        """CR LF ends a line too, and the last line needs no end."""
        first, last = _line(1, (2, AT, "clicks")), _line(2, (2, AT, "clicks"))

        assert len(_read(tmp_path, first.replace("\n", "\r\n"), last.removesuffix("\n"))) == 2

    def test_a_file_of_too_many_events_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Memory is bounded: beyond `ROWS_MAX` the reader stops and says what to do."""
        monkeypatch.setattr(otto, "ROWS_MAX", 2)
        with pytest.raises(Misconfigured, match="give a part of it"):
            _read(tmp_path, *(_line(n, (2, AT, "clicks")) for n in range(3)))


class TestActivity:
    """What becomes of rows."""

    def test_each_type_becomes_its_fact(self, tmp_path: Path) -> None:
        """clicks, carts and orders are views, cart adds and orders, with ids made of the event."""
        rows = _read(tmp_path, _line(7, (20, AT, "clicks"), (21, AT, "carts"), (22, AT, "orders")))

        order, cart, view = otto.facts(rows)

        assert isinstance(order, f.OrderPlaced)
        assert (order.order_id, order.items) == (f"otto-7-{AT}", ("22",))
        assert isinstance(cart, f.CartUpdated)
        assert (cart.item, cart.change, cart.quantity) == ("21", "added", 1)
        assert isinstance(view, f.ItemViewed)
        assert view.item == "20"
        assert {(fact.app, fact.subject) for fact in (order, cart, view)} == {("otto", "otto-7")}
        assert {fact.occurred_at for fact in (order, cart, view)} == {AT}
        assert view.event_id == hashlib.sha256(b"otto-7\0%d\0clicks\x0020" % AT).hexdigest()[:32]

    def test_orders_of_a_session_at_one_instant_are_one_order(self, tmp_path: Path) -> None:
        """With all its articles, ascending, each once; another instant or session is another order."""
        rows = _read(
            tmp_path,
            _line(7, (9, AT, "orders"), (10, AT, "orders"), (9, AT, "orders"), (9, AT + 1, "orders")),
            _line(8, (9, AT, "orders")),
        )

        found = [fact for fact in otto.facts(rows) if isinstance(fact, f.OrderPlaced)]

        assert [(fact.subject, fact.order_id, fact.items) for fact in found] == [
            ("otto-7", f"otto-7-{AT}", ("9", "10")),
            ("otto-8", f"otto-8-{AT}", ("9",)),
            ("otto-7", f"otto-7-{AT + 1}", ("9",)),
        ]
        assert found[0].event_id == hashlib.sha256(b"otto-7\0%d\0orders\x009,10" % AT).hexdigest()[:32]

    def test_an_order_of_more_than_the_ledger_takes_is_several(self, tmp_path: Path) -> None:
        """No article is lost, and no part becomes a dead letter."""
        count = 2 * ITEMS_MAX + 1
        rows = _read(tmp_path, _line(7, *((aid, AT, "orders") for aid in range(count)), (1, AT, "carts")))

        *orders, cart = otto.facts(rows)

        parts = [(fact.order_id, len(fact.items)) for fact in orders if isinstance(fact, f.OrderPlaced)]
        assert parts == [(f"otto-7-{AT}", 200), (f"otto-7-{AT}-1", 200), (f"otto-7-{AT}-2", 1)]
        assert len({fact.event_id for fact in (*orders, cart)}) == 4
        assert isinstance(cart, f.CartUpdated)
        assert [rejection(fact, b"otto-7", NOW_MS) for fact in orders] == [None] * 3

    def test_copies_do_the_same_at_the_same_times_under_their_own_names(self, tmp_path: Path) -> None:
        """Amplified three times, a session's events of an instant come copy by copy."""
        rows = _read(tmp_path, _line(1, (2, AT, "carts"), (2, AT, "clicks")), _line(2, (2, AT, "clicks")))

        found = list(otto.facts(rows, amplify=3))

        assert [(type(fact).__name__, fact.subject) for fact in found] == [
            (kind, f"otto-1{copy}") for copy in ("", "-c1", "-c2") for kind in ("CartUpdated", "ItemViewed")
        ] + [("ItemViewed", f"otto-2{copy}") for copy in ("", "-c1", "-c2")]
        assert len({fact.event_id for fact in found}) == 9
        assert Counter(fact.source for fact in found) == {"import:otto": 3, "import:otto-copy": 6}

    @pytest.mark.parametrize("amplify", [0, -1, AMPLIFY_MAX + 1])
    def test_an_absurd_amplification_is_refused(self, generated: otto.Rows, amplify: int) -> None:
        """Bounds hold for both kinds of facts."""
        with pytest.raises(Misconfigured, match="amplify must be from 1"):
            next(otto.facts(generated, amplify))
        with pytest.raises(Misconfigured, match="amplify must be from 1"):
            otto.simulated_consent(generated, amplify)

    def test_all_facts_of_a_log_are_pinned(self, generated: otto.Rows) -> None:
        """The same log and seed give the same facts, today and in other versions of Python."""
        everything = (*otto.simulated_consent(generated, 2), *otto.facts(generated, 2))
        digest = hashlib.sha256()
        for fact in everything:
            digest.update(msgspec.json.encode({"kind": type(fact).__name__, **msgspec.to_builtins(fact)}))

        assert len({fact.event_id for fact in everything}) == len(everything)
        assert digest.hexdigest()[:16] == "dc8c660e1bbdc2f3"


class TestSimulatedConsent:
    """What is invented around them."""

    def test_people_live_around_germany(self, generated: otto.Rows) -> None:
        """Most in Berlin's time zone, some elsewhere; a country is DE; some say nothing."""
        seen = [
            fact
            for fact in otto.simulated_consent(generated, amplify=60)
            if isinstance(fact, f.InstallationSeen)
        ]
        zones = Counter(fact.time_zone for fact in seen if fact.time_zone)

        assert set(zones) == {"Europe/Berlin", "Europe/Vienna", "Europe/London", "America/New_York"}
        assert zones["Europe/Berlin"] > 0.85 * zones.total()
        assert {fact.country for fact in seen} == {"DE", None}
        assert any(fact.time_zone is None and fact.country is None for fact in seen)

    def test_where_a_shop_is_changes_the_places_and_nothing_else(self) -> None:
        """For the same subject, China and Germany draw the same life."""
        for number in range(300):
            china, germany = (
                [
                    structs.replace(fact, time_zone=None, country=None)
                    if isinstance(fact, f.InstallationSeen)
                    else fact
                    for fact in consent_of("optin", f"otto-{number}", "otto", SPAN, home)
                ]
                for home in (CHINA, GERMANY)
            )

            assert china == germany

    def test_every_fact_is_admissible_and_says_that_it_is_simulated(self, generated: otto.Rows) -> None:
        """Appended at the log's last instant, no fact is refused; none is later than that instant."""
        last = generated.span.last_ms
        found = list(otto.simulated_consent(generated, amplify=20))
        activity = list(otto.facts(generated, amplify=2))

        assert [
            r for fact in (*found, *activity) if (r := rejection(fact, fact.subject.encode(), last))
        ] == []
        assert max(fact.occurred_at for fact in found) <= last
        assert {fact.source.partition(":")[2] for fact in found} == {"simulated"}
        assert {fact.provider for fact in found if isinstance(fact, f.TokenRegistered)} == {"console"}
        assert len({fact.event_id for fact in found}) == len(found)

    def test_facts_are_published_by_time_then_subject(self, generated: otto.Rows) -> None:
        """The order on the topics is fixed."""
        order = [(fact.occurred_at, fact.subject) for fact in otto.simulated_consent(generated, amplify=5)]

        assert order == sorted(order)
        assert [fact.occurred_at for fact in otto.facts(generated)] == sorted(
            fact.occurred_at for fact in otto.facts(generated)
        )

    def test_activity_names_the_first_installation_of_those_who_have_one(self, generated: otto.Rows) -> None:
        """A subject without a simulated installation acts without one."""
        seen = {
            fact.subject
            for fact in otto.simulated_consent(generated, 4)
            if isinstance(fact, f.InstallationSeen)
        }
        named = {fact.subject: getattr(fact, "installation", "") for fact in otto.facts(generated, 4)}

        assert {who for who, installation in named.items() if installation is None}.isdisjoint(seen)
        assert {who: what for who, what in named.items() if what} == {who: f"{who}-a" for who in seen}
        assert len(seen) < len(named)


class TestRealLog:
    """The published sample: the first and the last ten sessions of the training set."""

    def test_it_holds_what_its_publisher_says(self, real: Path) -> None:
        """20 sessions, 862 events: 800 clicks, 52 carts and 10 orders of 510 articles, all good."""
        rows = otto.read(real)

        assert (rows.lines, len(rows.users()), len(rows)) == (20, 20, 862)
        assert (rows.duplicates, rows.bad) == (0, 0)
        assert Counter(otto.TYPES[row.type] for row in rows) == {"clicks": 800, "carts": 52, "orders": 10}
        assert len({row.article for row in rows}) == 510

    def test_ten_orders_are_five_facts(self, real: Path) -> None:
        """Each other event is a fact of its own, and every article is in one."""
        rows = otto.read(real)
        found = list(otto.facts(rows))

        assert Counter(type(fact).__name__ for fact in found) == {
            "ItemViewed": 800,
            "CartUpdated": 52,
            "OrderPlaced": 5,
        }
        assert sum(len(fact.items) for fact in found if isinstance(fact, f.OrderPlaced)) == 10
        assert len({fact.event_id for fact in found}) == 857

    @pytest.mark.parametrize(("within_h", "followed"), [(1, 5), (24, 7)])
    def test_cart_adds_are_followed_by_orders_as_often_as_counted_elsewhere(
        self, real: Path, within_h: int, followed: int
    ) -> None:
        """Of 52 cart adds, 5 are followed by an order of the same article within an hour, 7 within a day."""
        found = list(otto.facts(otto.read(real)))
        orders = [fact for fact in found if isinstance(fact, f.OrderPlaced)]
        carts = [fact for fact in found if isinstance(fact, f.CartUpdated)]

        assert len(carts) == 52
        assert followed == sum(
            any(
                order.subject == cart.subject
                and cart.item in order.items
                and 0 <= order.occurred_at - cart.occurred_at <= within_h * HOUR_MS
                for order in orders
            )
            for cart in carts
        )

    def test_every_fact_is_admissible(self, real: Path) -> None:
        """Activity and consent, with ten copies: nothing of it would be a dead letter."""
        rows = otto.read(real)
        everything = (*otto.simulated_consent(rows, 10), *otto.facts(rows, 10))
        last = rows.span.last_ms

        assert [r for fact in everything if (r := rejection(fact, fact.subject.encode(), last))] == []
