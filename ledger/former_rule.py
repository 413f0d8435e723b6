"""The rule for permission before row version 4: decisions of then are derived by it, rows of then upgraded.

Each clock kept its last word by its own time (of a device that counts, its number); words of different clocks
were compared by their own times alone.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ledger.consent import (
    SKEW_MS,
    WORD_KINDS,
    WORDS,
    Consent,
    Installation,
    Register,
    installation_key,
    register_of,
    spoken,
)
from ledger.consent_fold import LedgerFact, follow, refusal, time_of
from ledger.effective import UNKNOWN, UNLINKED, Effective, unlinked
from ledger.former_admission import formerly_refused
from ledger.unreadable import FormerlyTaken, UnreadableRecord, mark
from ledger.words import PRIVACY, RANKS, REFUSALS, REGISTERS, Word, Words, keep

_FIELDS: Final = ("device_counted", "device", "server", "imported")
"""Where an installation kept the registers; parallel to `REGISTERS`."""


def follow_formerly(consent: Consent, entry: LedgerFact) -> Consent:
    """Fold what stands at one place as the roles did before row version 4; see `consent_fold.follow`."""
    fact, family, offset, appended_ms = entry
    if isinstance(fact, FormerlyTaken):
        return follow_formerly(consent, (fact.fact, family, offset, appended_ms))
    if not isinstance(fact, UnreadableRecord) and formerly_refused(fact):
        return mark(consent, offset, appended_ms) if family == "permissions" else consent
    if isinstance(fact, UnreadableRecord) or type(fact) not in WORDS or consent.erased_at is not None:
        return follow(consent, entry)
    if refusal(consent, fact) is not None:
        return follow(consent, entry)  # leaves a mark
    at, ahead = time_of(consent, fact, appended_ms)
    assert isinstance(fact, WORD_KINDS)
    key = installation_key(fact.app, fact.installation)
    known = consent.installations.get(key) or Installation()
    name = _FIELDS[REGISTERS.index(register_of(fact))]
    permission, cause = spoken(fact)
    sequence = -1 if name != "device_counted" else fact.sequence or 0
    word = Register(permission, at, sequence, cause)
    said: Register | None = getattr(known, name)
    if said is None or _rank(said) < _rank(word):
        known = msgspec.structs.replace(known, **{name: word})
        consent = msgspec.structs.replace(consent, installations={**consent.installations, key: known})
    return consent if ahead is consent.ahead else msgspec.structs.replace(consent, ahead=ahead)


def _rank(word: Register) -> tuple[int, int, int, str]:
    if word.sequence >= 0:
        return word.sequence, PRIVACY[word.permission], word.at, word.cause
    return word.at, PRIVACY[word.permission], 0, word.cause


def _registers(installation: Installation) -> dict[str, Register]:
    found: dict[str, Register] = {}
    for register, name in zip(REGISTERS, _FIELDS, strict=True):
        word: Register | None = getattr(installation, name)
        if word is not None:
            found[register] = word
    return found


def formerly_effective(installation: Installation) -> Effective:
    """Which permission counted by the former rule.

    The latest word of the device, or where there is none, or one that refuses and is older by more than
    `SKEW_MS`, the latest grant of the others; then any clock's refusal at or after the grant.
    """
    if unlinked(installation):
        return Effective(UNLINKED, installation.unlinked_at, "")
    words = {n: w for n, w in _registers(installation).items() if w.at > installation.unlinked_at}
    if not words:
        return UNKNOWN

    def latest(names: list[str]) -> str | None:
        return max(names, key=lambda n: (words[n].at, PRIVACY[words[n].permission], n), default=None)

    refused = [name for name, word in words.items() if word.permission in REFUSALS]
    chosen = latest([name for name in ("device_counted", "device") if name in words])
    others = latest([n for n in ("server", "import") if n in words and n not in refused])
    if others is not None and (
        chosen is None or (chosen in refused and words[others].at > words[chosen].at + SKEW_MS)
    ):
        chosen = others
    strongest = latest(refused)
    if strongest is not None and (
        chosen is None or chosen in refused or words[strongest].at >= words[chosen].at
    ):
        chosen = strongest
    assert chosen is not None  # some register spoke, so either a grant or a refusal was chosen
    word = words[chosen]
    return Effective(word.permission, word.at, chosen)


def upgraded(consent: Consent) -> Consent:
    """Consent of a row of before version 4, as today's rule goes on with it.

    What counted as a refusal stays one. Nothing is known of appends but that they are no earlier than the
    words' times: those stand for them, so that whatever is appended from now on is later. A word that the
    former rule did not keep is not in the row, and can't come back.
    """
    if consent.erased_at is not None:
        return consent
    installations = {key: _upgraded(one) for key, one in consent.installations.items()}
    return msgspec.structs.replace(consent, installations=installations, rule_from=-1)


def _upgraded(installation: Installation) -> Installation:
    grants: Words = ()
    refusals: Words = ()
    counted = formerly_effective(installation)
    for register, said in _registers(installation).items():
        clock = REGISTERS.index(register)
        word = Word(RANKS[said.permission], said.at, clock, said.at, -1, said.sequence)
        if word.refuses:
            refusals = keep(refusals, word)
        elif counted.permission not in REFUSALS:
            # Beside a refusal that counts, none of the grants does, whatever today's rule makes of them.
            grants = keep(grants, word)
    return msgspec.structs.replace(
        installation,
        device_counted=None,
        device=None,
        server=None,
        imported=None,
        grants=grants,
        refusals=refusals,
        unlinked_appended=installation.unlinked_at,
        unlinked_offset=-1,
    )
