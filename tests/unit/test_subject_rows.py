"""What the handler of subjects' rows goes by."""

from __future__ import annotations

from connectors.rules.cel import CelRules
from connectors.rules.liquid import LiquidTexts
from ledger import definitions as d
from processors.agents import subject_rows
from processors.agents.subject_rows import SubjectHandler
from processors.lane.table import LaneTable, Partition
from processors.lane.transaction import Transaction
from tests.support.given import NOON, ZONES, journey, policy


def test_a_body_that_is_published_later_is_known() -> None:
    """Also where nothing was activated: a campaign is launched while the worker runs."""
    bodies: dict[str, d.Body] = {}
    definitions = d.in_force(policy(), (journey(),), {})
    bodies.update(definitions.bodies)
    table = LaneTable("changelog", subject_rows.ROWS)
    table.partitions[0] = Partition()
    handler = SubjectHandler(definitions, ZONES, CelRules(), LiquidTexts(), 1, bodies=bodies)
    handler.setting(Transaction(table, 0, NOON))
    flow = journey()
    campaign = d.Campaign(app="shop", rule="true", per_second=1, flow=flow)
    bodies["later"] = campaign
    found = handler.setting(Transaction(table, 0, NOON)).definitions

    assert found.bodies["later"] is campaign
    assert found.journey("later") is flow
