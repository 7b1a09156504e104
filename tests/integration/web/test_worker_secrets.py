"""N7: with all that a worker has, no cookie can be made that the web application takes.

A worker has the token keys, the erasure keys, Redis, and may write to every table. It lacks the session key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, insert, select, update

from tests.support.api_service import ApiService, ApiServices, sign_in
from worker.domain.sessions import KeyKind
from worker.stores.database import place_of
from worker.stores.encryption import KeyedHashes, Purpose, Sealer, SecretTexts, Signer
from worker.stores.registry.access_keys import AccessKeyTable
from worker.stores.registry.households import HouseholdTable
from worker.stores.registry.tables import ACCESS_KEYS, ACCOUNTS, HOUSEHOLD_ACCOUNTS, HOUSEHOLDS
from worker.web.api.callers import CSRF_HEADER
from worker.web.dependencies import OPERATOR_COOKIE, SESSION_COOKIE

TOKEN_KEY, ERASURE_KEY = "0123456789abcdef-token-keys-of-workers", "0123456789abcdef-erasure-keys-of-workers"
HOUSEHOLD = SecretTexts(KeyKind.HOUSEHOLD_SESSION.value)
OPERATOR = SecretTexts(KeyKind.OPERATOR_SESSION.value)
KINDS = ((KeyKind.HOUSEHOLD_SESSION, HOUSEHOLD), (KeyKind.OPERATOR_SESSION, OPERATOR))


@dataclass
class Worker(ApiService):
    """What an intruder in a worker may do; the application is there to be deceived."""

    account: str = ""

    @property
    def keys(self) -> list[str]:
        return [TOKEN_KEY, ERASURE_KEY]

    def sealers(self) -> Iterator[Sealer]:
        """Yield all that its keys can seal with, for each purpose."""
        yield from (self.parts.stores.keys.registry, self.parts.stores.keys.redis, self.parts.stores.keys.broker)
        yield from (Sealer([key], purpose) for key in self.keys for purpose in Purpose)

    def run(self, *statements: Any) -> None:
        with self.parts.stores.registry.database.writing() as connection:
            for statement in statements:
                connection.execute(statement)

    def row(self, table: Any, row_id: str) -> dict[str, Any]:
        return dict(self.parts.stores.registry.database.fetch(select(table).where(table.c.id == row_id))[0]._mapping)

    def tries(self, cookie: str) -> list[tuple[int, str]]:
        """Return what the application answers to a browser with this cookie, of whichever kind."""
        self.forget_limits()
        browser = TestClient(
            self.app, cookies={SESSION_COOKIE: cookie, OPERATOR_COOKIE: cookie}, follow_redirects=False
        )
        paths = ("/api/accounts", f"/accounts/{self.account}", f"/api/accounts/{self.account}", "/operator")
        return [(answer.status_code, answer.text) for answer in map(browser.get, paths)]


@pytest.fixture(scope="module")
def api_settings() -> dict[str, str]:
    return {"token_keys": TOKEN_KEY, "erasure_keys": ERASURE_KEY}


@pytest.fixture
def worker(kept_apis: ApiServices) -> Worker:
    service = kept_apis.new()
    worker = Worker(service.parts, service.app)
    worker.account = worker.add()
    return worker


def assert_outside(worker: Worker, cookie: str) -> None:
    api, page, one, operator = worker.tries(cookie)
    assert (api[0], page[0], one[0]) == (401, 404, 401)
    assert operator[0] in (200, 303, 404) and "/operator/logout" not in operator[1], "no page for who is logged in"
    assert not any(worker.account in text for _, text in (api, operator))


def content_of(kind: str, owner: str, secret_hash: str) -> dict[str, Any]:
    now = int(datetime.now(UTC).timestamp())
    times = {"created_at": now, "expires_at": now + 3600}
    return {"hash": secret_hash, "kind": kind, "owner": owner, **times, "details": {}}


def new_row(key_id: str, kind: str, owner: str, sealed: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    times = {"created_at": now, "last_seen_at": now, "expires_at": now + timedelta(hours=1)}
    return {"id": key_id, "kind": kind, "owner": owner, "sealed": sealed, "device": "", **times}


def test_the_settings_of_this_test_let_the_right_browser_in(worker: Worker) -> None:
    text, _ = sign_in(worker.parts, worker.account)
    api, page, one, _ = worker.tries(text)
    assert (api[0], page[0], one[0]) == (200, 200, 200)


@pytest.mark.parametrize(("kind", "texts"), KINDS)
def test_a_row_that_is_inserted_opens_nothing_whatever_it_is_sealed_with(
    worker: Worker, kind: KeyKind, texts: SecretTexts
) -> None:
    household = worker.parts.access.households.create({worker.account: 0})
    for sealer in worker.sealers():
        key_id, secret_hash, text = texts.create()
        content = json.dumps(content_of(kind.value, household.id, secret_hash))
        for sealed in (sealer.seal(content, place_of(ACCESS_KEYS.c.sealed, key_id)), content):
            worker.run(delete(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key_id))
            worker.run(insert(ACCESS_KEYS).values(**new_row(key_id, kind.value, household.id, sealed)))
            assert_outside(worker, text)


@pytest.mark.parametrize(("kind", "texts"), KINDS)
def test_a_row_whose_hash_owner_kind_or_end_was_changed_opens_nothing_more(
    worker: Worker, kind: KeyKind, texts: SecretTexts
) -> None:
    """The columns in the clear say nothing: what counts is sealed."""
    access = worker.parts.access
    nobody, household = access.households.create({}), access.households.create({worker.account: 0})
    key, text = access.keys.create(kind, nobody.id)
    _, secret_hash, mine = texts.create(key.id)
    for sealer in worker.sealers():
        sealed = sealer.seal(
            json.dumps(content_of(kind.value, household.id, secret_hash)), place_of(ACCESS_KEYS.c.sealed, key.id)
        )
        before = worker.row(ACCESS_KEYS, key.id)
        worker.run(update(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key.id).values(sealed=sealed, owner=household.id))
        assert_outside(worker, mine)
        assert_outside(worker, text)
        worker.run(update(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key.id).values(**before))
    for other in KeyKind:
        changed = {"kind": other, "owner": household.id, "expires_at": None}
        worker.run(update(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key.id).values(**changed))
        for cookie in (text, mine, text.replace(kind.value, other.value, 1), mine.replace(kind.value, other.value, 1)):
            assert_outside(worker, cookie)


def test_a_sealed_text_of_another_row_opens_nothing(worker: Worker) -> None:
    """An intruder with a session of his own puts his sealed text, or theirs, into another row."""
    access = worker.parts.access
    theirs_text, _ = sign_in(worker.parts, worker.account)
    theirs = worker.row(ACCESS_KEYS, theirs_text.split("_")[1])
    mine, my_text = access.keys.create(KeyKind.HOUSEHOLD_SESSION, access.households.create({}).id)
    worker.run(update(ACCESS_KEYS).where(ACCESS_KEYS.c.id == mine.id).values(sealed=theirs["sealed"]))
    assert_outside(worker, my_text)
    assert_outside(worker, "_".join((*theirs_text.split("_")[:1], mine.id, theirs_text.split("_", 2)[2])))
    copied, _, copied_text = HOUSEHOLD.create()
    worker.run(insert(ACCESS_KEYS).values({**theirs, "id": copied}))
    assert_outside(worker, copied_text)


def test_planted_accounts_of_a_household_are_shown_to_nobody(worker: Worker) -> None:
    """Rows of ``household_accounts`` find accounts and show none; the household's own text counts."""
    access = worker.parts.access
    mine, my_text = access.households.create({}), ""
    _, my_text = access.keys.create(KeyKind.HOUSEHOLD_SESSION, mine.id)
    worker.run(insert(HOUSEHOLD_ACCOUNTS).values(household_id=mine.id, account_id=worker.account))
    assert shows_nothing(worker, my_text)
    theirs = access.households.create({worker.account: 0})
    is_mine = HOUSEHOLDS.c.id == mine.id
    numbers = json.dumps({worker.account: 0})
    place = place_of(HOUSEHOLDS.c.sealed, mine.id)
    forged = [sealer.seal(numbers, place) for sealer in worker.sealers()]
    for sealed in (worker.row(HOUSEHOLDS, theirs.id)["sealed"], numbers, *forged):
        worker.run(update(HOUSEHOLDS).where(is_mine).values(sealed=sealed))
        assert shows_nothing(worker, my_text)
    worker.run(update(ACCOUNTS).values(session_number=7))
    assert shows_nothing(worker, my_text)


