"""The plan of a drill depends on its seed alone, is dense enough and contains every kind."""

from __future__ import annotations

from itertools import pairwise

import pytest

from drill.faults import INSTANT, KILLS, FaultKind, PlannedFault, lasting_kinds, plan_faults

SEEDS = range(40)
STORES = pytest.mark.parametrize("couchdb", [True, False], ids=["couchdb", "sqlite"])


def lasting(planned: list[PlannedFault]) -> list[PlannedFault]:
    return [fault for fault in planned if fault.kind not in KILLS]


@STORES
def test_the_same_seed_gives_the_same_plan_and_another_seed_another(couchdb: bool) -> None:
    plans = [plan_faults(seed, 600, couchdb=couchdb) for seed in SEEDS]
    assert plans == [plan_faults(seed, 600, couchdb=couchdb) for seed in SEEDS]
    assert len({tuple(planned) for planned in plans}) == len(SEEDS)


@STORES
def test_ten_minutes_hold_fifty_kills_by_signal(couchdb: bool) -> None:
    signals = {*KILLS} - {FaultKind.TERM_WORKER}
    plans = {seed: plan_faults(seed, 600, couchdb=couchdb) for seed in SEEDS}
    kills = {seed: sum(fault.kind in signals for fault in planned) for seed, planned in plans.items()}
    assert {seed: number for seed, number in kills.items() if number < 50} == {}


@STORES
@pytest.mark.parametrize("minutes", [5, 7, 10, 20])
def test_every_kind_comes_in_five_minutes_or_more(minutes: int, couchdb: bool) -> None:
    wanted = {*KILLS, *lasting_kinds(couchdb)}
    kinds = {seed: {fault.kind for fault in plan_faults(seed, minutes * 60, couchdb=couchdb)} for seed in SEEDS}
    assert {seed: found ^ wanted for seed, found in kinds.items() if found != wanted} == {}


@STORES
@pytest.mark.parametrize("seconds", [20, 120, 300, 600])
def test_what_lasts_comes_one_at_a_time_and_all_begins_within_the_drill(seconds: int, couchdb: bool) -> None:
    for seed in SEEDS:
        planned = plan_faults(seed, seconds, couchdb=couchdb)
        assert planned == sorted(planned), seed
        assert all(0 < fault.at_s < seconds for fault in planned), seed
        for earlier, later in pairwise(lasting(planned)):
            assert earlier.at_s + earlier.lasts_s < later.at_s, seed
        assert all(fault.lasts_s >= 3 for fault in lasting(planned) if fault.kind not in INSTANT), seed


def test_no_store_is_drilled_with_the_faults_of_another() -> None:
    assert {kind for kind in FaultKind if kind.name.startswith("COUCH")}.isdisjoint(lasting_kinds(couchdb=False))
    assert {FaultKind.SQLITE_LOCKED, FaultKind.DISK_FULL}.isdisjoint(lasting_kinds(couchdb=True))
