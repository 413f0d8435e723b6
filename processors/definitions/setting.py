"""The setting of a fold without a lane: for cases, simulated people and benchmarks."""

from __future__ import annotations

from connectors.rules.cel import CelRules
from connectors.rules.liquid import LiquidTexts
from connectors.time_zones import zone_table
from ledger.definitions import Definitions
from ledger.setting import Setting


def setting_of(definitions: Definitions) -> Setting:
    """These definitions with our rules, texts and zones; nothing was read of the ledger."""
    return Setting(definitions, zone_table(), CelRules(), LiquidTexts(), 0, 0)
