"""An installation for tests: its settings, its parts on them, and the ``releve`` command in this process."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from config.settings import PREFIX, Settings
from tests.support.commands import CommandResult, run_releve
from tests.support.factories import NOW
from tests.support.kept_state import KeptState
from tests.support.parts import Parts
from tests.support.registries import empty_registry, prepare_registry
from worker.logs import REDACTOR
from worker.runtime.keys import ERASURE_KEYS, SESSION_KEY, TOKEN_KEYS
from worker.stores.encryption import generate_key
from worker.stores.measures.sql import TABLES


@dataclass(frozen=True)
class Installation:
    """An installation with its data in ``folder``; a later setting replaces a usual one."""

    folder: Path
    redis_url: str
    settings: Mapping[str, str]

    def but(self, **settings: str) -> Installation:
        return replace(self, settings={**self.settings, **settings})

    def all_settings(self, **changes: Any) -> dict[str, Any]:
        usual = {"data_dir": str(self.folder), "redis_url": self.redis_url, "enedis_url": "http://127.0.0.1:9"}
        if "notify_url" in {**self.settings, **changes}:
            usual["webhook_networks"] = "127.0.0.0/8"  # The receivers of tests are on this machine.
        return {**usual, "pretend_now": NOW.isoformat(), **self.settings, **changes}

    def read_settings(self, **changes: Any) -> Settings:
        return Settings.from_env(_env_file=None, **self.all_settings(**changes))

    def open(self, *, guarded: bool = False, **changes: Any) -> Parts:
        """Return new parts to enter, like those of another process."""
        return Parts(self.read_settings(**changes), guarded=guarded)

    def environment(self, **changes: str) -> dict[str, str]:
        return {PREFIX + name.upper(): value for name, value in self.all_settings(**changes).items()}

    def run(self, *words: str, **changes: str) -> CommandResult:
        return run_releve(self.folder, self.environment(**changes), *words)

    def releve(self, *words: str, code: int = 0, **changes: str) -> CommandResult:
        """Run a command, which must end with ``code``."""
        result = self.run(*words, **changes)
        assert result.code == code, result.out + result.err
        return result

    def query(self, *words: str, **changes: str) -> Any:
        """Run a command with ``--json`` and return what it prints."""
        return json.loads(self.releve(*words, "--json", **changes).out)

    def query_rows(self, *words: str, **changes: str) -> list[Any]:
        """Run a command that prints a list with ``--json`` and return its rows."""
        return self.releve(*words, "--json", **changes).rows


def new_installation(folder: Path, redis_url: str = "", **settings: str) -> Installation:
    return Installation(folder, redis_url, settings)


def prepare_installation(folder: Path) -> None:
    """Create an empty registry in ``folder``, and the keys that all installations of this process have."""
    prepare_registry(folder)
    for name, key in _keys().items():
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(key)


@cache
def _keys() -> dict[str, str]:
    """Return keys by file; creating new ones would be the slowest part of an installation's start."""
    return {TOKEN_KEYS: generate_key(), **{name: secrets.token_urlsafe(48) for name in (ERASURE_KEYS, SESSION_KEY)}}


class KeptParts:
    """Parts that several tests share. After each ``empty`` they are like new, except for their keys."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        # Created once, because it would otherwise be created at first use.
        parts.stores.measures.prepare()
        self._memory, self._secrets = (
            KeptState(parts.stores, parts.sync, parts.consent, parts.access),
            vars(REDACTOR).copy(),
        )

    def empty(self) -> None:
        """Delete all rows, measures, keys of Redis and the ledger, and restore the objects in memory."""
        self._memory.restore()
        vars(REDACTOR).update(self._secrets)  # The end of each test removes them from the process.
        self.parts.stores.redis.flushdb()
        empty_registry(self.parts.stores.registry.database)
        _empty_measures(Path(self.parts.stores.settings.measures().removeprefix("sqlite:///")))
        ledger = self.parts.stores.erasure_ledger.file.path
        if ledger.is_dir():  # So that nothing could be written to it.
            ledger.rmdir()
        ledger.unlink(missing_ok=True)


def _empty_measures(file: Path) -> None:
    if file.exists():
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")
            for table in TABLES.values():
                connection.execute(f"DELETE FROM {table.name}")
