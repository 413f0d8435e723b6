"""The IANA zones and countries of the `tzdata` package, as the core's `ZoneTable`.

Always from the package, never from the machine: the same release gives the same decisions everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import tzinfo
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from zoneinfo import ZoneInfo

from ledger.time_zones import ZoneTable


class _Zones(Mapping[str, tzinfo]):
    """Zones by name, read from the package when first asked for."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._read: dict[str, tzinfo] = {}

    def __getitem__(self, name: str) -> tzinfo:
        zone = self._read.get(name)
        if zone is None:
            if name not in self._names:
                raise KeyError(name)
            with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
                zone = self._read[name] = ZoneInfo.from_file(file, key=name)
        return zone

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def __len__(self) -> int:
        return len(self._names)


@cache
def zone_table() -> ZoneTable:
    """All zones and, for each country (ISO 3166), the zones in use there."""
    names = files("tzdata").joinpath("zones").read_text().split()
    countries: dict[str, list[str]] = {}
    for line in files("tzdata").joinpath("zoneinfo", "zone.tab").read_text().splitlines():
        if line and not line.startswith("#"):
            country, _, zone = line.split("\t")[:3]
            countries.setdefault(country, []).append(zone)
    return ZoneTable(
        zones=_Zones(frozenset(names)),
        countries={country: tuple(sorted(zones)) for country, zones in countries.items()},
        release=version("tzdata"),
    )
