"""Hypothesis strategies for histories of one subject: few values, so that they collide often."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

from ledger import facts as f
from ledger.consent import token_id
from ledger.token_loss import CAUSES
from tests.support.given import ANN, NOON

TIMES: Final = st.integers(0, 12).map(lambda number: NOON + number * 100_000)
"""Around the skew of 300,000 ms, with many equal ones."""

SOURCES: Final = st.sampled_from(["device", "server", "server:crm", "import", "processor"])
INSTALLATIONS: Final = st.sampled_from(["phone", "tablet"])
PERMISSIONS: Final = st.sampled_from([*f.PERMISSIONS, "a_newer_apps_word"])
UNTIL: Final = st.none() | TIMES
TOKEN_IDS: Final = st.sampled_from(["one", "two", "three"])

Dated = tuple[f.SubjectFact, int]
"""A fact and its first append (ms)."""


@st.composite
def _fact(draw: st.DrawFn, /, kind: type[f.SubjectFact], **fields: st.SearchStrategy[Any]) -> Dated:
    at, source = draw(TIMES), draw(SOURCES)
    sequence = draw(st.none() | st.integers(0, 5)) if source == "device" else None
    values = {name: draw(strategy) for name, strategy in fields.items()}
    identity = f"{kind.__name__}-{at}-{source}-{sequence}-{sorted(values.items(), key=str)}"
    fact = kind(
        event_id=identity,
        app="shop",
        occurred_at=at,
        source=source,
        sequence=sequence,
        subject=ANN,
        **values,
    )
    return fact, draw(TIMES)


PERMISSION_FACTS: Final = st.one_of(
    _fact(f.PermissionGranted, installation=INSTALLATIONS, level=PERMISSIONS),
    _fact(f.PermissionDenied, installation=INSTALLATIONS),
    _fact(f.PermissionRevoked, installation=INSTALLATIONS, cause=st.sampled_from(["os_settings", "token"])),
    _fact(f.PermissionObserved, installation=INSTALLATIONS, permission=PERMISSIONS),
)

OTHER_CONSENT_FACTS: Final = st.one_of(
    _fact(
        f.InstallationSeen,
        installation=INSTALLATIONS,
        platform=st.sampled_from(["ios", "web"]),
        time_zone=st.sampled_from([None, "Europe/Berlin", "Asia/Tokyo"]),
        country=st.sampled_from([None, "DE", "US"]),
    ),
    _fact(f.TokenRegistered, installation=INSTALLATIONS, provider=st.just("console"), token=TOKEN_IDS),
    _fact(
        f.TokenInvalidated,
        installation=INSTALLATIONS,
        token_id=TOKEN_IDS.map(lambda token: token_id("console", token)),
        reason=st.just("gone"),
        cause=st.sampled_from(CAUSES),
        last_seen_ok=st.none() | TIMES,
        first_seen_gone=st.none() | TIMES,
    ),
    _fact(f.InstallationLinked, installation=INSTALLATIONS, claim=st.just("c")),
    _fact(f.InstallationUnlinked, installation=INSTALLATIONS, claim=st.just("c")),
    _fact(f.TopicSubscribed, topic=st.sampled_from(["carts", "news"])),
    _fact(f.TopicUnsubscribed, topic=st.sampled_from(["carts", "news"])),
    _fact(
        f.FrequencyChosen,
        max_pushes=st.integers(0, 3),
        window=st.sampled_from(["rolling_day", "calendar_week"]),
    ),
    _fact(f.QuietHoursChosen, start_minute=st.integers(0, 1439), end_minute=st.integers(0, 1439)),
    _fact(f.MarketingPaused, until=UNTIL),
    _fact(f.MarketingResumed),
    _fact(f.SubjectSuppressed, reason=st.sampled_from(["legal", "bounced"]), until=UNTIL),
    _fact(f.SubjectReleased, reason=st.sampled_from(["legal", "bounced"])),
)

CONSENT_FACTS: Final = st.one_of(PERMISSION_FACTS, OTHER_CONSENT_FACTS)
HISTORIES: Final = st.lists(CONSENT_FACTS, max_size=20)
"""Without erasure, which makes all else trivial; laws that need it add it."""
