"""A worker of an older version, which does not know revocations yet: `python older_reader.py ROLE`.

Its readers have no schema of `PermissionRevoked`, so such a record is `unknown_schema` to it.
"""

from __future__ import annotations

import sys
from typing import Final

from connectors import codec
from schemas import fact_schema

UNKNOWN: Final = "PermissionRevoked"

if __name__ == "__main__":
    from processors.cli import main

    reader = codec.MARKER + fact_schema(UNKNOWN).fingerprint
    del codec._CODEC._readers[reader]
    sys.argv = ["optin", "worker", sys.argv[1]]
    main()
