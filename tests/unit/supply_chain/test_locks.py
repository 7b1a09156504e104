"""The locks hold all that setup.cfg and pyproject.toml ask for, with hashes; make and the image install them (L14)."""

from __future__ import annotations

import configparser
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.lock_files import FOLDER, ROOT, LockedPackage, lock_files, read_lock

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS: dict[str, list[LockedPackage]] = {path.stem: read_lock(path) for path in lock_files()}
RUN, OTEL, DEV, BUILD, TOOLS = (
    {canonicalize_name(package.name): package for package in LOCKS.get(name, [])}
    for name in ("run", "otel", "dev", "build", "tools")
)


def requirements_of(section: str, option: str) -> list[Requirement]:
    return [Requirement(line) for line in SETUP[section][option].split("\n") if line]


RUNNING = requirements_of("options", "install_requires")
TESTING = [
    requirement
    for extra in SETUP["options.extras_require"]
    for requirement in requirements_of("options.extras_require", extra)
]
GROUPS = {name: [Requirement(line) for line in lines] for name, lines in PYPROJECT.get("dependency-groups", {}).items()}
ASKED = [
    *(("run", requirement) for requirement in RUNNING),
    *(("otel", requirement) for requirement in [*RUNNING, *requirements_of("options.extras_require", "otel")]),
    *(("dev", requirement) for requirement in [*RUNNING, *TESTING]),
    *((name, requirement) for name, requirements in GROUPS.items() for requirement in requirements),
]


@pytest.mark.parametrize(("lock", "requirement"), ASKED, ids=[f"{lock}-{asked.name}" for lock, asked in ASKED])
def test_each_requirement_is_locked_within_its_range(lock: str, requirement: Requirement) -> None:
    versions = [
        package.version
        for package in LOCKS[lock]
        if canonicalize_name(package.name) == canonicalize_name(requirement.name)
    ]
    assert versions, f"make lock: {requirement.name} is missing in requirements/{lock}.lock"
    assert all(requirement.specifier.contains(version, prereleases=True) for version in versions), "make lock"


@pytest.mark.parametrize("name", ["build", "dev", "otel", "run", "tools"])
def test_each_locked_package_has_hashes_and_one_version(name: str) -> None:
    packages = LOCKS[name]
    assert packages
    assert [package.name for package in packages if not package.hashes] == []
    assert len({package.name for package in packages}) == len(packages)


def test_no_lock_names_a_host_a_file_or_an_option() -> None:
    for path in lock_files():
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        assert [
            line for line in lines if "://" in line or (line.startswith("-") and "--hash=sha256:" not in line)
        ] == []
        assert not re.search(r"\b(index|find-links|trusted-host|editable)\b|@ ", "\n".join(lines))


def test_the_locks_of_tracing_and_of_the_tests_are_the_lock_of_the_image_and_more() -> None:
    run, otel, dev = (
        {name: (package.version, package.hashes) for name, package in lock.items()} for lock in (RUN, OTEL, DEV)
    )
    assert run.items() < otel.items() < dev.items()


def test_the_image_gets_no_tool_of_the_tests_and_of_the_build() -> None:
    tools = {"pytest", "ruff", "setuptools", "uv", "pip-audit", "cyclonedx-bom"}
    assert not tools & RUN.keys()
    assert {"uv", "pip-audit", "cyclonedx-bom"} <= TOOLS.keys()
    assert [str(requirement) for requirement in GROUPS["build"]] == PYPROJECT["build-system"]["requires"]
    assert BUILD.keys() == {"setuptools"}


@pytest.mark.parametrize("file", ["Makefile", "Dockerfile"])
def test_whatever_pip_installs_is_hashed_or_is_this_folder(file: str) -> None:
    """A package by name and range would come in any version that a registry offers that day."""
    text = (ROOT / file).read_text(encoding="utf-8").replace("\\\n", " ")
    for name, value in re.findall(r"^(\w+) *:= *(.+)$", text, re.MULTILINE):
        text = text.replace(f"$({name})", value)
    commands = re.findall(r"\bpip (?:[^&\n]*? )?(?:install|wheel) [^&\n]*", text)
    assert commands
    for command in commands:
        assert "--require-hashes" in command or "--no-deps" in command, command
        assert "--no-deps" not in command or "--no-build-isolation" in command or "--no-index" in command, command


def test_d30_make_says_how_long_it_installs_before_the_silence_of_pip() -> None:
    rules = re.findall(
        r"^\$\(VENV\)/\.installed(?:-dev)?:.*\n((?:\t.*\n)+)",
        (ROOT / "Makefile").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert len(rules) == 2
    for rule in rules:
        assert re.match(r'\t@echo "installing .*minutes', rule), rule


def test_a_line_without_a_pin_or_with_another_hash_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    for text in ("celery>=5\n", "celery==5.*\n", "celery @ https://example.org/x.whl\n", "celery==5.0 --hash=md5:00\n"):
        lock.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="celery"):
            read_lock(lock)


def test_a_lock_is_read_with_markers_and_hashes(tmp_path: Path) -> None:
    lock, digest = tmp_path / "x.lock", "sha256:" + "0" * 64
    lock.write_text(
        f"# made by make lock\na==1.0 ; sys_platform == 'win99' \\\n    --hash={digest} \\\n    --hash={digest}\n"
        f"    # via b\nb==2.0 \\\n    --hash={digest}\n    # via\n    #   c\n",
        encoding="utf-8",
    )
    first, second = read_lock(lock)
    assert (first.name, first.version, first.hashes, first.installed_here) == ("a", "1.0", (digest, digest), False)
    assert (second.name, second.version, second.hashes, second.installed_here) == ("b", "2.0", (digest,), True)
    assert FOLDER == ROOT / "requirements"
