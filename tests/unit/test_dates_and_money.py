"""Texts of dates and prices: the clock is the person's, and the decimals are the currency's."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from connectors.rules.liquid import LiquidTexts
from connectors.rules.money import decimals, money
from ledger.profile import Attribute, Profile
from ledger.rules import values
from tests.support.given import NOON, message

RENEWS: Final = "1772467200"
"""2026-03-02 16:00 UTC."""
TEXTS: Final = LiquidTexts()


def said(body: str, *zones: str, value: str = RENEWS) -> str:
    """What a text says to somebody in these zones, or what it misses."""
    profile = Profile(attributes={"v": Attribute(value, 0)})
    known = values(profile, NOON, zones=tuple(map(ZoneInfo, zones)))
    text = TEXTS.render(message(body=body), known)
    return text.body or f"misses {text.missing}"


@pytest.mark.parametrize(
    "value", ["1772467200000", RENEWS, "2026-03-02T16:00:00Z", "2026-03-02 17:00+01:00", "2026-03-02 16:00"]
)
@pytest.mark.parametrize(
    ("zone", "written"),
    [
        ("Europe/Berlin", "02.03. 17:00"),
        ("America/New_York", "02.03. 11:00"),
        ("Asia/Tokyo", "03.03. 01:00"),
        ("UTC", "02.03. 16:00"),
    ],
)
def test_a_date_is_of_the_clock_of_the_person(value: str, zone: str, written: str) -> None:
    """However the instant is written."""
    assert said("{{ attributes.v | date: '%d.%m. %H:%M' }}", zone, value=value) == written


@pytest.mark.parametrize("zone", ["Pacific/Apia", "Pacific/Niue", "Europe/Berlin"])
def test_a_day_without_a_time_is_that_day_everywhere(zone: str) -> None:
    """A birthday does not move."""
    assert said("{{ attributes.v | date: '%d.%m.' }}", zone, value="2026-03-02") == "02.03."


def test_now_is_the_instant_of_the_decision() -> None:
    """By the person's clock, too."""
    assert said("{{ 'now' | date: '%Y-%m-%d %H:%M' }}", "Asia/Tokyo") == "2026-03-02 21:00"


def test_a_clock_that_may_differ_is_not_shown() -> None:
    """Of somebody in one of several zones, or of whom no zone is known: only what is the same in all."""
    hour, day = "{{ attributes.v | date: '%H:%M' }}", "{{ attributes.v | date: '%d.%m.' }}"

    assert said(hour, "America/New_York", "America/Chicago") == "misses time_zone"
    assert said(day, "America/New_York", "America/Chicago") == "02.03."
    assert said(hour, "Europe/Berlin", "Europe/Paris") == "17:00"
    assert said(hour) == said("{{ attributes.v | date: '%M' }}") == "misses time_zone"
    assert said("{{ attributes.v | date: '%Y' }}") == "2026"


def test_a_text_can_name_the_zone_that_it_means() -> None:
    """The shop's hours are those of the shop; a zone that does not exist has no clock."""
    assert said("{{ attributes.v | date: '%H:%M', 'Asia/Tokyo' }}", "Europe/Berlin") == "01:00"
    assert said("{{ attributes.v | date: '%H:%M', 'Asia/Tokio' }}", "Europe/Berlin").startswith("misses")


@pytest.mark.parametrize("machine", ["America/New_York", "Asia/Tokyo"])
def test_the_zone_of_the_machine_does_not_count(machine: str) -> None:
    """A worker elsewhere writes the same."""
    code = f"from tests.unit.test_dates_and_money import said; print(said({_BOTH!r}, 'Europe/Berlin'))"
    run = subprocess.run(
        [sys.executable, "-c", code], env={"TZ": machine}, check=True, capture_output=True, timeout=60
    )

    assert run.stdout.decode().strip() == said(_BOTH, "Europe/Berlin") == "17:00 02.03."


_BOTH: Final = "{{ attributes.v | date: '%H:%M' }} {{ 'now' | date: '%d.%m.' }}"


@pytest.mark.parametrize(
    ("currency", "neutral", "german"),
    [
        ("EUR", "1980.50 EUR", "1.980,50 €"),
        ("JPY", "198050 JPY", "198.050 ¥"),
        ("KWD", "198.050 KWD", "198,050 KWD"),
        ("IQD", "198.050 IQD", "198,050 IQD"),
        ("HUF", "1980.50 HUF", "1.980,50 HUF"),
        ("CLF", "19.8050 CLF", "19,8050 CLF"),
        ("usd", "1980.50 USD", "1.980,50 $"),
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(currency: str, neutral: str, german: str) -> None:
    """By ISO 4217, also where people pay in cash without them."""
    assert money(198_050, currency) == neutral
    assert money("198050", currency, "de").replace("\xa0", " ") == german


@pytest.mark.parametrize(
    ("amount", "currency", "language"),
    [
        (1.5, "EUR", None),
        ("1.5", "EUR", None),
        (True, "EUR", None),
        ("", "EUR", None),
        (10**19, "EUR", None),
        (1, "COINS", None),
        (1, "XXX", None),
        (1, "XAU", None),
        (1, "", None),
        (1, 978, None),
        (1, "EUR", "klingon"),
        (1, "EUR", "../root"),
        (1, "EUR", "xx"),
    ],
)
def test_what_is_no_price_is_refused(amount: Any, currency: Any, language: Any) -> None:
    """Never shown as another amount."""
    with pytest.raises(ValueError):  # noqa: PT011 - it names the value, whatever that is
        money(amount, currency, language)


def test_a_text_with_a_price_in_no_currency_is_withheld() -> None:
    """The filter's refusal is the text's."""
    assert said("{{ 1980 | money: 'COINS' }}") == "misses ValueError"
    assert said("{{ 1980 | money: attributes.v }}", value="JPY") == "1980 JPY"
    assert decimals("JPY") == 0
