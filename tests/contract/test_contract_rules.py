"""Each rule of the wire contract refuses what it is there to refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import schemas
from schemas import FACTS, golden, lock, topics
from schemas.catalogue import load_catalogue

CONTRACT = Path(schemas.__file__).parent

Topics = dict[str, dict[str, Any]]


@pytest.fixture
def contract(tmp_path: Path) -> Path:
    """A copy of the wire contract to break."""
    for part in ("facts", "examples"):
        shutil.copytree(CONTRACT / part, tmp_path / part)
    for part in ("topics.yaml", "facts.lock"):
        shutil.copy(CONTRACT / part, tmp_path / part)
    return tmp_path


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text, "the plant must change something"
    file.write_text(text.replace(old, new), encoding="utf-8")


def _copy(contract: Path, source: str, target: str) -> None:
    (contract / target).parent.mkdir(exist_ok=True)
    shutil.copy(contract / source, contract / target)


def _add_version(contract: Path, version: int, old: str, new: str) -> None:
    """A next version of AppOpened, with its example, and `old` replaced by `new` in the schema."""
    _copy(contract, "facts/AppOpened/v1.avsc", f"facts/AppOpened/v{version}.avsc")
    _copy(contract, "examples/AppOpened/v1.json", f"examples/AppOpened/v{version}.json")
    _edit(contract / f"facts/AppOpened/v{version}.avsc", old, new)


class TestLock:
    """What was released stays as it was."""

    def test_released_files_are_as_they_were(self) -> None:
        """No version file differs from its digest in facts.lock, and none is missing from it."""
        assert lock.problems(CONTRACT) == []

    def test_a_changed_file_is_caught_with_its_remedy(self, contract: Path) -> None:
        """Even a changed doc is: the file is the record of what was released."""
        _edit(contract / "facts/AppOpened/v1.avsc", "opened", "OPENED")

        (problem,) = lock.problems(contract)
        assert "facts/AppOpened/v1.avsc was changed" in problem
        assert "add the change as the next version" in problem

    def test_a_changed_example_is_caught(self, contract: Path) -> None:
        """Old bytes mean for ever what they meant: an example is not bent to fit a changed reader."""
        _edit(contract / "examples/AppOpened/v1.json", '"shop"', '"store"')

        (problem,) = lock.problems(contract)
        assert "examples/AppOpened/v1.json was changed" in problem

    def test_a_removed_file_is_caught(self, contract: Path) -> None:
        """A version that the ledger still holds can't go."""
        (contract / "facts/AppOpened/v1.avsc").unlink()

        (problem,) = lock.problems(contract)
        assert "facts/AppOpened/v1.avsc is gone" in problem

    def test_locking_adds_new_files_and_forgives_no_changed_one(self, contract: Path) -> None:
        """A new version gets its line; the line of an old one is never rewritten."""
        _add_version(contract, 2, '"installation"', '"device"')
        example, schema = lock.problems(contract)
        assert "examples/AppOpened/v2.json is new" in example
        assert "facts/AppOpened/v2.avsc is new" in schema

        _edit(contract / "facts/AppOpened/v1.avsc", "opened", "OPENED")

        assert lock.lock_new_files(contract) == ["examples/AppOpened/v2.json", "facts/AppOpened/v2.avsc"]
        (problem,) = lock.problems(contract)
        assert "facts/AppOpened/v1.avsc was changed" in problem


class TestGoldenBytes:
    """The tool that writes an example's bytes writes the right ones, and only where there are none."""

    def test_bytes_that_are_missing_are_written_as_the_codec_writes_them(self, contract: Path) -> None:
        """Whatever fields the fact has, bytes and maps included."""
        kinds = ("RecordDeadLettered", "CustomActivity", "PushDecided", "AppOpened")
        files = [contract / f"examples/{kind}/v1.json" for kind in kinds]
        before = [json.loads(file.read_text("utf-8")) for file in files]
        for file, example in zip(files, before, strict=True):
            file.write_text(json.dumps({"fact": example["fact"]}), encoding="utf-8")

        assert golden.fill_in(contract) == sorted(f"examples/{kind}/v1.json" for kind in kinds)
        assert [json.loads(file.read_text("utf-8")) for file in files] == before

    def test_bytes_that_are_there_stay(self, contract: Path) -> None:
        """Even wrong ones: they are what was released, and another test finds them."""
        _edit(contract / "examples/AppOpened/v1.json", '"hex": "c301', '"hex": "c3ff')

        assert golden.fill_in(contract) == []

    def test_an_example_that_does_not_fit_is_refused(self, contract: Path) -> None:
        """A field that is missing, or one too many, is named before anything is written."""
        file = contract / "examples/AppOpened/v1.json"
        example = json.loads(file.read_text("utf-8"))
        file.write_text(json.dumps({"fact": {**example["fact"], "mood": "good"}}), encoding="utf-8")

        with pytest.raises(ValueError, match="AppOpened must spell out"):
            golden.fill_in(contract)


