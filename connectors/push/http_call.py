"""One POST over HTTP/1.1 that is never repeated; a failure says whether the request may have been taken."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from connectors.push.failures import Lost, NotTaken

BODY_BYTES_MAX: Final = 65_536
"""Of an answer."""
CONNECT_S: Final = 10.0
CONNECTIONS_MAX: Final = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """The answer. `retry_after_s`: for how long the other side wants to be left alone."""

    status: int
    body: bytes
    retry_after_s: float | None


class HttpCaller:
    """Keeps connections open between calls. Opened by the first call; close it in the same loop.

    `timeout_s`: for a whole call. Follows no redirects and no proxy of the environment: an address that
    somebody registered must not lead anywhere else.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(CONNECT_S, timeout_s / 2))
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """End all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send the request once; raises `NotTaken` or `Lost`."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                timeout=self._timeout,
                auto_decompress=False,
            )
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                # An answer that breaks off in its body has told its status all the same.
                told = await _read(response)
                return Reply(response.status, told, seconds_of(response.headers.get("Retry-After")))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotTaken(f"unreachable: {type(error).__name__}") from error
        except TimeoutError as error:
            raise Lost("timeout") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Lost(f"connection_lost: {type(error).__name__}") from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    try:
        return await response.content.read(BODY_BYTES_MAX)
    except (aiohttp.ClientError, OSError, TimeoutError):
        return b""


def seconds_of(retry_after: str | None) -> float | None:
    """Seconds or a date (RFC 9110, 10.2.3)."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if at.tzinfo is None:  # "-0000": a time in UTC that says nothing of where it was written
        at = at.replace(tzinfo=dt.UTC)
    return max(0.0, (at - dt.datetime.now(dt.UTC)).total_seconds())
