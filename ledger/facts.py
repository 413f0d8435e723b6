"""The facts of the ledger as frozen values; one class for each schema in `schemas/facts`.

A fact says, in the past tense, what happened. Every fact carries the envelope:

`event_id`     unique id of this fact; the same fact published twice keeps its id.
`app`          the app it happened in.
`occurred_at`  milliseconds since 1970-01-01 UTC, by the clock of whoever saw it.
`source`       who says so: `<origin>` or `<origin>:<detail>`, origin one of `ORIGINS`.
               Simulated facts say so in the detail (`device:simulated`).
`sequence`     the installation's own counter, where it keeps one; orders facts that its clock can't.

Facts on permission, and claims, carry `counter_since` where the installation says when that counter began
(ms, by its own clock): a later one says that the counter began anew, and its numbers count as higher.


Facts about a person carry `subject`, which is also the record's key; see `key_of` for the others.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

ORIGINS: Final = ("device", "server", "import", "processor")
"""`device`: the app itself saw it. `server`: an app backend. `import`: a back-fill. `processor`: us."""

PERMISSIONS: Final = (
    "denied",
    "not_determined",
    "pre_granted",
    "provisional",
    "ephemeral",
    "authorized",
)
"""What an operating system says, the more private first: at equal times the earlier entry wins."""

WINDOWS: Final = (
    "rolling_day",
    "rolling_week",
    "rolling_month",
    "calendar_day",
    "calendar_week",
    "calendar_month",
)
"""Windows of a frequency cap. Rolling: 24 h, 7 days, 30 days. Calendar: local day, ISO week, month."""


class Fact(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The envelope that every fact carries.

    `gc=False`, here and in the state: these values hold no cycles, and Python's collector would
    otherwise walk through millions of them again and again.
    """

    event_id: str
    app: str
    occurred_at: int
    source: str
    sequence: int | None = None


class SubjectFact(Fact, frozen=True, kw_only=True):
    """A fact about one person; `subject` is the key of its record."""

    subject: str


class ActivityFact(SubjectFact, frozen=True, kw_only=True):
    """What a subject did in the app, or what became of it there; says nothing of consent."""


class ItemFact(Fact, frozen=True, kw_only=True):
    """A fact about an item of the catalogue; `item` is the key of its record."""

    item: str


# -- permissions -----------------------------------------------------------------------------------


class InstallationSeen(SubjectFact, frozen=True, kw_only=True):
    """An installation told who and where it is. `platform`: ios, android or web."""

    installation: str
    platform: str
    time_zone: str | None = None
    country: str | None = None


class PromptShown(SubjectFact, frozen=True, kw_only=True):
    """The subject saw a prompt: `primer` (our own screen) or `os` (the system's dialog)."""

    installation: str
    prompt: str
    context: str
    copy_version: str | None = None


class PromptAnswered(SubjectFact, frozen=True, kw_only=True):
    """The subject answered a prompt: accepted, declined or dismissed."""

    installation: str
    prompt: str
    context: str
    answer: str
    copy_version: str | None = None


class PermissionGranted(SubjectFact, frozen=True, kw_only=True):
    """The system now lets this installation notify; `level` is one of the granting `PERMISSIONS`."""

    installation: str
    level: str
    context: str | None = None
    counter_since: int | None = None


class PermissionDenied(SubjectFact, frozen=True, kw_only=True):
    """The subject refused when asked."""

    installation: str
    context: str | None = None
    counter_since: int | None = None


class PermissionRevoked(SubjectFact, frozen=True, kw_only=True):
    """A permission that had been given was taken back; `cause` says how we know."""

    installation: str
    cause: str
    counter_since: int | None = None


class PermissionObserved(SubjectFact, frozen=True, kw_only=True):
    """The app reported the state that it found, not a change that it saw."""

    installation: str
    permission: str
    counter_since: int | None = None