def shows_nothing(worker: Worker, cookie: str) -> bool:
    api, page, one, _ = worker.tries(cookie)
    assert page[0] == 404 and one[0] in (401, 404)
    assert api[0] == 401 or json.loads(api[1])["accounts"] == []
    return True


def test_cookies_of_older_versions_open_nothing_under_a_workers_keys(worker: Worker) -> None:
    ends = {"iat": datetime.now(UTC), "exp": datetime.now(UTC) + timedelta(hours=1)}
    claims: Sequence[dict[str, Any]] = (
        {"aud": "session", "sid": "x", "accounts": {worker.account: 0}},
        {"aud": "session", "accounts": [worker.account]},
        {"aud": "operator", "sid": "x", "inside": True},
    )
    for key in worker.keys:
        for claim in claims:
            assert_outside(worker, jwt.encode({**claim, **ends}, key, "HS256"))
    assert_outside(worker, jwt.encode({**claims[2], **ends}, None, "none"))


def test_no_form_can_be_made_for_a_session_that_is_known(worker: Worker) -> None:
    """A session's id stands in its row; a form of it needs the session key all the same."""
    text, right = sign_in(worker.parts, worker.account)
    sid = text.split("_")[1]
    forged = [Signer([key]).csrf_token(sid) for key in worker.keys]
    forged += [KeyedHashes([key]).hash("csrf", sid) for key in worker.keys]
    browser = TestClient(worker.app, cookies={SESSION_COOKIE: text})
    for csrf in forged:
        refused = browser.delete(f"/api/accounts/{worker.account}", headers={CSRF_HEADER: csrf})
        assert refused.status_code == 403
    assert browser.delete(f"/api/accounts/{worker.account}", headers={CSRF_HEADER: right}).status_code == 200


def test_tables_under_a_workers_keys_are_read_by_nobody(worker: Worker) -> None:
    """The program itself, started with a worker's keys as session keys, makes nothing that web takes."""
    database = worker.parts.stores.registry.database
    for key in worker.keys:
        sealer = Sealer([key], Purpose.WEB_ACCESS)
        household = HouseholdTable(database, sealer).create({worker.account: 0})
        _, text = AccessKeyTable(database, sealer).create(KeyKind.HOUSEHOLD_SESSION, household.id)
        assert_outside(worker, text)
