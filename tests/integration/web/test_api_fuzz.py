"""Random calls of the API (schemathesis): no failure of ours, and every answer fits the OpenAPI description."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.support.api_service import ApiService, open_api_service
from tests.support.registries import mark_asked
from worker.domain.account import AccountState
from worker.domain.series import USUAL_SERIES
from worker.runtime.consent_parts import build_inviter
from worker.stores.redis.locks import Rate
from worker.web.api import callers as auth
from worker.web.api import create_described_app, router

pytestmark = pytest.mark.rest

INVITATION_ID = re.compile(r"[a-z0-9]{12}")
ACCOUNT_ID = re.compile(r"[a-z][a-z0-9]{0,31}")


@pytest.fixture
def service(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiService]:
    monkeypatch.setattr(auth, "BAD_TOKENS", Rate("bad-token", calls=1_000_000))
    monkeypatch.setattr(auth, "ANONYMOUS_CALLS", Rate("stranger", calls=1_000_000))
    monkeypatch.setattr("worker.web.file_uploads.IMPORTS", Rate("import", calls=1_000_000))
    monkeypatch.setattr("worker.web.dependencies.enqueue_backfill", lambda *_, **__: None)
    with open_api_service(redis_url, tmp_path, api_calls_per_minute=1_000_000) as built:
        yield built


def operations() -> list[str]:
    app = create_described_app()
    app.include_router(router)
    return [f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods]


# JSON Schema can't say that `from` must not come after `to`, what a mail address is, which day is today, nor that a
# reference must not hold the meter's number, nor what is in a file of measures.
BEYOND_SCHEMA = (
    *("GET /api/accounts/{account_id}/measures", "GET /api/accounts/{account_id}/costs"),
    *("POST /api/invitations", "POST /api/accounts", "POST /api/accounts/{account_id}/import"),
)


def fuzz(service: ApiService, label: str, send: Callable[[Any], None]) -> None:
    """Draw calls of one operation, good and bad ones, and hand each to ``send``.

    Not by schemathesis' own pytest plugin, which pytest 9.2 has outrun.
    """
    described = schemathesis.openapi.from_asgi("/api/openapi.json", service.app)
    method, path = label.split(" ")
    operation = described[path][method]
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @settings(max_examples=12, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def draw(case: Any) -> None:
            send(case)

        draw()


def loaded_account(service: ApiService) -> str:
    """Add an account with a complete history, so that its stream ends."""
    account_id = service.add()
    for series in USUAL_SERIES:
        mark_asked(service.parts.stores.registry, account_id, series, service.parts.sync.history.wanted_window(series))
    service.store_days(account_id, date(2024, 7, 1), [1000])
    return account_id


def aim(case: Any, account_id: str, invitation_id: str = "") -> None:
    """Replace every second well-formed id by that of an account or invitation, so that not all calls end with 404."""
    parameters = case.path_parameters or {}
    text = parameters.get("account_id")
    if isinstance(text, str) and ACCOUNT_ID.fullmatch(text) and len(text) % 2:
        parameters["account_id"] = account_id
    text = parameters.get("invitation_id")
    if isinstance(text, str) and INVITATION_ID.fullmatch(text) and ord(text[0]) % 2:
        parameters["invitation_id"] = invitation_id


@pytest.mark.parametrize("label", operations())
def test_with_a_token_anything_may_be_sent(service: ApiService, label: str) -> None:
    account_id, token = loaded_account(service), service.token()
    invitation_id = build_inviter(service.parts.stores).invite_account(account_id, "x")[0].id
    statuses: Counter[int] = Counter()

    def send(case: Any) -> None:
        nonlocal account_id
        if service.parts.stores.registry.accounts.get(account_id).state is AccountState.DELETED:
            account_id = loaded_account(service)
        aim(case, account_id, invitation_id)
        if label == "POST /api/invitations" and not statuses:
            case.body = {"account": account_id}  # A drawn id hardly ever is one of an account.
        answer = case.call_and_validate(
            headers={"Authorization": f"Bearer {token}"},
            excluded_checks=[positive_data_acceptance] if label in BEYOND_SCHEMA else [],
        )
        statuses[answer.status_code] += 1

    fuzz(service, label, send)
    # No drawn bytes are a file of measures: the route has tests of its own.
    reads_files = label == "POST /api/accounts/{account_id}/import"
    assert reads_files or statuses[200] + statuses[201] + statuses[204], f"nothing went through: {statuses}"
