"""The locks pin and hash every file, name no place to fetch from, and agree with pyproject."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.sources import ROOT

FOLDER: Final = ROOT / "requirements"
LOCKS: Final = ("build", "runtime", "production", "dev")
LINUX: Final = (("x86_64", "3.11"), ("x86_64", "3.12"), ("aarch64", "3.11"), ("aarch64", "3.12"))

PIN: Final = re.compile(r"[a-z0-9][a-z0-9-]*==[A-Za-z0-9.!+]+( ; [^\\]+)?")
HASH: Final = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def entries(text: str) -> dict[str, list[str]]:
    """The logical lines of a lock: requirement -> its options, without comments."""
    logical = re.sub(r"\\\n", " ", text).splitlines()
    parts = [re.split(r"\s+(?=--)", line.strip()) for line in logical if line and not line.startswith("#")]
    return {first: options for first, *options in parts}


def faults(text: str) -> list[str]:
    """What a lock must not contain: a line without a version or hash, an option, an address."""
    found = [f"{where} is an address" for where in re.findall(r"\S+://\S+|\S*@\s*file\S*", text)]
    for requirement, options in entries(text).items():
        if not PIN.fullmatch(requirement):
            found.append(f"{requirement!r} is no pinned requirement")
        elif not options or not all(HASH.fullmatch(option) for option in options):
            found.append(f"{requirement!r} has {options or 'no hashes'}")
    return found


def pins(name: str, machine: str = "x86_64", python: str = "3.11") -> dict[str, str]:
    """Package -> version that a lock installs on Linux on such a machine."""
    environment = {
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": "linux",
        "os_name": "posix",
    }
    found: dict[str, str] = {}
    for text in entries((FOLDER / f"{name}.txt").read_text()):
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            package = canonicalize_name(requirement.name)
            assert package not in found, (
                f"{package} stands twice in {name}.txt for Python {python} on {machine}"
            )
            found[package] = str(requirement.specifier).removeprefix("==")
    return found


def project() -> dict[str, list[Requirement]]:
    """Lock -> what pyproject asks of it directly."""
    manifest = tomllib.loads((ROOT / "pyproject.toml").read_text())
    base = [Requirement(line) for line in manifest["project"]["dependencies"]]
    groups = {
        name: [Requirement(line) for line in lines] for name, lines in manifest["dependency-groups"].items()
    }
    extras = extra_parts()
    providers = [one for extra in ("apns", "fcm", "web-push") for one in extras[extra]]
    return {
        "runtime": base + providers + extras["local"],
        "production": base + providers,
        "dev": base + providers + extras["local"] + groups["dev"],
        "build": groups["build"],
    }


def extra_parts() -> dict[str, list[Requirement]]:
    """Extra -> what it installs; `all` names the others."""
    manifest = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = manifest["project"]["optional-dependencies"]
    return {name: [Requirement(line) for line in lines] for name, lines in extras.items()}


def embedded_parts() -> set[str]:
    """The dependencies that only the embedded stack needs."""
    names: set[str] = {canonicalize_name(one.name) for one in extra_parts()["local"]}
    return names - {"lz4"}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_and_hashes_every_package_and_names_no_address(name: str) -> None:
    """Nothing in a lock can be fetched in another version, with other bytes, or from a place it chose."""
    text = (FOLDER / f"{name}.txt").read_text()

    assert entries(text)
    assert faults(text) == []


@pytest.mark.parametrize(
    "planted",
    [
        "msgspec==0.22.0\n",
        "msgspec>=0.22 \\\n    --hash=sha256:" + "0" * 64 + "\n",
        "msgspec==0.22.0 \\\n    --hash=md5:" + "0" * 32 + "\n",
        "--extra-index-url https://packages.example/simple\n",
        "--find-links /somewhere\n",
        "msgspec @ https://packages.example/msgspec.whl \\\n    --hash=sha256:" + "0" * 64 + "\n",
        "-e .\n",
    ],
)
def test_a_loose_line_in_a_lock_is_found(planted: str) -> None:
    """A missing or weak hash, a range, an index, a folder of files and an address are all refused."""
    assert faults(planted)


@pytest.mark.parametrize("name", LOCKS)
@pytest.mark.parametrize(("machine", "python"), LINUX)
def test_a_lock_gives_what_the_project_asks_for(name: str, machine: str, python: str) -> None:
    """Every direct dependency is pinned to a version that pyproject allows (else: `make lock`)."""
    pinned = pins(name, machine, python)

    for wanted in project()[name]:
        if wanted.marker is None or applies(wanted.marker, machine, python):
            assert canonicalize_name(wanted.name) in pinned, f"{wanted} is not locked: run `make lock`"
            assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), (
                f"{wanted}: run `make lock`"
            )


def applies(marker: Marker, machine: str, python: str) -> bool:
    """Whether a dependency is wanted on Linux on such a machine."""
    return marker.evaluate({"platform_machine": machine, "python_version": python, "sys_platform": "linux"})


@pytest.mark.parametrize(("machine", "python"), LINUX)
def test_the_locks_agree(machine: str, python: str) -> None:
    """A package has one version in all locks, so that tests run what production runs."""
    seen: dict[str, set[str]] = {}
    for name in LOCKS:
        for package, version in pins(name, machine, python).items():
            seen.setdefault(package, set()).add(version)

    assert {package for package, versions in seen.items() if len(versions) > 1} == set()
    assert pins("production", machine, python).items() < pins("dev", machine, python).items()
    assert pins("runtime", machine, python).items() < pins("dev", machine, python).items()


def test_production_leaves_the_embedded_stack_out() -> None:
    """No broker, no Java and no database engine is in a production image, nor what only they need."""
    left_out = pins("runtime").keys() - pins("production").keys()

    assert embedded_parts() <= left_out
    assert {"chdb-core", "pyarrow", "pandas"} <= left_out


def test_the_extra_all_has_every_other_extra() -> None:
    """Whoever asks for all gets a part that was added later, too."""
    extras = extra_parts()
    (everything,) = extras.pop("all")

    assert everything.extras == extras.keys()


def test_the_lock_folder_holds_nothing_else() -> None:
    """Every file in requirements/ is a lock that these tests read."""
    assert {path.stem for path in Path(FOLDER).iterdir()} == set(LOCKS)