FOLDER_RULES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a gap in the versions": (
        lambda c: _add_version(c, 3, '"installation"', '"device"'),
        r"versions \[1, 3\]: number them from 1 without gaps",
    ),
    "a fact without versions": (
        lambda c: (c / "facts/AppClosed").mkdir(),
        r"AppClosed has versions \[\]",
    ),
    "a version that changes nothing": (
        lambda c: _add_version(c, 2, "The subject opened", "Somebody opened"),
        "AppOpened/v2.avsc encodes exactly as AppOpened v1",
    ),
    "a schema in the wrong folder": (
        lambda c: _add_version(c, 2, '"AppOpened"', '"AppClosed"'),
        "must define the record optin.AppOpened",
    ),
    "a schema outside the namespace": (
        lambda c: _add_version(c, 2, '"optin"', '"other"'),
        "must define the record optin.AppOpened",
    ),
    "a stray file among the versions": (
        lambda c: _copy(c, "facts/AppOpened/v1.avsc", "facts/AppOpened/v01.avsc"),
        "v01.avsc is no schema: name it v<N>.avsc",
    ),
    "an example without a schema": (
        lambda c: _copy(c, "examples/AppOpened/v1.json", "examples/AppClosed/v1.json"),
        "AppClosed/v1.json has no schema",
    ),
    "a schema without an example": (
        lambda c: (c / "examples/AppOpened/v1.json").unlink(),
        "AppOpened/v1.json is missing",
    ),
}


class TestFolderRules:
    """Schemas and examples belong together and are numbered without gaps."""

    def test_the_untouched_copy_loads(self, contract: Path) -> None:
        """What the errors below are planted into is sound, and equals what is shipped."""
        catalogue = load_catalogue(contract)

        assert (catalogue.facts, catalogue.topics) == (FACTS, topics())

    def test_versions_are_ordered_as_numbers(self, contract: Path) -> None:
        """Version 10 comes after version 9, and each has a fingerprint of its own."""
        for version in range(2, 11):
            _add_version(contract, version, '"installation"', f'"installation_{version}"')

        catalogue = load_catalogue(contract)

        assert catalogue.fact_schema("AppOpened").version == 10
        assert len(catalogue.by_fingerprint) == len(FACTS) + 9

    @pytest.mark.parametrize(("plant", "message"), FOLDER_RULES.values(), ids=FOLDER_RULES)
    def test_a_broken_folder_is_refused(
        self, contract: Path, plant: Callable[[Path], None], message: str
    ) -> None:
        """Each rule of the folder stops the load and says what to do."""
        plant(contract)

        with pytest.raises(ValueError, match=message):
            load_catalogue(contract)


def _set(topic: str, key: str, value: Any) -> Callable[[Topics], None]:
    return lambda table: table[topic].__setitem__(key, value)


def _config(topic: str, key: str, value: Any) -> Callable[[Topics], None]:
    return lambda table: table[topic]["config"].__setitem__(key, value)


def _without(topic: str, key: str) -> Callable[[Topics], None]:
    return lambda table: table[topic]["config"].__delitem__(key)


def _carry(topic: str, *facts: str) -> Callable[[Topics], None]:
    """`topic` carries these facts, and no other topic does."""

    def plant(table: Topics) -> None:
        for entry in table.values():
            entry["facts"] = [fact for fact in entry["facts"] if fact not in facts]
        table[topic]["facts"] += facts

    return plant


def _twice(table: Topics) -> None:
    table["a second entry"] = table["optin.activity"]


