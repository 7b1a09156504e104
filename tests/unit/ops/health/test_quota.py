"""Checks of the quota: a fleet that is too large for it, and what to do about that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.domain.fleet.policy import FleetPolicy
from worker.ops.health.results import Level
from worker.ops.health.supplier import check_quota
from worker.stores.encryption import Sealer, generate_key
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.policies import PolicyTable

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[AccountRegistry]:
    """Yield a registry of twenty active accounts without a sign that a curve is missing."""
    registry = AccountRegistry(f"sqlite:///{tmp_path / 'registry.db'}", Sealer([generate_key()]))
    registry.migrate()
    for number in range(20):
        registry.add("enedis", f"300016400000{number:02}", NOW, token_needed=False)
    yield registry
    registry.close()


def test_a_fleet_that_fits_is_well(build_connections: BuildConnections, registry: AccountRegistry) -> None:
    words = ("40 calls a night of 16800", "totals every night, curves every night")
    assert_result(check_quota(build_connections()), Level.OK, *words)


def test_one_that_does_not_is_told_what_to_apply(
    build_connections: BuildConnections, registry: AccountRegistry
) -> None:
    words = ("40 calls", "carries 33", "`releve plan --apply`", "curves every 2nd night")
    assert_result(check_quota(build_connections(calls_per_hour=2)), Level.WARN, *words)


def test_once_the_policy_is_applied_it_fits_again(
    build_connections: BuildConnections, registry: AccountRegistry
) -> None:
    PolicyTable(registry.database).apply(FleetPolicy(1, 2), date(2026, 11, 3), NOW, {})
    assert_result(check_quota(build_connections(calls_per_hour=2)), Level.OK, "30 calls a night of 33")


def test_a_policy_that_gives_up_more_than_needed_is_fine_and_said(
    build_connections: BuildConnections, registry: AccountRegistry
) -> None:
    PolicyTable(registry.database).apply(FleetPolicy(1, 7), date(2026, 11, 3), NOW, {})
    assert_result(
        check_quota(build_connections()), Level.OK, "it carries totals every night, curves every night", "--apply"
    )


def test_one_for_which_no_policy_is_enough_is_told_what_to_ask_for(
    build_connections: BuildConnections, registry: AccountRegistry
) -> None:
    for number in range(20, 80):
        registry.add("enedis", f"300016400000{number:02}", NOW, token_needed=False)
    words = ("80 accounts do not fit even once a week", "56 do", "2 calls an hour")
    assert_result(check_quota(build_connections(calls_per_hour=1)), Level.WARN, *words)


def test_without_a_limit_all_fits(build_connections: BuildConnections, registry: AccountRegistry) -> None:
    assert_result(check_quota(build_connections(calls_per_hour=0, calls_per_second=0)), Level.OK, "no limit")


def test_a_registry_that_is_not_there_yet_is_not_made_by_looking(
    build_connections: BuildConnections, tmp_path: Path
) -> None:
    assert_result(check_quota(build_connections()), Level.OK, "no account yet")
    assert not (tmp_path / "registry.db").exists()
