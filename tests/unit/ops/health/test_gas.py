"""Checks of GRDF: address and credentials, token, quota and gate, where there is gas and nowhere else."""

from __future__ import annotations

import pytest

from config.settings import ConfigError
from tests.support.canned_server import answer, canned_server
from tests.support.registries import NOW, follow_fleet
from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.clients.grdf import GRDF
from worker.domain.series import USUAL_GAS_SERIES
from worker.errors import WorkerError
from worker.ops.check_results import Level, run_check
from worker.ops.health_checks import CHECKS
from worker.ops.startup import check_credentials
from worker.ops.supplier_checks import check_gas_access, check_incidents, check_night, check_quota, check_token
from worker.runtime.supplier_settings import chosen_presets, ledger_of
from worker.stores.registry import Registry

SIMULATED = {"grdf_client_id": "id", "grdf_client_secret": "secret", "grdf_url": "http://127.0.0.1:9"}
REAL = {"grdf_client_id": "example_id", "grdf_client_secret": "secret"}


def test_nothing_is_checked_of_gas_without_it(build_connections: BuildConnections) -> None:
    settings = build_connections().settings
    assert not [name for name, check in CHECKS.items() if "grdf" in name and check.applies(settings)]
    with_gas = build_connections(**SIMULATED).settings
    assert [name for name, check in CHECKS.items() if "grdf" in name and check.applies(with_gas)] == [
        "grdf access",
        "grdf",
        "grdf quota",
    ]


def test_the_address_and_the_limits_are_told(build_connections: BuildConnections) -> None:
    simulated = build_connections(**SIMULATED, grdf_calls_per_second=0)
    words = ("grdf-adict at 127.0.0.1", "a simulator", "no limit of calls a second", "6000 calls a day")
    assert_result(check_gas_access(simulated), Level.OK, *words)
    own = ("api.grdf.fr, GRDF's own host", "1 calls a second")
    assert_result(check_gas_access(build_connections(**REAL)), Level.OK, *own)
    assert_result(
        check_gas_access(build_connections(**REAL, grdf_preset="grdf-adict-sandbox")), Level.OK, "grdf-adict-sandbox"
    )


@pytest.mark.parametrize("wrong", [{"grdf_client_secret": ""}, {"grdf_client_id": "releve-simulator"}])
def test_grdf_is_not_asked_without_credentials_of_ones_own(
    build_connections: BuildConnections, wrong: dict[str, str]
) -> None:
    connections = build_connections(**{**REAL, **wrong})
    result = run_check("grdf access", CHECKS["grdf access"].run, connections)
    assert result.level is Level.FAIL
    assert "set RELEVE_GRDF_CLIENT_ID and RELEVE_GRDF_CLIENT_SECRET" in result.text
    with pytest.raises(ConfigError, match="RELEVE_GRDF_CLIENT_SECRET"):
        check_credentials(connections.settings)
    assert run_check("credentials", CHECKS["credentials"].run, connections).level is Level.OK, "it is told once"


def test_a_refused_application_is_told_with_the_settings_to_mend(
    build_connections: BuildConnections, redis_url: str
) -> None:
    with canned_server(*[answer(401, {"error": "invalid_client"})] * 3) as server:
        connections = build_connections(**{**SIMULATED, "grdf_url": server.url}, redis_url=redis_url)
        connections.redis.flushdb()
        with pytest.raises(WorkerError, match="RELEVE_GRDF_CLIENT_ID"):
            list(check_token(connections, GRDF.name))


def test_a_token_is_asked_for_at_the_address_of_grdf(build_connections: BuildConnections, redis_url: str) -> None:
    token = {"access_token": "t", "token_type": "Bearer", "expires_in": 14399, "scope": "/adict/v2 u0001"}
    with canned_server(answer(200, token)) as server:
        connections = build_connections(**{**SIMULATED, "grdf_url": server.url}, redis_url=redis_url)
        connections.redis.flushdb()
        assert_result(check_token(connections, GRDF.name), Level.OK, "gives the application a token")


def test_gas_that_is_taken_away_again_is_told_while_there_are_homes_with_it(
    build_connections: BuildConnections, twenty_accounts: Registry
) -> None:
    notes = list(check_quota(build_connections()))
    assert not any("grdf" in note.text for note in notes)
    follow_fleet(twenty_accounts, USUAL_GAS_SERIES)
    for number in range(3):
        twenty_accounts.accounts.add("grdf", f"0123456789012{number}", NOW, token_needed=False)
    words = ("3 active accounts of grdf", "RELEVE_GRDF_CLIENT_ID")
    assert_result(check_quota(build_connections()), Level.WARN, *words)
    assert not any("grdf" in note.text for note in check_quota(build_connections(**SIMULATED)))


def test_the_homes_with_gas_are_held_against_its_own_quota(
    build_connections: BuildConnections, twenty_accounts: Registry
) -> None:
    assert_result(check_night(build_connections(**SIMULATED), GRDF.name), Level.OK, "0 calls a night of 4200")
    follow_fleet(twenty_accounts, USUAL_GAS_SERIES)
    for number in range(10):
        twenty_accounts.accounts.add("grdf", f"0123456789012{number}", NOW, token_needed=False)
    few = build_connections(**SIMULATED, grdf_calls_per_day=10)
    words = (
        "a nightly sync needs 12 calls, and the quota allows 7",
        "totals every 2nd night, the longest waiting accounts first",
    )
    assert_result(check_night(few, GRDF.name), Level.WARN, *words)
    fewer = build_connections(**SIMULATED, grdf_calls_per_day=2)
    assert_result(check_night(fewer, GRDF.name), Level.WARN, "even once a week", "calls a day")


def test_a_supplier_that_has_us_wait_is_told_of(build_connections: BuildConnections, redis_url: str) -> None:
    connections = build_connections(**SIMULATED, redis_url=redis_url)
    connections.redis.flushdb()
    assert_result(check_incidents(connections), Level.OK, "none is open")
    ledger_of(chosen_presets(connections.settings)["grdf"], connections.settings, connections.redis).close_gate(600)
    assert_result(
        check_incidents(connections),
        Level.WARN,
        "GRDF has asked for a rate-limit pause: no calls for another 600 s",
    )
    connections.redis.flushdb()
