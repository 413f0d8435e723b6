"""Names of the topics that our processors use; their configuration is in `schemas/topics.yaml`."""

from __future__ import annotations

from typing import Final

PERMISSIONS: Final = "optin.permissions"
TOKENS: Final = "optin.tokens"
ACTIVITY: Final = "optin.activity"
LINKS: Final = "optin.links"
ITEMS: Final = "optin.items"
DECISIONS: Final = "optin.decisions"
DELIVERIES: Final = "optin.deliveries"
DEAD_LETTERS: Final = "optin.dead-letters"
WATCHES: Final = "optin.watches"
ITEM_CHANGES: Final = "optin.item-changes"
CONTROL: Final = "optin.control"
REPLIES: Final = "optin.replies"
DEFINITIONS: Final = "optin.definitions"
JOURNEYS_CHANGELOG: Final = "optin.journeys-subjects-changelog"
LINKS_CHANGELOG: Final = "optin.journeys-links-changelog"
ITEMS_CHANGELOG: Final = "optin.journeys-items-changelog"
CONSENT_CHANGELOG: Final = "optin.delivery-consent-changelog"
SENDS_CHANGELOG: Final = "optin.delivery-sends-changelog"

LANE_OUTPUTS: Final = (DECISIONS, DELIVERIES, DEAD_LETTERS, REPLIES)
"""All topics that transactions of lanes append to, beside the lane's changelog."""
