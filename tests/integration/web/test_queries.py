"""Pages that only look, and commands that do, on stores that refuse to be written to."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from redis import Redis
from sqlalchemy import update

from tests.integration.web.test_access import TABLE, Row, Stage, ask, stage
from tests.integration.web.test_meter_reading import OUTCOME, come_unproven, shown_by, type_reading
from tests.support.api_service import open_api_service
from tests.support.connect_service import OTHER, ConnectService
from tests.support.gas_homes import PCE
from tests.support.household_pages import open_as_asked
from tests.support.installation import Installation, new_installation
from tests.support.own_home import SETTINGS, gateway_token
from tests.support.refusing_stores import WriteAttempted, refusing_writes
from tests.support.registries import METER, close_account, prepare_registry
from tests.unit.web.test_rights import GasService
from worker.domain.access_right import RightState
from worker.stores.registry.tables import ACCESS_KEYS
from worker.web.dependencies import RIGHT_STATE

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


def looked_at(redis: Redis, browser: TestClient, path: str) -> Response:
    """Load a page on stores that refuse writes."""
    with refusing_writes(redis, ALLOWED) as tried:
        answer: Response = browser.get(path)
    assert tried == []
    return answer


def test_the_page_of_a_reading_waits_for_the_task_and_its_button_opens_the_account(v2026: ConnectService) -> None:
    redis, browser = v2026.parts.stores.redis, v2026.browser()
    come_unproven(v2026, browser)
    type_reading(browser, shown_by(v2026))
    assert looked_at(redis, browser, OUTCOME).status_code == 202
    v2026.work()
    page = looked_at(redis, browser, OUTCOME)
    (account,) = v2026.accounts()
    assert page.status_code == 200 and not v2026.session(browser).accounts
    assert open_as_asked(browser, page).headers["location"] == f"/accounts/{account.id}"
    assert looked_at(redis, browser, OUTCOME).headers["location"] == f"/accounts/{account.id}"


def test_what_leads_back_to_the_suppliers_page_begins_a_consent_and_no_more(v2026: ConnectService) -> None:
    v2026.connect(v2026.browser())
    (account,) = v2026.accounts()
    redis, browser, again = v2026.parts.stores.redis, v2026.browser(), "/invitation/again"
    page = v2026.open_invitation(browser, v2026.invite()).headers["location"]
    v2026.come_back(browser, v2026.agree(page.replace(f"usage_point_id={METER}", f"usage_point_id={OTHER}")))
    with refusing_writes(redis, f"{ALLOWED}|Redis SET releve:consent_flow") as tried:
        assert browser.get(again).status_code == 303
    assert tried == []
    close_account(v2026.parts.stores.registry.consents, account.id, v2026.parts.stores.now())
    assert looked_at(redis, browser, again).headers["location"] == "/invitation"


def test_the_page_of_a_right_waits_for_the_task_and_its_button_opens_the_account(stage: Stage) -> None:
    stage.put_back()
    service = GasService(stage.service)
    redis, (browser, path) = service.parts.stores.redis, service.invited()
    service.declare(browser, path)
    assert looked_at(redis, browser, RIGHT_STATE).status_code == 202
    service.work()
    assert looked_at(redis, browser, RIGHT_STATE).status_code == 202
    service.grdf.state = RightState.ACTIVE
    service.sweep()
    page = looked_at(redis, browser, RIGHT_STATE)
    account = service.parts.stores.registry.accounts.find("grdf", PCE)
    assert page.status_code == 200 and account is not None
    assert open_as_asked(browser, page).headers["location"] == f"/accounts/{account.id}"
    assert looked_at(redis, browser, RIGHT_STATE).headers["location"] == f"/accounts/{account.id}"


def test_the_first_load_of_a_homes_page_writes_nothing(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.web.asgi.in_container", lambda: False)
    with open_api_service(redis_url, tmp_path, **SETTINGS) as before:
        before.parts.consent.assertion.add_by_token(gateway_token(), "cli:anna")
        app, redis = before.parts.create_app(), before.parts.stores.redis
        browser = TestClient(app, "http://127.0.0.1:8000", client=("127.0.0.1", 50_000))
        assert "/accounts/" in looked_at(redis, browser, "/").text


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
