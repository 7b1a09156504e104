"""What the words of 0.2.0 print, and their exit code, as that release gave them on its kept installation."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from tests.golden.keep_old_words import FILE, STDIN, mask, prepare, to_words
from tests.support.installation import Installation
from tests.support.kept_installation import load_kept, load_redis

RELEASE: Final[dict[str, tuple[int, str]]] = load_kept(FILE)

# What is told in other words since: each call is understood as before, and only its text for people is not compared.
REWORDED: Final = {
    "history ACCOUNT 2024-07-01",
    *("completeness ACCOUNT", "completeness --all", "completeness --all --rebuild"),
    "accounts find METER",
    "requests list",
    "backfill ACCOUNT",
    "backup-info backup.zip",
    "operators add carol --password - --no-second-factor",
    "operators list",  # It has a column more.
    *("sessions list", "sessions list --account ACCOUNT"),
    *("sessions list --kind household", "sessions list --kind operator"),
    "proxy-clients list",  # It has a column more.
    # Their columns have another order, and some are left out at 80 columns.
    *("invitations list", "invitations list --tenant default", "quarantine list", "tokens list"),
    *("keys rotate", "secrets make secrets", "secrets make secrets --redis redis:1"),  # A secret more, too.
}
# What is meant to be another result.
CHANGED: Final = {
    **dict.fromkeys(("operators end OPERATOR", "operators end OPERATOR --yes"), "the last administrator stays"),
    "quarantine": "the group is a command now, which lists",
    "tenants": "the group is a command now, which lists",
    "accounts find METER --json": "the sentence about yesterday has other words",
    "completeness --all --rebuild --json": "days that no document shows are asked for again",
    "proxy-clients new Cozy --redirect-uri https://a.example/b --json": "PKCE is required by default",
}


@pytest.fixture(scope="module")
def upgraded(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Return the kept installation with the tables of this version; tests copy it."""
    installation = prepare(tmp_path_factory.mktemp("kept"), redis_url)
    installation.releve("migrate")
    return installation


@pytest.mark.parametrize("call", [call for call in RELEASE if call not in CHANGED])
def test_the_words_of_the_release_give_what_they_gave(
    call: str, upgraded: Installation, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kept.db", "ledger.ndjson", "backup.zip"):
        shutil.copyfile(upgraded.folder / name, tmp_path / name)
    load_redis(redis_url)
    url = f"sqlite:///{tmp_path}/kept.db"
    monkeypatch.setattr("sys.stdin", io.StringIO(STDIN))
    changes = {"data_dir": str(tmp_path), "registry_url": url, "measures_url": url}
    result = Installation(tmp_path, redis_url, upgraded.settings).run(*to_words(call), **changes)
    code, out = RELEASE[call]
    assert result.code == code, result.err
    if "--json" not in call:
        assert mask(result.out) == out or call in REWORDED
        return
    ours, theirs = ([json.loads(line) for line in text.splitlines()] for text in (mask(result.out), out))
    assert [known_part(our, their) for our, their in zip(ours, theirs, strict=True)] == theirs


def known_part(ours: Any, theirs: Any) -> Any:
    """Return what is printed without the keys that are new, which a program passes over."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return {name: known_part(ours.get(name), each) for name, each in theirs.items()}
    if isinstance(theirs, list) and isinstance(ours, list) and len(ours) == len(theirs):
        return [known_part(our, their) for our, their in zip(ours, theirs, strict=True)]
    return ours
