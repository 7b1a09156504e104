"""The description of the API is valid, and a client generated from it reads accounts, measures and costs."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.support.api_service import TODAY, ApiService
from tests.support.web_server import running_server
from worker.accounts.prices import set_prices
from worker.domain.prices.own_prices import read_own_prices

PRICES = "[[electricity]]\nfrom = 2023-12-01\nsubscription = 31\nbase = 0.25\n"
PACKAGE = "releve_api_client"


def test_the_description_is_openapi_3_1(service: ApiService) -> None:
    described = service.stranger().get("/api/openapi.json").json()
    assert described["openapi"].startswith("3.1.")
    assert [str(fault) for fault in OpenAPIV31SpecValidator(described).iter_errors()] == []


@pytest.fixture
def generated(service: ApiService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that imports a module of the client, which is written to a temporary folder."""
    (tmp_path / "api.json").write_bytes(service.stranger().get("/api/openapi.json").content)
    (tmp_path / "config.yml").write_text("post_hooks: []\n")
    words = ("generate", "--path", "api.json", "--config", "config.yml", "--fail-on-warning")
    ran = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    monkeypatch.syspath_prepend(str(tmp_path / PACKAGE.replace("_", "-")))
    return lambda name: import_module(f"{PACKAGE}{name}")


def test_a_generated_client_reads_accounts_measures_costs_and_problems(service: ApiService, generated: Any) -> None:
    ids = sorted(service.add(number) for number in (11, 12))
    registry, first = service.parts.stores.registry, TODAY - timedelta(days=3)
    service.store_days(ids[0], first, [1000, 2000, 3000])
    set_prices(registry, registry.accounts.get_existing(ids[0]), own=read_own_prices(PRICES))
    models = generated(".models")

    with (
        running_server(service.app) as web,
        generated("").AuthenticatedClient(f"http://127.0.0.1:{web.port}", token=service.token()) as client,
    ):

        def ask(name: str, *words: str, **parameters: Any) -> Any:
            return generated(f".api.{name}").sync(*words, client=client, **parameters)

        listed = ask("accounts.list_accounts", limit=1, state=models.AccountState.READY)
        page = ask("measures.read_measures", ids[0], from_=first + timedelta(days=1))
        costs = ask("measures.read_account_costs", ids[0], from_=first, to=first)
        problem = ask("accounts.read_account", "nobody")
    assert [one.account for one in listed.accounts] == ids[:1] and listed.next_
    assert (page.series, page.unit, page.doctype) == (models.Series.DAILY, "kWh", "com.grandlyon.enedis.day")
    assert [(one.day, one.load) for one in page.documents] == [(23, 2.0), (24, 3.0)]
    assert [(one.start, one.energy_eur) for one in costs.costs] == [(first.isoformat(), "0.25")]
    assert (type(problem), problem.status, problem.error) == (models.Problem, 404, "unknown_account")
