"""Consent of one subject: a fold over facts that gives the same state in any order, any number of times.

Of the words on an installation's permission the latest of each clock are kept (`ledger/words.py`); which of
them counts is computed when somebody asks (`ledger/effective.py`), never while folding. Preferences, pauses
and suppressions are registers: the latest time wins, at equal times the more private value. So the fold
is a join: commutative and idempotent, whatever the order in which topics are read. A fact's first append
belongs to it: it is the same in whatever order, and of two copies the earlier append counts.

Times are milliseconds. But for words on permission, which keep their own time beside their append, they are
already capped at the fact's first append (`consent_fold.effective_time`).
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeAlias, assert_never

import msgspec

from ledger import facts as f
from ledger.ids import short_mark
from ledger.void_addresses import is_void
from ledger.words import COUNTED, PRIVACY, RANKS, REFUSING, REGISTERS, Place, Word, Words, keep

SKEW_MS: Final = 300_000
"""How far clocks of devices and servers may honestly disagree."""

INSTALLATIONS_MAX: Final = 64
TOPICS_MAX: Final = 256
SUPPRESSIONS_MAX: Final = 64
TOKENS_MAX: Final = 4
UNREADABLE_MAX: Final = 16
"""Bounds of one subject's state; a fact that needs more room is refused (`consent_fold.refusal`)."""

ACTIVITY: Final = tuple(kind for kind in f.FACTS if issubclass(kind, f.ActivityFact))
"""What subjects do in the app; says nothing of consent."""

PermissionFact: TypeAlias = (
    f.PermissionGranted | f.PermissionDenied | f.PermissionRevoked | f.PermissionObserved
)
"""The facts that say something about permission."""
WORD_KINDS: Final = (f.PermissionGranted, f.PermissionDenied, f.PermissionRevoked, f.PermissionObserved)
WORDS: Final[frozenset[type[f.SubjectFact]]] = frozenset(WORD_KINDS)
"""Their kinds, as a tuple and as a set."""


