"""The file of credentials: which app sends by which provider, and with whose keys.

Keys stand in files of their own, beside it or where a secret store mounts them; what is read is never logged.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from connectors.errors import Misconfigured

FILE_BYTES_MAX: Final = 1 << 20


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Apns(_Part):
    """A team's signing key and the app's bundle id. `server` and `trust` name a stand-in, for tests."""

    key_file: Path
    key_id: str
    team_id: str
    topic: str
    sandbox: bool = False
    server: str | None = None
    trust: Path | None = None


class Fcm(_Part):
    """A Firebase project's service account. `server` names a stand-in, for tests."""

    account_file: Path
    server: str | None = None


class WebPush(_Part):
    """An application server key. `services`: push services beside those of today's browsers."""

    key_file: Path
    contact: str
    services: tuple[str, ...] = ()


class App(_Part):
    """The ways to the people of one app. `rate`: pushes a second at most, by each of them, of one worker."""

    apns: Apns | None = None
    fcm: Fcm | None = None
    web_push: WebPush | None = None
    rate: float = Field(2_000.0, gt=0, le=100_000)


class Credentials(_Part):
    """The whole file. `timeout_s`: how long a push may wait for its provider's answer."""

    apps: dict[str, App] = Field(min_length=1)
    timeout_s: float = Field(5.0, gt=0, le=25)


def read_credentials(file: Path) -> Credentials:
    """Read and check the file; relative paths in it start beside it. Raises Misconfigured."""
    try:
        found = yaml.safe_load(_text(file))
    except yaml.YAMLError as error:
        raise Misconfigured(f"{file} is no YAML: {error}") from error
    try:
        return Credentials.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise Misconfigured(f"{file}: {where}: {first['msg']}") from None


def read_secret(beside: Path, file: Path) -> SecretStr:
    """A key's file, found beside the file of credentials. Raises Misconfigured."""
    return SecretStr(_text(beside.parent / file))


def read_account(beside: Path, file: Path) -> dict[str, Any]:
    """A service account's file. Raises Misconfigured."""
    try:
        found = json.loads(read_secret(beside, file).get_secret_value())
    except ValueError:
        raise Misconfigured(f"{file} is not the JSON key file that Firebase gives out") from None
    if not isinstance(found, dict) or not found.get("project_id"):
        raise Misconfigured(f"{file} names no project_id: it is not the key file of a service account")
    return found


State = tuple[tuple[str, int, int], ...]


def state_of(file: Path, credentials: Credentials) -> State:
    """What changes when the file, or a key that it names, is replaced."""
    keys: list[Path] = []
    for app in credentials.apps.values():
        keys += [app.apns.key_file] if app.apns is not None else []
        keys += [app.fcm.account_file] if app.fcm is not None else []
        keys += [app.web_push.key_file] if app.web_push is not None else []
    found = []
    for path in (file, *(file.parent / key for key in keys)):
        try:
            stat = path.stat()
        except OSError:
            found.append((str(path), 0, 0))
        else:
            found.append((str(path), stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            read = opened.read(FILE_BYTES_MAX + 1)
        if len(read) > FILE_BYTES_MAX:
            raise Misconfigured(f"{file} has more than {FILE_BYTES_MAX} bytes: it is no file of keys")
        return read.decode()
    except OSError as error:
        raise Misconfigured(f"{file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise Misconfigured(f"{file} is no text") from None