class TopicSubscribed(SubjectFact, frozen=True, kw_only=True):
    """The subject wants messages of this preference topic."""

    topic: str


class TopicUnsubscribed(SubjectFact, frozen=True, kw_only=True):
    """The subject wants no messages of this preference topic."""

    topic: str


class FrequencyChosen(SubjectFact, frozen=True, kw_only=True):
    """The subject accepts at most `max_pushes` marketing pushes per `window` (one of `WINDOWS`)."""

    max_pushes: int
    window: str


class QuietHoursChosen(SubjectFact, frozen=True, kw_only=True):
    """The subject wants silence from `start_minute` to `end_minute` of the local day; equal: none."""

    start_minute: int
    end_minute: int


class MarketingPaused(SubjectFact, frozen=True, kw_only=True):
    """No marketing until `until` (ms), or until resumed."""

    until: int | None = None


class MarketingResumed(SubjectFact, frozen=True, kw_only=True):
    """A pause is over."""


class SubjectSuppressed(SubjectFact, frozen=True, kw_only=True):
    """Somebody must not be addressed for `reason`, until `until` (ms) or until released."""

    reason: str
    until: int | None = None


class SubjectReleased(SubjectFact, frozen=True, kw_only=True):
    """The suppression for `reason` is over."""

    reason: str


class SubjectErased(SubjectFact, frozen=True, kw_only=True):
    """The subject asked to be forgotten. Final: nothing later brings the subject back."""


class LinkFact(SubjectFact, frozen=True, kw_only=True):
    """Whose an installation is; written by our identity linker alone. `claim`: event id of the cause."""

    installation: str
    claim: str


class InstallationLinked(LinkFact, frozen=True, kw_only=True):
    """An installation belongs to the subject from now on."""


class InstallationUnlinked(LinkFact, frozen=True, kw_only=True):
    """An installation no longer belongs to the subject."""


class UnreadableFactSettled(SubjectFact, frozen=True, kw_only=True):
    """Somebody saw to records of the subject that could not be read: `replayed` or `dismissed`.

    They are those on this partition of permissions from `first_offset` to `last_offset`, both included;
    `letter` is the dead letter of the last one. Both -1: a step that failed is settled, whose letter it is
    (`all`: every one of the subject).
    """

    letter: str
    first_offset: int
    last_offset: int
    outcome: str


# -- tokens ----------------------------------------------------------------------------------------


class TokenRegistered(SubjectFact, frozen=True, kw_only=True):
    """An installation has a delivery address. `provider`: apns, fcm, web_push or console."""

    installation: str
    provider: str
    token: str


class TokenInvalidated(SubjectFact, frozen=True, kw_only=True):
    """The address `token_id` (see `consent.token_id`) no longer works since `occurred_at`.

    `cause` is one of `token_loss.CAUSES`. What ended it lies between `last_seen_ok` and `first_seen_gone`
    (ms), as far as anybody knows; see `ledger/token_loss.py`.
    """

    installation: str
    token_id: str
    reason: str
    cause: str = "unknown"
    last_seen_ok: int | None = None
    first_seen_gone: int | None = None


# -- activity --------------------------------------------------------------------------------------


class AppOpened(ActivityFact, frozen=True, kw_only=True):
    """The subject opened the app."""

    installation: str


class ItemViewed(ActivityFact, frozen=True, kw_only=True):
    """The subject looked at an item."""

    item: str
    category: str | None = None
    installation: str | None = None


class ItemSaved(ActivityFact, frozen=True, kw_only=True):
    """The subject put an item on a wish list."""

    item: str
    category: str | None = None
    installation: str | None = None


class CartUpdated(ActivityFact, frozen=True, kw_only=True):
    """An item was `added` to or `removed` from the cart (`change`)."""

    item: str
    change: str
    quantity: int = 1
    category: str | None = None
    installation: str | None = None


