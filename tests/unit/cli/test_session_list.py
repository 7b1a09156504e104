"""`releve access list --kind session`: one JSON object a line for scripts, and moments in Europe/Paris for people."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from config.settings import get_settings
from tests.support.registries import registry_sealer
from worker.cli.main import cli
from worker.cli.printing import local_text
from worker.domain.sessions import KeyKind
from worker.runtime.stores import open_current_registry
from worker.stores.registry.access_keys import AccessKeyTable


def test_an_open_session_is_listed_as_json_and_in_local_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEVE_DATA_DIR", str(tmp_path))
    get_settings.cache_clear()
    with ExitStack() as stack:
        database = open_current_registry(get_settings(), stack).database
        keys = AccessKeyTable(database, registry_sealer())
        key, _ = keys.create(KeyKind.OPERATOR_SESSION, "alice", device="Firefox")
    run = CliRunner()
    row = json.loads(run.invoke(cli, ["access", "list", "--kind", "session", "--json"]).stdout)
    assert (row["session"], row["kind"], row["owner"]) == (key.id, "operator", "alice")
    assert datetime.fromisoformat(row["created_at"]) == key.created_at
    table = run.invoke(cli, ["access", "list", "--kind", "session"], env={"COLUMNS": "200"}).stdout
    assert local_text(key.created_at) in table
    get_settings.cache_clear()
