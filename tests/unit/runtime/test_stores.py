"""What `worker.runtime.stores` opens, and what it needs for that."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from config.settings import Settings
from tests.support.registries import prepare_registry
from worker.domain.account import AccountState
from worker.runtime.stores import open_registry


def test_tables_without_secrets_are_read_without_keys_and_none_is_made(tmp_path: Path) -> None:
    prepare_registry(tmp_path)
    with ExitStack() as opened:
        registry = open_registry(Settings.from_env(_env_file=None, data_dir=str(tmp_path)), opened)
        assert registry.overview.count_accounts_by_state()[AccountState.READY] == 0
        assert registry.completeness.count_active() == {} and registry.proxy_clients.list_clients() == []
        assert list(tmp_path.glob("*.keys")) == []
        assert registry.tenants.list_tenants() and [file.name for file in tmp_path.glob("*.keys")] == ["token.keys"]