class OrderPlaced(ActivityFact, frozen=True, kw_only=True):
    """The subject ordered these items. `amount_minor` is in the currency's smallest unit."""

    order_id: str
    items: tuple[str, ...]
    amount_minor: int | None = None
    currency: str | None = None
    installation: str | None = None


class ReceiptFact(ActivityFact, frozen=True, kw_only=True):
    """What an installation says of the push `push_id`."""

    installation: str
    push_id: str


class PushOpened(ReceiptFact, frozen=True, kw_only=True):
    """The subject tapped the push `push_id`."""


class PushDelivered(ReceiptFact, frozen=True, kw_only=True):
    """The push `push_id` arrived: the installation says so, the subject need not have seen it."""


class PushDismissed(ReceiptFact, frozen=True, kw_only=True):
    """The subject took the push `push_id` away without opening it."""


class SubjectAttributesSet(ActivityFact, frozen=True, kw_only=True):
    """The app backend said something of the subject; an attribute replaces the one of its name."""

    attributes: dict[str, str]


class CustomActivity(ActivityFact, frozen=True, kw_only=True):
    """The subject did something that has no fact of its own; `name` says what."""

    name: str
    properties: dict[str, str] = {}
    installation: str | None = None


class OnboardingStepCompleted(ActivityFact, frozen=True, kw_only=True):
    """The subject completed one step of the onboarding."""

    step: str


class OnboardingCompleted(ActivityFact, frozen=True, kw_only=True):
    """The subject completed the onboarding."""


class TrialStarted(ActivityFact, frozen=True, kw_only=True):
    """A trial of a paid offer began; it ends at `ends_at` (ms) if nothing happens before."""

    trial: str
    ends_at: int


class TrialEnded(ActivityFact, frozen=True, kw_only=True):
    """A trial of a paid offer ended: converted, expired or cancelled."""

    trial: str
    outcome: str


# -- links -----------------------------------------------------------------------------------------


class InstallationClaimed(Fact, frozen=True, kw_only=True):
    """`subject` uses the installation from now on (a login), or nobody does (None: a logout)."""

    installation: str
    subject: str | None = None
    counter_since: int | None = None


# -- items -----------------------------------------------------------------------------------------


class ItemPriceChanged(ItemFact, frozen=True, kw_only=True):
    """An item costs something else from now on. Prices are in the currency's smallest unit."""

    price_minor: int
    currency: str
    previous_minor: int | None = None


class ItemStockChanged(ItemFact, frozen=True, kw_only=True):
    """An item can be had from now on, or no longer; `quantity` where it is known."""

    in_stock: bool
    quantity: int | None = None


# -- item changes ----------------------------------------------------------------------------------


class WatchedItemChanged(SubjectFact, frozen=True, kw_only=True):
    """An item that the subject watches changed; `price_rose` and `out_of_stock` take back what was told.

    `version` counts the changes of the item; `changed_at` (ms) is when the item changed.
    """

    item: str
    change: str
    version: int
    changed_at: int
    price_minor: int | None = None
    previous_minor: int | None = None
    currency: str | None = None


# -- control ---------------------------------------------------------------------------------------


class ControlFact(Fact, frozen=True, kw_only=True):
    """What an operator tells the journeys role; a copy stands in every partition of the topic."""


class DefinitionsActivated(ControlFact, frozen=True, kw_only=True):
    """A policy and journeys are in force from here on, by the versions of their bodies."""

    policy_version: str
    journey_versions: tuple[str, ...]


class LaunchFact(ControlFact, frozen=True, kw_only=True):
    """About one launch of a campaign."""

    launch: str


class CampaignLaunched(LaunchFact, frozen=True, kw_only=True):
    """A campaign goes to its audience. `judged_at`: by which moment (ms), None: as time goes."""

    campaign_version: str
    dry_run: bool
    judged_at: int | None = None


class DefinitionsRecalled(ControlFact, frozen=True, kw_only=True):
    """Nothing goes on by these versions of journeys: open instances end as `recalled` with their next step.

    Activating a version again takes it back.
    """

    versions: tuple[str, ...]


