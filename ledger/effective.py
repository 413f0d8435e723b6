"""What of an installation counts now: whose it is, which permission, which address.

Computed from the registers that `ledger/consent.py` folds, whenever somebody asks; nothing here is stored.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ledger.consent import PRIVACY, REFUSALS, REGISTERS, SKEW_MS, Installation, Token

UNLINKED: Final = "unlinked"
"""Reads as the permission of an installation that is no longer the subject's: no policy can allow it."""


class Effective(NamedTuple):
    """The permission that counts, since when, by whose word."""

    permission: str
    at: int
    register: str
    cause: str


UNKNOWN: Final = Effective("not_determined", -1, "", "")


def unlinked(installation: Installation) -> bool:
    """Whether the installation ceased to be the subject's; one that nobody ever claimed did not."""
    return installation.unlinked_at >= 0 and installation.linked_at <= installation.unlinked_at


def newest_token(installation: Installation) -> Token | None:
    """The latest address registered since the installation last ceased to be the subject's, live or dead.

    It may be here before the fact that links the installation again: they come by different topics.
    """
    registered = [t for t in installation.tokens if t.registered_at > installation.unlinked_at]
    return max(registered, key=lambda t: (t.registered_at, t.token_id), default=None)


def current_token(installation: Installation) -> Token | None:
    """The address that a push would go to: the latest registered one, live or dead."""
    return None if unlinked(installation) else newest_token(installation)


def effective(installation: Installation) -> Effective:
    """Which permission counts now.

    `unlinked` while the installation is not the subject's. Words from before it last ceased to be do not
    count. Of the rest, start from the latest word of the device. A grant by a server or an import stands in
    where the device said nothing, and replaces a device's refusal only if later by more than `SKEW_MS`.
    Then a refusal from any clock wins if it is at or after the grant that would count.
    """
    if unlinked(installation):
        return Effective(UNLINKED, installation.unlinked_at, "", "")
    words = {
        name: word
        for name, word in zip(
            REGISTERS,
            (
                installation.device_counted,
                installation.device,
                installation.server,
                installation.imported,
            ),
            strict=True,
        )
        if word is not None and word.at > installation.unlinked_at
    }
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
    return Effective(word.permission, word.at, chosen, word.cause)
