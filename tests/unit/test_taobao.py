"""The Taobao reader, its facts, and the simulated consent around them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from connectors.datasets import taobao
from connectors.datasets.hash_rule import SHARES, TICKETS, Person, choose
from connectors.datasets.recorded_log import AMPLIFY_MAX, BAD_LINES_KEPT_MAX
from connectors.datasets.simulated_consent import CHINA, GERMANY, Home, Span, consent_of
from connectors.errors import Misconfigured
from ledger import facts as f
from ledger.admission import rejection
from tests.support import generated_log, recompute

NOW_S = 1_600_000_000
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "simulated-facts.md"
SPAN = Span(1_511_539_200_000, 1_512_316_800_000)


def _log(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "log.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _read(tmp_path: Path, text: str | bytes) -> taobao.Rows:
    return taobao.read(_log(tmp_path, text), now_s=NOW_S)


@pytest.fixture(name="generated")
def _generated(tmp_path: Path) -> taobao.Rows:
    path = tmp_path / "generated.csv"
    generated_log.write(path, users=30)
    return taobao.read(path, now_s=NOW_S)


class TestReading:
    """What becomes of lines."""

    def test_exact_duplicates_count_once(self, tmp_path: Path) -> None:
        """A row that is equal in all five fields counts once, wherever its copy stands."""
        rows = _read(tmp_path, "1,2,3,pv,1511600000\n1,2,3,pv,1511600001\n1,2,3,pv,1511600000\n")

        assert [(row.time_s, row.item) for row in rows] == [(1511600000, 2), (1511600001, 2)]
        assert (rows.lines, len(rows), rows.duplicates, rows.bad) == (3, 2, 1, 0)

    def test_a_row_that_differs_in_one_field_is_no_duplicate(self, tmp_path: Path) -> None:
        """Two categories of the same item at the same time are two rows."""
        assert len(_read(tmp_path, "1,2,3,pv,1511600000\n1,2,4,pv,1511600000\n")) == 2

    def test_rows_are_sorted_by_time_user_behaviour_item_as_numbers(self, tmp_path: Path) -> None:
        """At one instant: by user as a number, then buy, cart, fav, pv, then by item as a number."""
        text = (
            "9,1,1,pv,1511600000\n10,1,1,pv,1511600000\n9,1,1,fav,1511600000\n9,10,1,cart,1511600000\n"
            "9,9,1,cart,1511600000\n9,1,1,buy,1511600000\n10,5,1,pv,1511599999\n"
        )

        found = [(row.user, taobao.BEHAVIOURS[row.behaviour], row.item) for row in _read(tmp_path, text)]

        assert found == [
            (10, "pv", 5),
            (9, "buy", 1),
            (9, "cart", 9),
            (9, "cart", 10),
            (9, "fav", 1),
            (9, "pv", 1),
            (10, "pv", 1),
        ]

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("user_id,item_id,category_id,behavior,timestamp", "user is not a number"),
            ("1,2,3,pv", "expected 5 fields, found 4"),
            ("1,2,3,pv,1511600000,x", "expected 5 fields, found 6"),
            ("", "expected 5 fields, found 1"),
            ("1,2,3,share,1511600000", "behaviour is not one of buy, cart, fav, pv"),
            ("1,two,3,pv,1511600000", "item is not a number"),
            ("1,2,3,pv,-1511600000", "time is not a number"),
            ("1,2, 3,pv,1511600000", "category is not a number"),
            ("1,2,1234567890123456789,pv,1511600000", "category is not a number of 1 to 18 digits"),
            ("1,2,3,pv,946771199", "time is before 2000-01-02"),
            ("1,2,3,pv,1600000001", "time lies in the future"),
            ("\N{ARABIC-INDIC DIGIT ONE},2,3,pv,1511600000", "user is not a number"),
            ("1" * 1000 + ",2,3,pv,1511600000", "expected 5 fields, found 1"),
        ],
    )
    def test_a_bad_line_is_reported_with_its_number_and_left_out(
        self, tmp_path: Path, line: str, reason: str
    ) -> None:
        """The good lines around it are rows, and the lines after it keep their numbers."""
        rows = _read(tmp_path, f"1,2,3,pv,1511600000\n{line}\n1,2,3,pv,1511600005\nnonsense\n")

        assert [row.time_s for row in rows] == [1511600000, 1511600005]
        assert (rows.lines, rows.bad) == (4, 2)
        assert [bad.line for bad in rows.bad_lines] == [2, 4]
        assert reason in rows.bad_lines[0].reason

    def test_bad_lines_beyond_the_bound_are_counted_but_not_listed(self, tmp_path: Path) -> None:
        """A large broken file gives a short report."""
        rows = _read(tmp_path, "x\n" * 500 + "1,2,3,pv,1511600000\n")

        assert (rows.bad, len(rows.bad_lines)) == (500, BAD_LINES_KEPT_MAX)

    @pytest.mark.parametrize("text", ["", "x\n", "a,b\nc,d\n"])
    def test_a_file_without_a_good_row_is_refused(self, tmp_path: Path, text: str) -> None:
        """All lines bad, or none at all: the error says what the file should look like."""
        with pytest.raises(Misconfigured, match="holds no row of a Taobao UserBehavior log"):
            _read(tmp_path, text)

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        """The error names the file."""
        with pytest.raises(Misconfigured, match=r"nowhere\.csv can't be read"):
            taobao.read(tmp_path / "nowhere.csv")

    def test_windows_line_ends_and_a_missing_last_one_are_fine(self, tmp_path: Path) -> None:
        """CR LF ends a line too, and the last line needs no end."""
        assert len(_read(tmp_path, b"1,2,3,pv,1511600000\r\n1,2,3,buy,1511600001")) == 2

    def test_a_file_of_too_many_rows_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Memory is bounded: beyond `ROWS_MAX` the reader stops and says what to do."""
        monkeypatch.setattr(taobao, "ROWS_MAX", 2)
        with pytest.raises(Misconfigured, match="give a part of it"):
            _read(tmp_path, "".join(f"1,2,3,pv,151160000{n}\n" for n in range(3)))


