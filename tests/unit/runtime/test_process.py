"""The end of the parts closes what they opened."""

from __future__ import annotations

from pathlib import Path

from config.settings import Settings
from tests.support.parts import Parts
from tests.support.registries import METER, NOW
from tests.support.sqlite_connections import assert_all_closed, recorded_connections
from worker.domain.documents import ALL_KEYS
from worker.domain.series import Doctype
from worker.stores.encryption import generate_key


def test_a_closed_runtime_leaves_no_connection_to_its_databases(tmp_path: Path, redis_url: str) -> None:
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path,
        redis_url=redis_url,
        token_keys=generate_key(),
        enedis_url="http://127.0.0.1:9",
    )
    with recorded_connections() as connections:
        with Parts(settings, guarded=True) as parts:
            account, _ = parts.stores.registry.accounts.add("enedis", METER, NOW, token_needed=False)
            assert parts.stores.measures.read(account.id, {Doctype.DAY: ALL_KEYS}) == {Doctype.DAY: []}
        assert_all_closed(connections)
