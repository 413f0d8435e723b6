"""The evolution gate: no version of a fact can be added, or changed, that makes records unreadable."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import schemas
from schemas import lock
from tests.support.evolution import breaks, departures, last_release, versions

CONTRACT = Path(schemas.__file__).parent
FIRST = "facts/PermissionRevoked/v3.avsc"
SECOND = "facts/PermissionRevoked/v4.avsc"

Fields = dict[str, dict[str, Any]]


def _next_version(change: Callable[[Fields], None]) -> dict[str, str]:
    """The contract's files with a version 4 of PermissionRevoked, which differs by `change`."""
    files = versions(CONTRACT)
    record = json.loads(files[FIRST])
    fields = {field["name"]: field for field in record["fields"]}
    change(fields)
    record["fields"] = list(fields.values())
    return {**files, SECOND: json.dumps(record)}


def _add(**field: Any) -> Callable[[Fields], None]:
    return lambda fields: fields.update({field["name"]: field})


def _symbols(*symbols: str, **enum: Any) -> Callable[[Fields], None]:
    def change(fields: Fields) -> None:
        cause = {key: value for key, value in fields["cause"]["type"].items() if key != "default"}
        fields["cause"]["type"] = {**cause, "symbols": list(symbols), **enum}

    return change


RENAMED = ("os_settings", "app_settings", "removed", "provider", "support", "unknown", "browser")
GOOD: dict[str, Callable[[Fields], None]] = {
    "a field with a default": _add(name="model", type=["null", "string"], default=None),
    "a field with a default less": lambda fields: fields.__delitem__("sequence"),
    "a symbol renamed in an enum with a default": _symbols(*RENAMED, default="unknown"),
}
BREAKING: dict[str, tuple[Callable[[Fields], None], str]] = {
    "a required field less": (
        lambda fields: fields.__delitem__("installation"),
        rf"{FIRST} can't read what {SECOND} wrote: installation at",
    ),
    "a required field more": (
        _add(name="model", type="string"),
        rf"{SECOND} can't read what {FIRST} wrote: model at",
    ),
    "another type": (
        lambda fields: fields["occurred_at"].update(type="string"),
        rf"{SECOND} can't read what {FIRST} wrote: reader type: string not compatible .* long at",
    ),
    "a wider type, which old readers can't read": (
        lambda fields: fields["occurred_at"].update(type="double"),
        rf"{FIRST} can't read what {SECOND} wrote: reader type: long not compatible .* double at",
    ),
    "null where there was none": (
        lambda fields: fields["installation"].update(type=["null", "string"]),
        rf"{FIRST} can't read what {SECOND} wrote: reader type: string not compatible .* null",
    ),
    "a renamed symbol in an enum without a default": (
        _symbols(*RENAMED),
        rf"{SECOND} can't read what {FIRST} wrote: \{{'uninstall'\}} at",
    ),
    "a renamed enum": (
        _symbols("unknown", name="Cause", default="unknown"),
        rf"{SECOND} can't read what {FIRST} wrote: expected: optin.RevocationCause at",
    ),
}


class TestFullTransitive:
    """Every version reads every other, older and newer, by Apache Avro's own rules."""

    def test_all_versions_of_every_fact_read_each_other(self) -> None:
        """Nothing in the contract breaks anything in it."""
        assert breaks(versions(CONTRACT)) == []

    @pytest.mark.parametrize("change", GOOD.values(), ids=GOOD)
    def test_a_change_that_everybody_can_read_is_let_through(self, change: Callable[[Fields], None]) -> None:
        """The gate refuses what breaks, not what changes."""
        assert breaks(_next_version(change)) == []

    @pytest.mark.parametrize(("change", "message"), BREAKING.values(), ids=BREAKING)
    def test_a_breaking_change_is_refused(self, change: Callable[[Fields], None], message: str) -> None:
        """The gate names reader, writer, and the field."""
        problems = breaks(_next_version(change))

        assert any(_matches(message, problem) for problem in problems), problems

    def test_versions_far_apart_are_compared_too(self) -> None:
        """Version 5 fits version 4 but no earlier one: transitive means that this is refused."""
        files = _next_version(lambda fields: fields.__delitem__("sequence"))
        record = json.loads(files[SECOND])
        record["fields"].append({"name": "sequence", "type": "string", "default": ""})
        files["facts/PermissionRevoked/v5.avsc"] = json.dumps(record)

        problems = breaks(files)

        assert problems
        assert not any("v4" in problem for problem in problems)


