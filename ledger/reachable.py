"""Whether a journey's marketing is welcome at all: what an opt-out takes back."""

from __future__ import annotations

from ledger.consent import Consent
from ledger.effective import effective
from ledger.gate import MARKETING
from ledger.journey import Journey
from ledger.policy import Policy


def welcome(consent: Consent, app: str, journey: Journey, policy: Policy) -> bool:
    """Whether some installation may get marketing and some topic of the journey's is on.

    False for a journey without marketing: nobody opts out of what needs no opt-in.
    """
    if not consent.installations:
        return False
    topics = {push.message.topic for push in journey.pushes if push.message.category == MARKETING}
    if not any(_is_on(consent, topic, policy) for topic in topics):
        return False
    prefix = f"{app}/"
    return any(
        key.startswith(prefix) and effective(installation).permission in policy.marketing_permissions
        for key, installation in consent.installations.items()
    )


def _is_on(consent: Consent, topic: str, policy: Policy) -> bool:
    choice = consent.topics.get(topic)
    return topic in policy.topics_on if choice is None else choice.on