TOPIC_RULES: dict[str, tuple[Callable[[Topics], None], str]] = {
    "an unknown key": (_set("optin.tokens", "retentoin", 1), r"unknown \['retentoin'\]"),
    "a missing key": (lambda t: t["optin.tokens"].__delitem__("key"), r"missing \['key'\]"),
    "a word for a list": (_set("optin.tokens", "facts", "TokenRegistered"), "as lists"),
    "a list for a value": (_config("optin.tokens", "segment.ms", [1]), "a number or a string"),
    "yes for a value": (_config("optin.tokens", "segment.ms", True), "a number or a string"),
    "no config": (_set("optin.tokens", "config", None), "so must its config"),
    "a topic twice": (_twice, "lists optin.activity twice"),
    "a name without prefix": (_set("optin.tokens", "name", "tokens"), "tokens: name it optin"),
    "an unheard-of key": (_set("optin.tokens", "key", "user"), "key must be one of subject"),
    "no partitions": (_set("optin.tokens", "partitions", 0), "a number from 1"),
    "many partitions": (_set("optin.tokens", "partitions", "many"), "a number from 1"),
    "no description": (_set("optin.tokens", "description", " "), "say in description"),
    "nobody writes": (_set("optin.tokens", "producers", []), "producers must name at least one"),
    "a stranger reads": (_set("optin.tokens", "consumers", ["crm"]), "consumers must name"),
    "a fact twice": (
        lambda t: t["optin.tokens"]["facts"].append("AppOpened"),
        "puts AppOpened on optin.tokens and on optin.activity",
    ),
    "a fact nowhere": (
        lambda t: t["optin.activity"]["facts"].remove("AppOpened"),
        "no topic carries AppOpened",
    ),
    "a fact that does not exist": (
        lambda t: t["optin.activity"]["facts"].append("AppClosed"),
        "schemas/facts/AppClosed does not exist",
    ),
    "a subject's fact without its key": (
        _carry("optin.dead-letters", "AppOpened"),
        "AppOpened has a subject",
    ),
    "a letter keyed by subject": (
        _carry("optin.tokens", "RecordDeadLettered"),
        "RecordDeadLettered has no subject",
    ),
    "a claim keyed by item": (
        _carry("optin.items", "InstallationClaimed"),
        "InstallationClaimed has no item",
    ),
    "a claim keyed by its subject, which may be nobody": (
        _carry("optin.activity", "InstallationClaimed"),
        "InstallationClaimed has no subject",
    ),
    "no cleanup": (_without("optin.tokens", "cleanup.policy"), "must be delete or compact"),
    "facts compacted": (
        lambda t: t["optin.tokens"].update(config=t["optin.definitions"]["config"]),
        "compaction would forget facts",
    ),
    "a misspelt setting": (
        _config("optin.tokens", "retention.msec", 1),
        r"does not know \['retention.msec'\]",
    ),
    "no retention": (_without("optin.tokens", "retention.ms"), r"needs \['retention.ms'\]"),
    "no message limit": (
        _without("optin.tokens", "max.message.bytes"),
        r"needs \['max.message.bytes'\]",
    ),
    "compaction by default": (
        _without("optin.definitions", "min.cleanable.dirty.ratio"),
        r"needs \['min.cleanable.dirty.ratio'\]",
    ),
    "a compacted topic that also expires": (
        _config("optin.definitions", "retention.ms", 1),
        r"does not know \['retention.ms'\]",
    ),
    "the sender's clock": (
        _config("optin.tokens", "message.timestamp.type", "CreateTime"),
        "set message.timestamp.type=LogAppendTime",
    ),
    "a ledger that forgets by time": (
        _config("optin.permissions", "retention.ms", 1),
        "the ledger is kept for ever",
    ),
    "a ledger that forgets by size": (
        _config("optin.permissions", "retention.bytes", 1),
        "the ledger is kept for ever",
    ),
    "claims that are forgotten": (
        _config("optin.links", "retention.ms", 1),
        "optin.links: the ledger is kept for ever",
    ),
    "a claim by its sender's clock": (
        _config("optin.links", "message.timestamp.type", "CreateTime"),
        "keyed by installation the record's time",
    ),
    "activity for ever": (_config("optin.activity", "retention.ms", -1), "set a positive"),
    "a word for a number": (_config("optin.activity", "retention.ms", "long"), "whole number"),
    "no dead letters": (
        _set("optin.dead-letters", "name", "optin.letters"),
        "needs optin.dead-letters",
    ),
    "a letter that does not fit": (
        _config("optin.dead-letters", "max.message.bytes", 1048576),
        "does not fit twice into optin.dead-letters",
    ),
}


class TestTopicRules:
    """topics.yaml can't be edited into losing or leaking anything."""

    @pytest.mark.parametrize(("plant", "message"), TOPIC_RULES.values(), ids=TOPIC_RULES)
    def test_a_broken_table_is_refused(
        self, contract: Path, plant: Callable[[Topics], None], message: str
    ) -> None:
        """Each rule of topics.yaml stops the load and says what to do."""
        file = contract / "topics.yaml"
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))["topics"]
        table: Topics = {entry["name"]: entry for entry in entries}

        plant(table)
        file.write_text(yaml.safe_dump({"topics": list(table.values())}), encoding="utf-8")

        with pytest.raises(ValueError, match=message):
            load_catalogue(contract)

    def test_a_file_of_another_shape_is_refused(self, contract: Path) -> None:
        """A table that is no list under `topics` says so."""
        (contract / "topics.yaml").write_text("- optin.tokens\n", encoding="utf-8")

        with pytest.raises(ValueError, match="must hold one list, `topics`"):
            load_catalogue(contract)
