"""The page of keys says what the code does: settings, purposes, and which service has which key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from config.settings import PREFIX, Settings
from worker.ops.secrets import SECRETS, Addresses, files_for_services
from worker.runtime import keys
from worker.stores.encryption import Purpose

PAGE: Final = (Path(__file__).parents[2] / "docs" / "reference" / "keys.md").read_text(encoding="utf-8")
CODE: Final = Path(__file__).parents[2] / "worker"
SETTINGS: Final = {
    PREFIX + name.upper()
    for name, field in Settings.model_fields.items()
    if field.annotation == SecretStr | None and re.search(r"_keys?$", name)
}


def rows(heading: str) -> Iterator[list[str]]:
    """Yield the cells of the table below a heading, without its first two lines."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    yield from ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:])


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_setting_of_keys_has_its_readers_its_file_and_what_its_loss_costs() -> None:
    assert len(SETTINGS) == 4
    assert {words(row[0])[0] for row in rows("Which services have which key")} == SETTINGS
    assert {words(row[0])[0] for row in rows("Lost or leaked keys")} == SETTINGS
    files = {words(row[0])[1] for row in rows("Which services have which key")}
    assert files == {keys.TOKEN_KEYS, keys.SESSION_KEY, keys.ERASURE_KEYS, "backup.keys"}


def test_the_readers_are_those_that_get_the_file() -> None:
    files = files_for_services({secret.name: secret.name for secret in SECRETS}, Addresses())
    for setting, readers, *_ in rows("Which services have which key"):
        name = words(setting)[0].removeprefix(PREFIX).lower()
        assert set(words(readers)) == {service for service, contents in files.items() if name in contents}, name


def test_every_purpose_stands_there_with_its_setting() -> None:
    told = {(words(row[1])[0], words(row[0])[0]) for row in rows("What each key protects")}
    derived = {(purpose.label, purpose.setting) for purpose in Purpose}
    hashing = "RELEVE_ERASURE_KEYS"
    assert told == derived | {(label, hashing) for label in purposes_of_hashes()}
    assert {setting for _, setting in told} == SETTINGS


def purposes_of_hashes() -> set[str]:
    """Return the purposes that texts are hashed for under the erasure keys, as the code names them."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in CODE.rglob("*.py"))
    named = re.findall(r'hashes\.(?:all_hashes|hash|matches)[(,] ?"([a-z ]+)"', code)
    constants = re.findall(r"_hashes\.(?:all_hashes|hash|matches)\((_[A-Z]+)", code)
    assert set(constants) == {"_PURPOSE"}, "the ledger's"
    return {*named, "ledger"}


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", PAGE)
    assert len(named) >= 2
    assert all((CODE.parent / path).exists() for path in named)
