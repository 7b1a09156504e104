"""The table of fleet policies, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from tests.support.registries import METER, add_ready, open_registry
from worker.domain.fleet.policy import FleetPolicy
from worker.domain.measures.readings import Series
from worker.stores.registry import migrations
from worker.stores.registry.accounts import AccountRegistry

NOW = datetime(2026, 11, 1, 15, 0, tzinfo=UTC)
MONDAY = date(2026, 11, 2)
PLAN = {"accounts": 12_000, "calls_a_night": 16_000, "lanes": {"repair": {"needed": None}}}


def test_without_a_choice_everything_is_asked_for_every_night(registry: AccountRegistry) -> None:
    assert registry.policies.load_current() == FleetPolicy()
    assert registry.policies.list_all() == []


def test_a_choice_is_kept_with_its_moment_and_its_arithmetic(registry: AccountRegistry) -> None:
    registry.policies.apply(FleetPolicy(1, 3), MONDAY, NOW, PLAN)
    assert registry.policies.load_current() == FleetPolicy(1, 3, since=MONDAY, before=FleetPolicy())
    (applied,) = registry.policies.list_all()
    assert (applied.since, applied.applied_at, applied.arithmetic) == (MONDAY, NOW, PLAN)


def test_the_last_choice_for_a_night_holds(registry: AccountRegistry) -> None:
    for curve_every in (3, 7, 7, 2):
        registry.policies.apply(FleetPolicy(1, curve_every), MONDAY, NOW, PLAN)
    assert registry.policies.load_current() == FleetPolicy(1, 2, since=MONDAY, before=FleetPolicy())
    registry.policies.apply(FleetPolicy(2, 4), MONDAY - timedelta(days=1), NOW, PLAN)
    assert [applied.policy.curve_every for applied in registry.policies.list_all()] == [4], (
        "what was to come is overtaken"
    )


def test_what_held_before_is_known_so_that_no_day_is_left_out(registry: AccountRegistry) -> None:
    since = MONDAY
    for curve_every in (7, 2, 5, 7):
        registry.policies.apply(FleetPolicy(1, curve_every), since, NOW, PLAN)
        since += timedelta(days=3)
    policy = registry.policies.load_current()
    for number in range(50):
        nights = [MONDAY + timedelta(days=place) for place in range(-8, 40)]
        turns = [night for night in nights if policy.is_turn(f"account-{number}", Series.LOAD_CURVE, night)]
        gaps = {(later - earlier).days for earlier, later in pairwise(turns)}
        assert max(gaps) <= 7


def test_what_is_forgotten_holds_no_more(registry: AccountRegistry) -> None:
    registry.policies.apply(FleetPolicy(1, 3), MONDAY, NOW, PLAN)
    assert (registry.policies.delete_all(), registry.policies.delete_all()) == (1, 0)
    assert registry.policies.load_current() == FleetPolicy()


def test_a_registry_of_the_step_before_keeps_its_rows_and_gains_the_table(url: str) -> None:
    registry = open_registry(url)
    with registry.database.writing() as connection:
        migrations.upgrade(connection, "0006")
    account_id = add_ready(registry, METER)
    registry.migrate()
    assert registry.schema_version() == migrations.newest_step()
    assert [account.id for account in registry.list()] == [account_id]
    registry.policies.apply(FleetPolicy(1, 3), MONDAY, NOW, PLAN)
    assert registry.policies.load_current().curve_every == 3
    registry.close()