class TestActivity:
    """What becomes of rows."""

    def test_each_behaviour_becomes_its_fact(self, tmp_path: Path) -> None:
        """pv, fav, cart and buy are views, saves, cart adds and orders, with ids made of the row."""
        rows = _read(
            tmp_path,
            "7,20,3,buy,1511600000\n7,21,3,cart,1511600000\n7,22,3,fav,1511600000\n7,23,4,pv,1511600000\n",
        )

        order, cart, save, view = taobao.facts(rows)

        assert isinstance(order, f.OrderPlaced)
        assert (order.order_id, order.items) == ("tb-7-1511600000-20", ("20",))
        assert isinstance(cart, f.CartUpdated)
        assert (cart.item, cart.change, cart.category) == ("21", "added", "3")
        assert isinstance(save, f.ItemSaved)
        assert isinstance(view, f.ItemViewed)
        assert {fact.subject for fact in (order, cart, save, view)} == {"tb-7"}
        assert {fact.occurred_at for fact in (order, cart, save, view)} == {1511600000000}
        assert view.event_id == hashlib.sha256(b"tb-7\x001511600000\0pv\x0023\x004").hexdigest()[:32]

    def test_copies_do_the_same_at_the_same_times_under_their_own_names(self, tmp_path: Path) -> None:
        """Amplified three times, a user's rows of a second come copy by copy."""
        rows = _read(tmp_path, "1,2,3,cart,1511600000\n1,2,3,pv,1511600000\n2,2,3,pv,1511600000\n")

        found = list(taobao.facts(rows, amplify=3))

        assert [(type(fact).__name__, fact.subject) for fact in found] == [
            (kind, f"tb-1{copy}") for copy in ("", "-c1", "-c2") for kind in ("CartUpdated", "ItemViewed")
        ] + [("ItemViewed", f"tb-2{copy}") for copy in ("", "-c1", "-c2")]
        assert len({fact.event_id for fact in found}) == 9
        assert Counter(fact.source for fact in found) == {"import:taobao": 3, "import:taobao-copy": 6}

    def test_activity_names_the_first_installation_of_those_who_have_one(
        self, generated: taobao.Rows
    ) -> None:
        """A subject without a simulated installation acts without one; so `last_active` moves for others."""
        seen = {
            fact.subject
            for fact in taobao.simulated_consent(generated, 4)
            if isinstance(fact, f.InstallationSeen)
        }
        named = {fact.subject: getattr(fact, "installation", "") for fact in taobao.facts(generated, 4)}

        assert {who for who, installation in named.items() if installation is None}.isdisjoint(seen)
        assert {who: what for who, what in named.items() if what} == {who: f"{who}-a" for who in seen}
        assert len(seen) < len(named)

    @pytest.mark.parametrize("amplify", [0, -1, AMPLIFY_MAX + 1])
    def test_an_absurd_amplification_is_refused(self, generated: taobao.Rows, amplify: int) -> None:
        """Bounds hold for both kinds of facts."""
        with pytest.raises(Misconfigured, match="amplify must be from 1"):
            next(taobao.facts(generated, amplify))
        with pytest.raises(Misconfigured, match="amplify must be from 1"):
            taobao.simulated_consent(generated, amplify)

    def test_all_facts_of_a_log_are_pinned(self, generated: taobao.Rows) -> None:
        """The same log and seed give the same facts, today and in other versions of Python."""
        everything = (*taobao.simulated_consent(generated, 2), *taobao.facts(generated, 2))
        digest = hashlib.sha256()
        for fact in everything:
            digest.update(msgspec.json.encode({"kind": type(fact).__name__, **msgspec.to_builtins(fact)}))

        assert digest.hexdigest()[:16] == "9c777a2703dd4595"


