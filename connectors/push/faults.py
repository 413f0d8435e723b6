"""Names whose fault a refusal is, and makes the outcome that follows. Each provider's table maps to these."""

from __future__ import annotations

import dataclasses
import enum
from typing import Final

from connectors.push.port import ErrorClass, Outcome


class Fault(enum.Enum):
    """Whose fault an answer says it is."""

    ADDRESS = "address"
    """The address is dead, whoever asks."""
    FOREIGN = "foreign"
    """The address is of another app, project, environment or key than ours; or all are, because ours is
    wrong. Which of the two, `proven` tells."""
    SUSPECT = "suspect"
    """We were refused, and the answer does not say whether for this address alone; `refusals` finds out."""
    BUSY_ADDRESS = "busy_address"
    """This address gets too much at once; others do not."""
    CREDENTIAL = "credential"
    MESSAGE = "message"
    PROVIDER = "provider"


_CLASS: Final[dict[Fault, ErrorClass]] = {
    Fault.ADDRESS: "token_dead",
    Fault.FOREIGN: "credential",
    Fault.SUSPECT: "credential",
    Fault.BUSY_ADDRESS: "transient",
    Fault.CREDENTIAL: "credential",
    Fault.MESSAGE: "payload",
    Fault.PROVIDER: "transient",
}
_OF_ADDRESS: Final = frozenset({Fault.FOREIGN, Fault.SUSPECT, Fault.BUSY_ADDRESS})


def refused(fault: Fault, error: str, *, proven: bool, retry_after_s: float | None = None) -> Outcome:
    """The outcome of a push that was refused. `error`: the provider's word.

    `proven`: the credential has had a push accepted. Until then a foreign address may be right, and our
    environment, topic, project or key wrong; so it is the credential's fault and no token is touched.
    """
    if fault is Fault.FOREIGN and proven:
        fault = Fault.ADDRESS
    return Outcome(
        "rejected", _CLASS[fault], error, retry_after_s=retry_after_s, of_address=fault in _OF_ADDRESS
    )


def dead(outcome: Outcome) -> Outcome:
    """A refusal that turned out to be the address's fault."""
    return dataclasses.replace(outcome, error_class="token_dead", retry_after_s=None)
