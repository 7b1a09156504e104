"""Whatever is sent to the API: no failure of ours, and every answer has the shape that is described."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.support.api_service import ApiHouse, api_house
from worker.domain.consent.accounts import AccountState
from worker.domain.measures.readings import Series
from worker.web.api import auth, set_up
from worker.web.rate_limit import Rate

ACCOUNT_ID = re.compile(r"[a-z][a-z0-9]{0,31}")


@pytest.fixture
def house(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiHouse]:
    monkeypatch.setattr(auth, "BAD_TOKENS", Rate("bad-token", calls=1_000_000))
    monkeypatch.setattr(auth, "STRANGERS", Rate("stranger", calls=1_000_000))
    monkeypatch.setattr("worker.web.api.accounts.publish_backfill", lambda *_: None)
    with api_house(redis_url, tmp_path, api_calls_per_minute=1_000_000) as built:
        yield built


def operations() -> list[str]:
    app = FastAPI(openapi_url="/api/openapi.json")
    set_up(app)
    return [f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods]


def fuzz(house: ApiHouse, label: str, send: Callable[[Any], None]) -> None:
    """Draw calls of one operation, good and bad ones, and hand each to ``send``.

    Not by schemathesis' own pytest plugin, which pytest 9.2 has outrun.
    """
    described = schemathesis.openapi.from_asgi("/api/openapi.json", house.app)
    method, path = label.split(" ")
    operation = described[path][method]
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

        @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def draw(case: Any) -> None:
            send(case)

        draw()


def loaded_account(house: ApiHouse) -> str:
    """An account with its history done, so that its stream ends."""
    account_id = house.add()
    for series in Series:
        house.runtime.state.mark_done(account_id, series, house.runtime.history.wanted(series))
    house.store_days(account_id, date(2024, 7, 1), [1000])
    return account_id


def aim(case: Any, account_id: str) -> None:
    """Every second well-formed id becomes that of an account, so that not all ends with 404."""
    told = (case.path_parameters or {}).get("account_id")
    if isinstance(told, str) and ACCOUNT_ID.fullmatch(told) and len(told) % 2:
        case.path_parameters["account_id"] = account_id


@pytest.mark.parametrize("label", operations())
def test_with_a_token_anything_may_be_sent(house: ApiHouse, label: str) -> None:
    account_id, token = loaded_account(house), house.token()
    statuses: Counter[int] = Counter()

    def send(case: Any) -> None:
        nonlocal account_id
        if house.runtime.registry.get(account_id).state is AccountState.DELETED:
            account_id = loaded_account(house)
        aim(case, account_id)
        answer = case.call_and_validate(
            headers={"Authorization": f"Bearer {token}"},
            # from behind to is well-formed and means nothing: JSON Schema has no words for that
            excluded_checks=[positive_data_acceptance] if "measures" in label else [],
        )
        statuses[answer.status_code] += 1

    fuzz(house, label, send)
    assert statuses[200] + statuses[201] + statuses[204], f"nothing went through: {statuses}"


@pytest.mark.parametrize("label", operations())
def test_without_a_token_everything_is_refused(house: ApiHouse, label: str) -> None:
    account_id = loaded_account(house)

    def send(case: Any) -> None:
        aim(case, account_id)
        case.headers, case.cookies = {}, {}
        answer = case.call()
        assert answer.status_code in (400, 401, 422)
        case.validate_response(answer)

    fuzz(house, label, send)
    assert house.runtime.registry.get(account_id).active