class TestSimulatedConsent:
    """What is invented around them."""

    def test_the_published_table_is_the_table_in_use(self) -> None:
        """docs/reference/simulated-facts.md shows every draw with its outcomes and tickets, in order."""
        lines = re.findall(r"^\| `(\w+)` \| (.* \d+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)

        assert lines == [
            (name, ", ".join(f"{outcome} {tickets}" for outcome, tickets in shares))
            for name, shares in SHARES.items()
        ]

    @pytest.mark.parametrize("name", SHARES)
    def test_drawn_shares_are_the_published_ones(self, name: str) -> None:
        """Of 4,000 subjects, each outcome is drawn as often as its tickets say, within five sigma."""
        people = 4_000
        drawn = Counter(Person("optin", f"tb-{number}").pick(name) for number in range(people))

        assert sum(tickets for _, tickets in SHARES[name]) == TICKETS
        for outcome, tickets in SHARES[name]:
            share = tickets / TICKETS
            sigma = (people * share * (1 - share)) ** 0.5
            assert abs(drawn[outcome] - people * share) <= 5 * sigma, outcome

    def test_the_ticket_decides_at_the_border(self) -> None:
        """The last ticket of an outcome is still its own, the next one belongs to the next."""
        shares = (("first", 2500), ("second", 7500))

        assert choose((2500 << 64) // TICKETS - 1, shares) == "first"
        assert choose(-((-2500 << 64) // TICKETS), shares) == "second"
        assert choose((1 << 64) - 1, shares) == "second"

    def test_shares_that_do_not_sum_up_are_caught(self) -> None:
        """A ticket that nobody holds is a bug of the table."""
        with pytest.raises(ValueError, match="must sum to"):
            choose((1 << 64) - 1, (("only", 9_999),))

    def test_another_seed_is_another_world(self) -> None:
        """The seed enters every draw."""
        worlds = [
            [consent_of(seed, f"tb-{n}", "taobao", SPAN, CHINA) for n in range(50)] for seed in ("a", "b")
        ]

        assert worlds[0] != worlds[1]

    @pytest.mark.parametrize(
        ("home", "shop"), [(CHINA, recompute.TAOBAO), (GERMANY, recompute.OTTO)], ids=["taobao", "otto"]
    )
    def test_both_implementations_of_the_rule_make_the_same_facts(
        self, home: Home, shop: recompute.Shop
    ) -> None:
        """Code and recomputation agree on every simulated instant, kind and place of 1,500 subjects."""
        kinds = {
            "InstallationSeen": "seen",
            "PermissionGranted": "permission",
            "PermissionDenied": "permission",
            "PermissionRevoked": "permission",
            "PermissionObserved": "permission",
            "TokenRegistered": "token",
            "TokenInvalidated": "token_dead",
            "TopicSubscribed": "topic",
            "TopicUnsubscribed": "topic",
            "FrequencyChosen": "frequency",
            "QuietHoursChosen": "quiet",
            "MarketingPaused": "pause",
            "MarketingResumed": "pause",
            "SubjectSuppressed": "suppression",
            "SubjectReleased": "suppression",
            "SubjectErased": "erased",
        }
        met = set()
        for number in range(1_500):
            subject = f"{shop.prefix}-{number}"
            ours = consent_of("optin", subject, "app", SPAN, home)
            theirs = list(recompute.Person(subject, "optin", SPAN.first_ms, SPAN.last_ms, shop).facts())
            met |= {type(fact).__name__ for fact in ours}

            assert sorted((fact.occurred_at, kinds[type(fact).__name__]) for fact in ours) == sorted(
                (event.at, event.kind) for event in theirs
            )
            assert [
                (fact.installation, fact.time_zone, fact.country)
                for fact in ours
                if isinstance(fact, f.InstallationSeen)
            ] == [
                (event.about["id"], event.about["zone"], event.about["country"])
                for event in theirs
                if event.kind == "seen"
            ]
        assert met == set(kinds)

    def test_every_fact_is_admissible_and_says_that_it_is_simulated(self, generated: taobao.Rows) -> None:
        """Appended at the log's last instant, no fact is refused; none is later than that instant."""
        last = generated.span.last_ms
        found = list(taobao.simulated_consent(generated, amplify=20))

        assert [rejection(fact, fact.subject.encode(), last) for fact in found] == [None] * len(found)
        assert max(fact.occurred_at for fact in found) <= last
        assert {fact.source.partition(":")[2] for fact in found} == {"simulated"}
        assert {fact.provider for fact in found if isinstance(fact, f.TokenRegistered)} == {"console"}
        assert len({fact.event_id for fact in found}) == len(found)

    def test_facts_are_published_by_time_then_subject(self, generated: taobao.Rows) -> None:
        """The order on the topics is fixed."""
        order = [(fact.occurred_at, fact.subject) for fact in taobao.simulated_consent(generated, amplify=5)]

        assert order == sorted(order)

    def test_a_log_of_one_instant_has_no_fact_after_it(self, tmp_path: Path) -> None:
        """The shortest span still has room for everything: nothing lies in the future."""
        rows = _read(tmp_path, "1,2,3,cart,1511600000\n")

        assert all(fact.occurred_at <= 1511600000000 for fact in taobao.simulated_consent(rows, amplify=500))