class CampaignPaused(LaunchFact, frozen=True, kw_only=True):
    """A launch stops where it stands."""


class CampaignResumed(LaunchFact, frozen=True, kw_only=True):
    """A paused launch goes on."""


class CampaignCancelled(LaunchFact, frozen=True, kw_only=True):
    """A launch ends where it stands."""


class AudienceAsked(ControlFact, frozen=True, kw_only=True):
    """For how many subjects does this rule hold? Answered by `AudienceCounted`."""

    request: str
    rule: str
    sample_max: int


class CampaignsAsked(ControlFact, frozen=True, kw_only=True):
    """How do launches stand? Answered by one `CampaignTold` for each."""

    request: str


class ReplyFact(Fact, frozen=True, kw_only=True):
    """An answer of one partition; `request` is the key of its record."""

    request: str
    partition: int


class AudienceCounted(ReplyFact, frozen=True, kw_only=True):
    """The rule holds for `matching` of `subjects`; `sample` names some."""

    subjects: int
    matching: int
    sample: tuple[str, ...]


class CampaignTold(ReplyFact, frozen=True, kw_only=True):
    """`considered` of `subjects` were looked at, `wanted` of them are in the audience.

    `counts`, of a dry run: what would become of the pushes, by verdict and reason.
    """

    launch: str
    campaign: str
    state: str
    dry_run: bool
    subjects: int
    considered: int
    wanted: int
    counts: dict[str, int]


# -- decisions -------------------------------------------------------------------------------------


class JourneyStarted(SubjectFact, frozen=True, kw_only=True):
    """A journey instance began. `holdout`: its pushes are held out, for comparison."""

    journey: str
    journey_version: str
    instance: str
    trigger_event_id: str
    holdout: bool


class JourneyEnded(SubjectFact, frozen=True, kw_only=True):
    """A journey instance ended.

    `converted`: its goal was reached. `completed`: all its steps were taken (`candidate`: those of a
    journey of one push). `opted_out`, `erased`, `evicted`, `recalled`, `restarted` by another trigger,
    `emptied` of its items, or `exited` for another reason that its definition gives.
    """

    journey: str
    journey_version: str
    instance: str
    outcome: str


class CheckResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one check of the gate found."""

    name: str
    passed: bool
    detail: str = ""


class PushDecided(SubjectFact, frozen=True, kw_only=True):
    """The gate's verdict on a candidate, with all that is needed to derive it again.

    `verdict`: send, withhold, hold_out (all final) or hold (decided again at `hold_until`, with
    `revision` + 1). `occurred_at` is the `now` that the gate was asked with. `snapshot` holds the
    gate's inputs (`gate.encode_snapshot`). The consent in it is the fold of all facts of this
    partition below `permissions_next` on permissions and `tokens_next` on tokens: words on permission from
    `consent_rule_from` on by today's rule, those before it by the former one; None: all by the former one.
    """

    decision_id: str
    revision: int
    candidate_at: int
    journey: str
    journey_version: str
    policy_version: str
    instance: str
    step: str
    category: str
    topic: str
    verdict: str
    reason: str | None = None
    hold_until: int | None = None
    send_before: int | None = None
    checks: tuple[CheckResult, ...]
    snapshot: bytes
    permissions_next: int
    tokens_next: int
    installations: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    title: str | None = None
    body: str | None = None
    attribution_ms: int = 0
    message: str | None = None
    arm: str | None = None
    item_version: int | None = None
    shown: dict[str, str] = {}
    consent_rule_from: int | None = None


class StateEvicted(SubjectFact, frozen=True, kw_only=True):
    """The subject's row had no room for more, and `count` of something in it that mattered gave way.

    `part`: token, contact, item, instance or candidate. `cause`: the event id of the fact that needed the
    room; of a due step, the id of the decision.
    """

    part: str
    count: int
    cause: str


# -- deliveries ------------------------------------------------------------------------------------


class DeliveryFact(SubjectFact, frozen=True, kw_only=True):
    """What became of one push: one decided message to one installation."""

    push_id: str
    decision_id: str
    installation: str


class PushAttempted(DeliveryFact, frozen=True, kw_only=True):
    """We are about to hand the push to its provider; the last attempt counts."""

    attempt: int
    provider: str


class PushAccepted(DeliveryFact, frozen=True, kw_only=True):
    """The provider took the push."""

    provider: str


class PushRejected(DeliveryFact, frozen=True, kw_only=True):
    """The push was refused. `error_class`: token_dead, unlisted_service, credential, payload or transient."""

    provider: str
    error_class: str
    error: str
    next_installation: str | None = None
    """The installation that the same decision goes to instead."""


class PushWithheldLate(DeliveryFact, frozen=True, kw_only=True):
    """The last look at consent, right before the send, said no."""

    reason: str
    next_installation: str | None = None


class PushOutcomeUnknown(DeliveryFact, frozen=True, kw_only=True):
    """An attempt whose outcome nobody knows. Never sent again for marketing."""

    reason: str


# -- dead letters ----------------------------------------------------------------------------------


class RecordDeadLettered(Fact, frozen=True, kw_only=True):
    """A record that could not be read or accepted: its bytes, its place and the reason."""

    topic: str
    partition: int
    offset: int
    appended_at: int
    key: bytes | None
    value: bytes | None
    reason: str
    detail: str


class DeadLetterSettled(Fact, frozen=True, kw_only=True):
    """An operator saw to the dead letter `letter`: its record was `replayed`, or `dismissed`."""

    letter: str
    outcome: str


FACTS: Final[tuple[type[Fact], ...]] = (
    InstallationSeen,
    PromptShown,
    PromptAnswered,
    PermissionGranted,
    PermissionDenied,
    PermissionRevoked,
    PermissionObserved,
    TopicSubscribed,
    TopicUnsubscribed,
    FrequencyChosen,
    QuietHoursChosen,
    MarketingPaused,
    MarketingResumed,
    SubjectSuppressed,
    SubjectReleased,
    SubjectErased,
    InstallationLinked,
    InstallationUnlinked,
    UnreadableFactSettled,
    TokenRegistered,
    TokenInvalidated,
    AppOpened,
    ItemViewed,
    ItemSaved,
    CartUpdated,
    OrderPlaced,
    PushOpened,
    PushDelivered,
    PushDismissed,
    SubjectAttributesSet,
    CustomActivity,
    OnboardingStepCompleted,
    OnboardingCompleted,
    TrialStarted,
    TrialEnded,
    InstallationClaimed,
    ItemPriceChanged,
    ItemStockChanged,
    WatchedItemChanged,
    DefinitionsActivated,
    CampaignLaunched,
    CampaignPaused,
    CampaignResumed,
    CampaignCancelled,
    DefinitionsRecalled,
    AudienceAsked,
    CampaignsAsked,
    AudienceCounted,
    CampaignTold,
    JourneyStarted,
    JourneyEnded,
    PushDecided,
    StateEvicted,
    PushAttempted,
    PushAccepted,
    PushRejected,
    PushWithheldLate,
    PushOutcomeUnknown,
    RecordDeadLettered,
    DeadLetterSettled,
)


def key_of(fact: Fact) -> str | None:
    """What the fact's record is keyed by (UTF-8); None for facts that are keyed by another record."""
    match fact:
        case SubjectFact():
            return fact.subject
        case InstallationClaimed():
            return fact.installation
        case ItemFact():
            return fact.item
        case ReplyFact():
            return fact.request
        case _:
            return None


PreferenceFact: TypeAlias = (
    TopicSubscribed
    | TopicUnsubscribed
    | FrequencyChosen
    | QuietHoursChosen
    | MarketingPaused
    | MarketingResumed
)
