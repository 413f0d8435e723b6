"""The access token of a service account, renewed ahead of its end and never on the event loop."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any, Final

from google.auth.exceptions import RefreshError, TransportError
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from connectors.errors import Misconfigured

SCOPE: Final = "https://www.googleapis.com/auth/firebase.messaging"
AHEAD_S: Final = 300.0
"""A token that ends within this time is renewed while it is still used."""


_read: Final[Any] = service_account.Credentials.from_service_account_info


class Refused(Exception):  # noqa: N818 - says what happened
    """Google does not give this account a token: its key was revoked, or the clock is wrong."""


class Unreachable(Exception):  # noqa: N818
    """Google's token server gave no answer."""


class AccessToken:
    """The token of one service account; one renewal at a time, for all who wait for it."""

    def __init__(self, account: dict[str, Any]) -> None:
        """`account`: the JSON of the key file. Raises Misconfigured when it is none."""
        try:
            self._credentials = _read(account, scopes=[SCOPE])
        except Exception as error:  # noqa: BLE001 - whatever a wrong key makes the libraries raise
            # Never the error's own words: they may quote the key.
            raise Misconfigured(
                f"the service account of FCM can't sign ({type(error).__name__}): it must be the JSON key"
                " file that Firebase gave out"
            ) from None
        self._renewing: asyncio.Task[None] | None = None

    async def header(self) -> str:
        """The authorization header; raises `Refused` or `Unreachable` when there is none to be had."""
        left_s = self._left_s()
        if left_s < AHEAD_S and self._renewing is None:
            self._renewing = asyncio.create_task(self._renew())
            self._renewing.add_done_callback(self._renewed)
        if left_s <= 0 and self._renewing is not None:
            await asyncio.shield(self._renewing)
        return f"Bearer {self._credentials.token}"

    def was_refused(self, header: str) -> None:
        """The next header has a new token, unless this one was replaced since: refusals come by the dozen."""
        if header == f"Bearer {self._credentials.token}":
            self._credentials.token = None

    def _left_s(self) -> float:
        if not self._credentials.token or self._credentials.expiry is None:
            return 0.0
        now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
        left: float = (self._credentials.expiry - now).total_seconds()
        return left

    async def _renew(self) -> None:
        try:
            await asyncio.to_thread(self._credentials.refresh, Request())
        except TransportError as error:
            raise Unreachable(type(error).__name__) from error
        except RefreshError as error:
            raise (Unreachable if error.retryable else Refused)(type(error).__name__) from error

    def _renewed(self, task: asyncio.Task[None]) -> None:
        self._renewing = None
        if not task.cancelled():
            task.exception()  # those who wait are told; while the old token is good, nobody does