def _matches(pattern: str, text: str) -> bool:
    return pytest.RaisesExc(ValueError, match=pattern).matches(ValueError(text))


class TestAgainstTheLastRelease:
    """What was tagged stays as it was tagged, and fits everything that came since."""

    def test_the_contract_keeps_what_was_last_released(self) -> None:
        """Against the last tag; without one (or without git), against the digests in facts.lock."""
        release = last_release(CONTRACT.parent)
        if release is None:
            print("no tag here: compared with facts.lock")
            assert lock.problems(CONTRACT) == []
            return
        print(f"compared with the tag {release.tag}")
        assert departures(CONTRACT, release) == []

    @pytest.fixture
    def tagged(self, tmp_path: Path) -> Path:
        """A checkout of its own whose contract is released as v0.1.0; gives the checkout."""
        if shutil.which("git") is None:
            pytest.skip("git is not installed")
        for part in ("facts", "examples"):
            shutil.copytree(CONTRACT / part, tmp_path / "schemas" / part)
        shutil.copy(CONTRACT / "facts.lock", tmp_path / "schemas")
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        for command in (
            ("init", "-q"),
            ("add", "."),
            (*who, "commit", "-q", "-m", "Release"),
            (*who, "tag", "--no-sign", "v0.1.0"),
        ):
            subprocess.run(["git", *command], cwd=tmp_path, check=True)
        return tmp_path

    def _departures(self, root: Path) -> list[str]:
        release = last_release(root)
        assert release is not None
        assert release.tag == "v0.1.0"
        assert release.files.keys() > versions(root / "schemas").keys() - {SECOND}
        return departures(root / "schemas", release)

    def test_an_untouched_contract_departs_from_nothing(self, tagged: Path) -> None:
        """What the changes below are planted into is sound."""
        assert self._departures(tagged) == []

    def test_an_edited_file_is_caught_even_if_its_lock_was_edited_with_it(self, tagged: Path) -> None:
        """Somebody who rewrites facts.lock as well still meets the tag."""
        file = tagged / "schemas" / FIRST
        file.write_text(file.read_text("utf-8").replace('"support", ', ""), encoding="utf-8")
        (tagged / "schemas" / "facts.lock").unlink()
        lock.lock_new_files(tagged / "schemas")
        assert lock.problems(tagged / "schemas") == []

        problems = self._departures(tagged)

        assert f"{FIRST} is not as v0.1.0 released it" in problems[0]
        assert "facts.lock has lost a line that v0.1.0 has" in problems[1]

    def test_a_removed_version_is_caught(self, tagged: Path) -> None:
        """A file that was released can't go."""
        (tagged / "schemas" / FIRST).unlink()

        assert f"{FIRST} is not as v0.1.0 released it" in self._departures(tagged)[0]

    def test_a_changed_example_is_caught(self, tagged: Path) -> None:
        """Bytes that were released mean what they meant."""
        file = tagged / "schemas" / "examples" / "PermissionRevoked" / "v1.json"
        file.write_text(file.read_text("utf-8").replace("os_settings", "support"), encoding="utf-8")

        assert "examples/PermissionRevoked/v1.json is not as v0.1.0" in self._departures(tagged)[0]

    def test_a_new_version_that_breaks_a_released_one_is_caught(self, tagged: Path) -> None:
        """Both ways: old records for new readers, new records for old readers."""
        files = _next_version(lambda fields: fields.__delitem__("installation"))
        (tagged / "schemas" / SECOND).write_text(files[SECOND], encoding="utf-8")

        problems = self._departures(tagged)
        assert len(problems) == 3  # one for each released version
        assert f"v0.1.0:{FIRST} can't read what {SECOND} wrote: installation" in problems[-1]

    def test_a_folder_without_tags_has_no_release(self, tagged: Path, tmp_path_factory: Any) -> None:
        """Nor has one outside git, even inside of somebody else's checkout."""
        subprocess.run(["git", "tag", "-d", "v0.1.0"], cwd=tagged, check=True, capture_output=True)

        assert last_release(tagged) is None
        assert last_release(tmp_path_factory.mktemp("plain")) is None
        assert last_release(tagged / "schemas") is None
