"""The filter `money` writes an amount in a currency's smallest unit with the decimals of that currency.

{{ trigger.price_minor | money: trigger.currency }}          1980 JPY, 19.80 EUR, 12.500 KWD
{{ trigger.price_minor | money: trigger.currency, 'de' }}    as people who read German write it
"""

from __future__ import annotations

import copy
import re
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, Final

_AMOUNT: Final = re.compile(r"-?[0-9]{1,18}")
_DECIMALS: Final = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF"), 0),
    **dict.fromkeys(("UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
"""ISO 4217's minor units where they are not two. CLDR's differ: they are of what people pay in cash."""
_NO_MONEY: Final = frozenset(
    {"XAG", "XAU", "XBA", "XBB", "XBC", "XBD", "XDR", "XPD", "XPT", "XSU", "XTS", "XUA", "XXX"}
)
"""Metals, units of account and codes for tests, which have no minor unit."""

_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,2}")


def decimals(currency: str) -> int:
    """How many decimals a currency has by ISO 4217. Raises ValueError for what is no currency."""
    if currency not in _currencies():
        raise ValueError(currency)
    return _DECIMALS.get(currency, 2)


def money(amount: object, currency: object, language: object = None) -> str:
    """An amount of the smallest unit as people read it, neutrally or by a language (`de`, `de_CH`).

    Raises ValueError for what is no whole amount, no currency, or no language that is known.
    """
    code, written = str(currency).upper(), str(amount)
    if isinstance(amount, bool | float) or not _AMOUNT.fullmatch(written):
        raise ValueError(amount)
    places = decimals(code)
    value = Decimal(written).scaleb(-places)
    if language is None:
        return f"{value:f} {code}"
    locale = _locale(str(language))
    pattern = copy.copy(locale.currency_formats["standard"])
    pattern.frac_prec = (places, places)
    return str(pattern.apply(value, locale, currency=code, currency_digits=False))


@cache
def _currencies() -> frozenset[str]:
    from babel.numbers import list_currencies

    return frozenset(code for code in list_currencies() if code not in _NO_MONEY)


@lru_cache(256)
def _locale(language: str) -> Any:
    from babel import Locale, UnknownLocaleError

    if not _LANGUAGE.fullmatch(language):
        raise ValueError(language)
    try:
        return Locale.parse(language.replace("-", "_"))
    except (UnknownLocaleError, ValueError, TypeError) as error:
        raise ValueError(language) from error
