"""An installation for tests: its settings, runtimes on them, and the ``releve`` command in this process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from config.settings import PREFIX, Settings
from tests.support.commands import CommandResult, run_releve
from tests.support.factories import NOW
from worker.runtime.process import Runtime


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

    def open(self, *, guarded: bool = False, **changes: Any) -> Runtime:
        """Return a new runtime to enter, as another process would have it."""
        return Runtime(self.read_settings(**changes), guarded=guarded)

    def run(self, *words: str, **changes: str) -> CommandResult:
        env = {PREFIX + name.upper(): value for name, value in self.all_settings(**changes).items()}
        return run_releve(self.folder, env, *words)

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
