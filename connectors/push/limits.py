"""What each provider takes: sizes in bytes and reserved names. Needs no vendor's library.

Senders hold pushes against these, and `fits` the check of definitions.
"""

from __future__ import annotations

import re
from typing import Final

APNS_BODY_BYTES_MAX: Final = 4_096
"""Apple, "Generating a remote notification"."""
APNS_COLLAPSE_BYTES_MAX: Final = 64
"""Apple, "Sending notification requests to APNs"."""
FCM_PAYLOAD_BYTES_MAX: Final = 4_096
"""Firebase, "About FCM messages": of data and notification together."""
FCM_RESERVED: Final = re.compile(r"from|message_type|(google|gcm)\..*", re.DOTALL)
"""Firebase, "REST Resource: projects.messages": names of data that FCM refuses, each whole."""
WEB_PLAIN_BYTES_MAX: Final = 3_993
"""RFC 8291, section 4: what fits into 4,096 bytes once it is encrypted."""
OURS: Final = frozenset({"aps", "image", "link", "push_id"})
"""Names of data that senders use themselves, so that a message's own would not arrive."""
