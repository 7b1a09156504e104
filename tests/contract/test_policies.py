"""The table of fleet policies, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from worker.domain.schedule import FleetPolicy
from worker.stores.registry import Registry

NOW = datetime(2026, 11, 1, 15, 0, tzinfo=UTC)
MONDAY = date(2026, 11, 2)
PLAN = {"accounts": 12_000, "calls_a_night": 16_000, "lanes": {"repair": {"needed": None}}}


def test_without_a_choice_everything_is_asked_for_every_night(registry: Registry) -> None:
    assert registry.policies.load_current(MONDAY) == FleetPolicy()
    assert registry.policies.list_all() == []


def test_a_choice_is_kept_with_its_moment_and_its_arithmetic(registry: Registry) -> None:
    registry.policies.apply(FleetPolicy(1, 3), MONDAY, NOW, PLAN)
    assert registry.policies.load_current(MONDAY) == FleetPolicy(1, 3)
    assert registry.policies.load_current(MONDAY - timedelta(days=1)) == FleetPolicy()
    (applied,) = registry.policies.list_all()
    assert (applied.since, applied.applied_at, applied.arithmetic) == (MONDAY, NOW, PLAN)


def test_the_last_choice_for_a_night_holds(registry: Registry) -> None:
    for curve_every in (3, 7, 7, 2):
        registry.policies.apply(FleetPolicy(1, curve_every), MONDAY, NOW, PLAN)
    assert registry.policies.load_current(MONDAY) == FleetPolicy(1, 2)
    registry.policies.apply(FleetPolicy(2, 4), MONDAY - timedelta(days=1), NOW, PLAN)
    assert [applied.policy.curve_every for applied in registry.policies.list_all()] == [4], (
        "what was to come is overtaken"
    )


def test_what_is_forgotten_holds_no_more(registry: Registry) -> None:
    registry.policies.apply(FleetPolicy(1, 3), MONDAY, NOW, PLAN)
    assert (registry.policies.delete_all(), registry.policies.delete_all()) == (1, 0)
    assert registry.policies.load_current(MONDAY) == FleetPolicy()
