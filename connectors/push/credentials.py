"""The file of credentials: which app sends by which provider, and with whose keys.

Keys stand in files of their own, beside it or where a secret store mounts them; what is read is never logged.
"""

from __future__ import annotations

import difflib
import json
import re
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
    server: str | None = Field(None, pattern=r"^[A-Za-z0-9.-]+:[0-9]{1,5}$")
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


class _Loader(yaml.SafeLoader):
    """Takes every scalar for a text but true, false and null: a key id may look like a date or a number."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as the base class has it
        first: [one for one in known if one[0].rpartition(":")[2] in {"bool", "null", "merge"}]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_credentials(file: Path) -> Credentials:
    """Read and check the file; relative paths in it start beside it. Raises Misconfigured and nothing else.

    What it raises quotes no line and no value of the file: a key may stand where it does not belong.
    """
    text = _text(file, str(file))
    try:
        found = yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f", line {mark.line + 1}"
        raise Misconfigured(
            f"{file}{line}: it is no YAML; look at indents, colons and quotes there"
        ) from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        raise Misconfigured(
            f"{file} is no YAML; it may hold control characters, or nest too deeply"
        ) from None
    try:
        return Credentials.model_validate(found)
    except (ValidationError, RecursionError) as error:
        fault = _fault(error) if isinstance(error, ValidationError) else "it nests too deeply"
    raise Misconfigured(f"{file}: {fault}")


def _fault(error: ValidationError) -> str:
    """The first mistake, by its place; its own words only where they quote nothing."""
    errors = error.errors(include_input=False, include_context=False, include_url=False)
    # A name that is misspelt is missing, too.
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    loc = first["loc"]
    if first["type"] != "extra_forbidden":
        return f"{place_of(*loc)}: {first['msg']}"
    where, known = place_of(*loc[:-1]), _fields_at(loc[:-1])
    close = difflib.get_close_matches(str(loc[-1])[:64], known, n=1)
    remedy = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return f"{where} has a field that is not known; {remedy}"


def place_of(*loc: int | str) -> str:
    """A place in the file, in words; a part that is no plain name may be a key, and is not shown."""
    return ".".join(part if _PLACE.fullmatch(part) else "..." for part in map(str, loc)) or "the file"


_PLACE: Final = re.compile(r"[A-Za-z0-9._-]{1,40}")
_PARTS: Final[dict[str, type[BaseModel]]] = {"apns": Apns, "fcm": Fcm, "web_push": WebPush}


def _fields_at(loc: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = App if loc else Credentials
    return sorted(_PARTS.get(str(loc[-1]) if len(loc) > APP_DEPTH else "", model).model_fields)


APP_DEPTH: Final = 2
"""`apps.shop`."""


def read_secret(beside: Path, file: Path, field: str) -> SecretStr:
    """A key's file, found beside the file of credentials. Raises Misconfigured.

    `field`: what names it in the file of credentials. Its path is not shown: it may be a key.
    """
    return SecretStr(_text(beside.parent / file, f"{beside}: {field} names a file that"))


def read_account(beside: Path, file: Path, field: str) -> dict[str, Any]:
    """A service account's file. Raises Misconfigured."""
    said = f"{beside}: {field} names a file that"
    try:
        found = json.loads(read_secret(beside, file, field).get_secret_value())
    except (ValueError, RecursionError):
        raise Misconfigured(f"{said} is not the JSON key file that Firebase gives out") from None
    if not isinstance(found, dict) or not found.get("project_id"):
        raise Misconfigured(f"{said} has no project_id: it is not the key file of a service account")
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
        except (OSError, ValueError):
            found.append((str(path), 0, 0))
        else:
            found.append((str(path), stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def _text(file: Path, said: str) -> str:
    """A file's text. `said`: how messages call it."""
    try:
        with file.open("rb") as opened:
            read = opened.read(FILE_BYTES_MAX + 1)
        if len(read) > FILE_BYTES_MAX:
            raise Misconfigured(f"{said} has more than {FILE_BYTES_MAX} bytes: it is no file of keys")
        return read.decode()
    except OSError as error:
        raise Misconfigured(f"{said} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Misconfigured(f"{said} is no text") from None
    except ValueError:
        raise Misconfigured(f"{said} can't be read: its name is none") from None