class Register(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last word of one clock on one installation's permission, as rows before version 4 keep it."""

    permission: str
    at: int
    sequence: int = -1
    cause: str = ""


class Token(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A delivery address by its id; `invalidated_at` is -1 while nobody said it is dead."""

    token_id: str
    registered_at: int = -1
    invalidated_at: int = -1
    appended: int = -1
    """When the fact of `registered_at` was first appended (ms); -1 in rows of before version 4."""

    @property
    def live(self) -> bool:
        """Registered, and not called dead at or after its registration."""
        return self.registered_at > self.invalidated_at


class Installation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of one app instance on one device."""

    seen_at: int = -1
    platform: str = ""
    time_zone: str | None = None
    country: str | None = None
    device_counted: Register | None = None
    device: Register | None = None
    server: Register | None = None
    imported: Register | None = None
    tokens: tuple[Token, ...] = ()
    linked_at: int = -1
    unlinked_at: int = -1
    """When the linker last said that it is, and that it is no longer, this subject's; -1: never."""
    grants: Words = ()
    refusals: Words = ()
    """What is kept of the words on its permission; see `words`. The four registers above are those of rows of
    before version 4, which `former_rule` reads."""
    unlinked_appended: int = -1
    unlinked_offset: int = -1
    """Where the fact of `unlinked_at` was first appended."""

    @property
    def unlinked_place(self) -> Place:
        """Where the fact of `unlinked_at` was first appended."""
        return self.unlinked_appended, self.unlinked_offset


class Switch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An on/off choice with its time; `until` ends an "on" (None: open end)."""

    at: int
    on: bool
    until: int | None = None


class Frequency(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The subject's own cap."""

    at: int
    max_pushes: int
    window: str


class Quiet(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The subject's own quiet hours, in minutes of the local day; equal ends: none."""

    at: int
    start_minute: int
    end_minute: int


class Unreadable(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Records of the subject, on its partition of permissions, that nobody could read or accept.

    One record, or (where there is no room for more marks) all from `first_offset` to `last_offset`. `at`:
    when the first of them was appended (ms).
    """

    first_offset: int
    last_offset: int
    at: int


class Consent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All that the ledger says about one subject. Keys of `installations` are `app/installation`."""

    installations: dict[str, Installation] = {}
    topics: dict[str, Switch] = {}
    frequency: Frequency | None = None
    quiet: Quiet | None = None
    pause: Switch | None = None
    suppressions: dict[str, Switch] = {}
    erased_at: int | None = None
    ahead: dict[str, int] = {}
    """First times of facts whose clock was ahead of the broker's; see `consent_fold`."""
    unreadable: tuple[Unreadable, ...] = ()
    """What could not be read and is not settled, by offset; see `unreadable`."""
    rule_from: int = 0
    """Offset on permissions from which on words were folded by today's rule; those before it by the former
    one (`former_rule`). -1: today's rule has folded none yet."""


EMPTY: Final = Consent()


def token_id(provider: str, token: str) -> str:
    """Name a delivery address without showing it: 32 hex digits of SHA-256(`provider:token`)."""
    return hashlib.sha256(f"{provider}:{token}".encode()).hexdigest()[:32]


def installation_key(app: str, installation: str) -> str:
    """The key under which permission and token are kept: they belong to (installation, app)."""
    return f"{app}/{installation}"


def app_of(key: str) -> str:
    """The app of a key that `installation_key` made."""
    return key.partition("/")[0]


def installation_of(key: str) -> str:
    """The installation of a key that `installation_key` made."""
    return key.partition("/")[2]


def evolve(consent: Consent, fact: f.SubjectFact, at: int, place: Place | None = None) -> Consent:
    """Fold one fact, effective at `at` (ms). Total: unknown facts change nothing.

    `place`: where it was first appended; none: at `at`. Any permutation and any duplication of the same facts
    gives the same state (up to the bounds above). Erasure is final: it leaves nothing but its own time.
    """
    place = place or (at, 0)
    if isinstance(fact, f.SubjectErased):
        first = at if consent.erased_at is None else min(at, consent.erased_at)
        return Consent(erased_at=first)
    if consent.erased_at is not None:
        return consent
    match fact:
        case f.PermissionGranted() | f.PermissionDenied() | f.PermissionRevoked() | f.PermissionObserved():
            return _speak(consent, fact, place)
        case f.InstallationSeen():
            return _seen(consent, fact, at)
        case f.TokenRegistered():
            name = token_id(fact.provider, fact.token)
            # An address that never was one is dead from the start: the person is reached elsewhere.
            dead_at = at if is_void(fact.provider, fact.token) else -1
            token = Token(name, registered_at=at, invalidated_at=dead_at, appended=place[0])
            return _token(consent, fact, fact.installation, token)
        case f.TokenInvalidated():
            dead = Token(fact.token_id, invalidated_at=at)
            return _token(consent, fact, fact.installation, dead)
        case f.InstallationLinked():
            return _owned(consent, fact, place, linked_at=at)
        case f.InstallationUnlinked():
            return _owned(consent, fact, place, unlinked_at=at)
        case _:
            return _prefer(consent, fact, at)


def _prefer(consent: Consent, fact: f.SubjectFact, at: int) -> Consent:
    replace = msgspec.structs.replace
    match fact:
        case f.TopicSubscribed() | f.TopicUnsubscribed():
            choice = Switch(at, isinstance(fact, f.TopicSubscribed))
            known = consent.topics.get(fact.topic)
            if known is not None and (known.at, not known.on) >= (choice.at, not choice.on):
                return consent
            return replace(consent, topics={**consent.topics, fact.topic: choice})
        case f.FrequencyChosen():
            mine = Frequency(at, fact.max_pushes, fact.window)
            if consent.frequency is not None and _frequency_key(consent.frequency) >= _frequency_key(mine):
                return consent
            return replace(consent, frequency=mine)
        case f.QuietHoursChosen():
            hours = Quiet(at, fact.start_minute, fact.end_minute)
            if consent.quiet is not None and _quiet_key(consent.quiet) >= _quiet_key(hours):
                return consent
            return replace(consent, quiet=hours)
        case f.MarketingPaused():
            return _paused(consent, Switch(at, on=True, until=fact.until))
        case f.MarketingResumed():
            return _paused(consent, Switch(at, on=False))
        case f.SubjectSuppressed():
            return _suppressed(consent, fact.reason, Switch(at, on=True, until=fact.until))
        case f.SubjectReleased():
            return _suppressed(consent, fact.reason, Switch(at, on=False))
        case _:
            return consent


def _frequency_key(choice: Frequency) -> tuple[int, int, str]:
    return choice.at, -choice.max_pushes, choice.window


def _quiet_key(hours: Quiet) -> tuple[int, int, int]:
    return hours.at, (hours.end_minute - hours.start_minute) % 1440, hours.start_minute


def _switch_key(switch: Switch) -> tuple[int, bool, bool, int]:
    """Latest first; at equal times "on" (the more private), the open end, then the later end."""
    return switch.at, switch.on, switch.until is None, switch.until or 0


def _paused(consent: Consent, pause: Switch) -> Consent:
    if consent.pause is not None and _switch_key(consent.pause) >= _switch_key(pause):
        return consent
    return msgspec.structs.replace(consent, pause=pause)


def _suppressed(consent: Consent, reason: str, switch: Switch) -> Consent:
    known = consent.suppressions.get(reason)
    if known is not None and _switch_key(known) >= _switch_key(switch):
        return consent
    return msgspec.structs.replace(consent, suppressions={**consent.suppressions, reason: switch})


def _with(consent: Consent, key: str, installation: Installation) -> Consent:
    return msgspec.structs.replace(consent, installations={**consent.installations, key: installation})


def _installation(consent: Consent, fact: f.Fact, installation: str) -> tuple[str, Installation]:
    key = installation_key(fact.app, installation)
    return key, consent.installations.get(key) or Installation()


def _seen(consent: Consent, fact: f.InstallationSeen, at: int) -> Consent:
    key, known = _installation(consent, fact, fact.installation)
    mine = (at, fact.platform, fact.time_zone or "", fact.country or "")
    if (known.seen_at, known.platform, known.time_zone or "", known.country or "") >= mine:
        return consent
    seen = msgspec.structs.replace(
        known,
        seen_at=at,
        platform=fact.platform,
        time_zone=fact.time_zone,
        country=fact.country,
    )
    return _with(consent, key, seen)


def _owned(
    consent: Consent,
    fact: f.InstallationLinked | f.InstallationUnlinked,
    place: Place,
    linked_at: int = -1,
    unlinked_at: int = -1,
) -> Consent:
    key, known = _installation(consent, fact, fact.installation)
    ceased = max((known.unlinked_at, *_earlier(known.unlinked_place)), (unlinked_at, *_earlier(place)))
    owned = msgspec.structs.replace(
        known,
        linked_at=max(known.linked_at, linked_at),
        unlinked_at=ceased[0],
        unlinked_appended=-ceased[1],
        unlinked_offset=-ceased[2],
    )
    return consent if owned == known else _with(_begun(consent, place), key, owned)


def _earlier(place: Place) -> Place:
    """A place as the greater, the earlier it is."""
    return -place[0], -place[1]


def _begun(consent: Consent, place: Place) -> Consent:
    """Note from where on today's rule folds a row that the former one began."""
    return consent if consent.rule_from >= 0 else msgspec.structs.replace(consent, rule_from=place[1])


def spoken(fact: PermissionFact) -> tuple[str, str]:
    """What a fact says about permission: (permission, cause)."""
    match fact:
        case f.PermissionGranted(level=word):
            said = word, ""
        case f.PermissionDenied():
            said = "denied", ""
        case f.PermissionRevoked(cause=cause):
            said = "denied", cause
        case f.PermissionObserved(permission=word):
            said = word, "observed"
        case _:
            assert_never(fact)
    # An unknown word (a newer app's) is read as the most private one.
    return said if said[0] in PRIVACY else ("denied", said[1])


def register_of(fact: f.Fact) -> str:
    """Which of `REGISTERS` a fact writes to."""
    origin = fact.source.partition(":")[0]
    if origin == "device":
        return "device" if fact.sequence is None else "device_counted"
    return "import" if origin == "import" else "server"


def _speak(consent: Consent, fact: PermissionFact, place: Place) -> Consent:
    key, known = _installation(consent, fact, fact.installation)
    consent = _begun(consent, place)
    rank = RANKS[spoken(fact)[0]]
    clock = REGISTERS.index(register_of(fact))
    number, since = -1, 0
    if clock == COUNTED:
        number, since = fact.sequence or 0, fact.counter_since or 0
    mark = short_mark(fact.event_id) if rank in REFUSING else 0
    word = Word(rank, fact.occurred_at, clock, *place, number, since, mark)
    if rank in REFUSING:
        refusals = keep(known.refusals, word)
        if refusals is known.refusals:
            return consent
        return _with(consent, key, msgspec.structs.replace(known, refusals=refusals))
    grants = keep(known.grants, word)
    if grants is known.grants:
        return consent
    return _with(consent, key, msgspec.structs.replace(known, grants=grants))


def _token(consent: Consent, fact: f.Fact, installation: str, news: Token) -> Consent:
    key, known = _installation(consent, fact, installation)
    tokens = {token.token_id: token for token in known.tokens}
    old = tokens.get(news.token_id, Token(news.token_id))
    registered = max((old.registered_at, -old.appended), (news.registered_at, -news.appended))
    merged = Token(
        news.token_id,
        registered[0],
        max(old.invalidated_at, news.invalidated_at),
        -registered[1],
    )
    if merged == old:
        return consent
    tokens[news.token_id] = merged
    # The latest registered one is the current one: it stays, however many dead ones are heard of.
    newest = sorted(
        tokens.values(),
        key=lambda t: (t.registered_at, t.invalidated_at, t.token_id),
        reverse=True,
    )
    return _with(consent, key, msgspec.structs.replace(known, tokens=tuple(newest[:TOKENS_MAX])))
