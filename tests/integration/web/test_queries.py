"""Pages that only look, and commands that do, on stores that refuse to be written to."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from redis import Redis
from sqlalchemy import update

from tests.integration.web.test_access import TABLE, Row, Stage, ask, stage
from tests.support.installation import Installation, new_installation
from tests.support.refusing_stores import WriteAttempted, refusing_writes
from tests.support.registries import METER, prepare_registry
from worker.stores.registry.tables import ACCESS_KEYS

__all__ = ["stage"]

# A limit counts calls, and a visit is recorded after the answer: neither is what was looked at.
ALLOWED: Final = r"Redis \w+ releve:limit|SQL UPDATE (api_tokens SET last_used_at|access_keys SET last_seen_at)"
QUERIES: Final = [row for row in TABLE if row.route.startswith("GET ")]
# It begins a consent: the browser goes to the supplier, and comes back to it.
PAGES: Final[Mapping[str, set[str]]] = {"GET /connect/{supplier}": {"Redis SET releve:consent_flow"}}
# The commands that only look and leave no audit entry.
LOOKING: Final = (
    "access list --json",
    "accounts list --json",
    "accounts series ACCOUNT --json",
    "accounts show ACCOUNT --json",
    "audit --json",
    "consents --json",
    "consents --invitations --json",
    "consents --requests --json",
    "consents verify",
    "explain ACCOUNT --json",
    "explain ACCOUNT --days --json",
    "explain ACCOUNT 2024-07-20 --corrections --json",
    "home --json",
    "incidents --json",
    "outputs list --json",
    "plan --json",
    "quarantine --json",
    "show ACCOUNT",
    "status --json",
    "status --freshness --json",
    "status ACCOUNT --json",
    "tenants --json",
    "verify ACCOUNT --json",
)


@pytest.mark.parametrize("row", QUERIES, ids=lambda row: f"{row.route}{'?' + '&'.join(row.query) if row.query else ''}")
def test_a_page_that_is_looked_at_writes_nothing(stage: Stage, row: Row) -> None:
    stage.put_back(row.state)
    seen = update(ACCESS_KEYS).values(last_seen_at=datetime.now(UTC) - timedelta(minutes=2))
    stage.service.parts.stores.registry.database.change(seen)  # So that each visit would be recorded.
    writes = set[str]()
    for member in row.cells:
        stage.service.forget_limits()
        with refusing_writes(stage.service.parts.stores.redis, ALLOWED) as tried, suppress(WriteAttempted):
            ask(stage.client(member), row, stage.cast.home.id, stage.cast)
        writes.update(tried)
    assert writes == PAGES.get(row.route, set())


@pytest.mark.parametrize("words", LOOKING)
@pytest.mark.parametrize("has_keys", [True, False], ids=["keys", "no key yet"])
def test_a_command_that_looks_writes_nothing(tmp_path: Path, redis_url: str, words: str, has_keys: bool) -> None:
    prepare_registry(tmp_path)
    installation: Installation = new_installation(tmp_path, redis_url)
    with installation.open() as parts:
        account, _ = parts.stores.registry.accounts.add("enedis", METER, parts.stores.now(), token_needed=False)
        parts.stores.measures.prepare()
    for key in () if has_keys else tmp_path.glob("*.key*"):
        key.unlink()
    before = files_of(tmp_path)
    with Redis.from_url(redis_url) as redis, refusing_writes(redis) as tried:
        is_home = {"home": "true", "gateway_url": "http://127.0.0.1:9"} if words.startswith("home") else {}
        result = installation.run(*words.replace("ACCOUNT", account.id).split(), **is_home)
    assert (result.code, set(tried)) == (0, set()), result.err
    assert files_of(tmp_path) == before


def files_of(folder: Path) -> dict[str, bytes]:
    """Return all files but those in which SQLite notes who reads."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name[-4:] not in ("-wal", "-shm"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
