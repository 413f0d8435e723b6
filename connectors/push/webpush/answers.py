"""What an answer of a push service means for the push, its subscription and our key.

Push services say little more than a status; of their words only those count that say whose key it is about.
Sources: RFC 8030 (7.3, 8.4); RFC 8292 (4.2); Apple, "Sending web push notifications in web apps and
browsers"; Mozilla, "AutoPush HTTP endpoints".
"""

from __future__ import annotations

from typing import Final

from connectors.push.faults import Fault, refused
from connectors.push.http_call import Reply
from connectors.push.port import ACCEPTED, Outcome

TAKEN: Final = frozenset({200, 201, 202, 204})
FAULTS: Final[dict[str, tuple[str, Fault]]] = {
    "vapidpkhashmismatch": ("VapidPkHashMismatch", Fault.FOREIGN),
    "do not correspond to the credentials used to create the subscription": ("KeyMismatch", Fault.FOREIGN),
    "vapid public key mismatch": ("KeyMismatch", Fault.FOREIGN),
    "badjwttoken": ("BadJwtToken", Fault.SUSPECT),
}
"""Words in the body of an answer -> how we call it, and whose fault it is (Apple, Google, Mozilla, Apple)."""
BY_STATUS: Final[dict[int, Fault]] = {
    401: Fault.SUSPECT,
    403: Fault.SUSPECT,
    404: Fault.ADDRESS,
    410: Fault.ADDRESS,
    429: Fault.PROVIDER,
}
SERVER_ERROR: Final = 500
NAMED: Final = frozenset({400, 401, 403})
"""Statuses by which a key is refused: only then words count."""


def outcome_of(reply: Reply, *, proven: bool = False) -> Outcome:
    """What an answer means. `proven`: see `faults.refused`."""
    if reply.status in TAKEN:
        return ACCEPTED
    error, fault = fault_of(reply.status, reply.body)
    return refused(fault, error, proven=proven, retry_after_s=reply.retry_after_s)


def fault_of(status: int, body: bytes) -> tuple[str, Fault]:
    """What a refusal is called, and whose fault it is. Total."""
    if status in NAMED:
        said = body.decode(errors="replace").lower()
        for words, found in FAULTS.items():
            if words in said:
                return found
    otherwise = Fault.PROVIDER if status >= SERVER_ERROR else Fault.MESSAGE
    return f"status {status}", BY_STATUS.get(status, otherwise)
