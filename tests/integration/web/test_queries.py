"""Pages that only look, and commands that do, on stores that refuse to be written to."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from redis import Redis

from tests.integration.web.test_access import TABLE, Row, Stage, ask, stage
from tests.support.installation import Installation, new_installation
from tests.support.refusing_stores import WriteAttempted, refusing_writes
from tests.support.registries import METER, prepare_registry

__all__ = ["stage"]

# A limit counts calls, and the visit of an API token is noted: neither is what was looked at.
ALLOWED: Final = r"Redis \w+ releve:limit|SQL UPDATE api_tokens SET last_used_at"
QUERIES: Final = [row for row in TABLE if row.route.startswith("GET ")]
# What looks and writes all the same; the issue of queries that write takes lines away here, and adds none.
_DAYS: Final = {"Redis HSET releve:history"}
PAGES: Final[Mapping[str, set[str]]] = {
    "GET /connect/{supplier}": {"Redis SET releve:consent_flow"},  # It begins a consent, and stays.
    "GET /accounts/{account_id}": _DAYS,
    "GET /operator/accounts/{account_id}": _DAYS,
    "GET /api/accounts/{account_id}/status": _DAYS,
    "GET /api/accounts/{account_id}/progress": _DAYS,
}
COMMANDS: Final[Mapping[str, set[str]]] = {
    "explain ACCOUNT --json": {"SQL CREATE TABLE IF NOT"},
    "show ACCOUNT": {"SQL CREATE TABLE IF NOT"},
    "status ACCOUNT --json": _DAYS,
}
LOOKING: Final = (
    "accounts list --json",
    "accounts series ACCOUNT --json",
    "accounts show ACCOUNT --json",
    "audit --json",
    "completeness ACCOUNT --json",
    "consents --json",
    "consents verify",
    "explain ACCOUNT --json",
    "freshness --json",
    "grants list --json",
    "history ACCOUNT 2024-07-20 --json",
    "incidents --json",
    "invitations list --json",
    "operators list --json",
    "outputs list --json",
    "plan --json",
    "proxy-clients list --json",
    "quarantine list --json",
    "requests list --json",
    "sessions list --json",
    "show ACCOUNT",
    "status --json",
    "status ACCOUNT --json",
    "tenants list --json",
    "tokens list --json",
)


@pytest.mark.parametrize("row", QUERIES, ids=lambda row: f"{row.route}{'?' + '&'.join(row.query) if row.query else ''}")
def test_a_page_that_is_looked_at_writes_nothing(stage: Stage, row: Row) -> None:
    stage.put_back(row.state)
    writes = set[str]()
    for member in row.cells:
        stage.service.forget_limits()
        with refusing_writes(stage.service.parts.stores.redis, ALLOWED) as tried, suppress(WriteAttempted):
            ask(stage.client(member), row, stage.cast.home.id, stage.cast)
        writes.update(tried)
    assert writes == PAGES.get(row.route, set())


@pytest.mark.parametrize("words", LOOKING)
def test_a_command_that_looks_writes_nothing(tmp_path: Path, redis_url: str, words: str) -> None:
    prepare_registry(tmp_path)
    installation: Installation = new_installation(tmp_path, redis_url)
    with installation.open() as parts:
        account, _ = parts.stores.registry.accounts.add("enedis", METER, parts.stores.now(), token_needed=False)
    with Redis.from_url(redis_url) as redis, refusing_writes(redis) as tried:
        result = installation.run(*words.replace("ACCOUNT", account.id).split())
    assert set(tried) == COMMANDS.get(words, set())
    assert tried or result.code == 0, result.err
