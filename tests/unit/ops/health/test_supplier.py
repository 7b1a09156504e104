"""Checks of the supplier's token server, and of the quota with what to do about a fleet that is too large for it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests.support.canned_server import answer, canned_server
from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.domain.schedule import FleetPolicy
from worker.errors import WorkerError
from worker.ops.check_results import Level
from worker.ops.supplier_checks import check_pace, check_quota, check_token
from worker.runtime.supplier_settings import chosen_presets, ledger_of
from worker.stores.registry import Registry
from worker.stores.registry.due import PolicyTable

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "limits, policy, level, words",
    [
        ({}, None, Level.OK, ("40 calls a night of 16800", "totals every night, curves every night")),
        (
            {"calls_per_hour": 2},
            None,
            Level.WARN,
            ("40 calls", "allows 33", "`releve plan --apply`", "curves every 2nd night"),
        ),
        ({"calls_per_hour": 2}, FleetPolicy(1, 2), Level.OK, ("30 calls a night of 33",)),
        ({}, FleetPolicy(1, 7), Level.OK, ("also allows totals every night, curves every night", "--apply")),
        ({"calls_per_hour": 0, "calls_per_second": 0}, None, Level.OK, ("no limit",)),
    ],
    ids=["fits", "too large", "fits by its policy", "policy gives up more than needed", "no limit"],
)
def test_a_night_is_held_against_the_quota(
    build_connections: BuildConnections,
    twenty_accounts: Registry,
    limits: dict[str, int],
    policy: FleetPolicy | None,
    level: Level,
    words: tuple[str, ...],
) -> None:
    if policy:
        PolicyTable(twenty_accounts.database).apply(policy, date(2026, 11, 3), NOW, {})
    assert_result(check_quota(build_connections(**limits)), level, *words)


def test_one_for_which_no_policy_is_enough_is_told_what_to_ask_for(
    build_connections: BuildConnections, twenty_accounts: Registry
) -> None:
    for number in range(20, 80):
        twenty_accounts.accounts.add("enedis", f"300016400000{number:02}", NOW, token_needed=False)
    words = ("once a week, 80 accounts", "56 are possible", "2 calls an hour")
    assert_result(check_quota(build_connections(calls_per_hour=1)), Level.WARN, *words)


def test_a_registry_that_is_not_there_yet_is_not_made_by_looking(
    build_connections: BuildConnections, tmp_path: Path
) -> None:
    assert_result(check_quota(build_connections()), Level.OK, "no account yet")
    assert not (tmp_path / "registry.db").exists()


def test_a_user_token_cannot_be_had_without_the_user(build_connections: BuildConnections) -> None:
    assert_result(check_token(build_connections(preset="enedis-v4")), Level.OK, "a token for each account")


def test_refused_credentials_are_told(build_connections: BuildConnections, redis_url: str) -> None:
    refusal = answer(401, {"error": "invalid_client", "error_description": "no such client"})
    with canned_server(*[refusal] * 3) as server:
        connections = build_connections(enedis_url=server.url, redis_url=redis_url, preset="enedis-v5")
        connections.redis.flushdb()
        with pytest.raises(WorkerError, match="RELEVE_ENEDIS_CLIENT_ID"):
            list(check_token(connections))


def test_the_quota_line_says_what_is_used_and_that_a_gate_is_closed(
    build_connections: BuildConnections, redis_url: str
) -> None:
    connections = build_connections(redis_url=redis_url, calls_per_hour=2)
    connections.redis.flushdb()
    assert_result(check_pace(connections, "enedis"), Level.OK, "0 of 2 calls used in the last hour")
    ledger = ledger_of(chosen_presets(connections.settings)["enedis"], connections.settings, connections.redis)
    (api, *_) = chosen_presets(connections.settings)["enedis"].quota_names
    ledger.take_permit(api)
    assert_result(check_pace(connections, "enedis"), Level.OK, "1 of 2 calls used in the last hour")
    ledger.take_permit(api)
    words = ("the quota of the last hour is used up, 2 of 2 calls", "wait", "RELEVE_CALLS_PER_HOUR")
    assert_result(check_pace(connections, "enedis"), Level.WARN, *words)
    ledger.close_gate(3300)
    words = ("Enedis has asked for a rate-limit pause", "no calls until", "they resume by themselves")
    assert_result(check_pace(connections, "enedis"), Level.WARN, *words)
    connections.redis.flushdb()
