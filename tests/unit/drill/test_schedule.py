"""The plan of a drill depends on its seed alone, is dense enough and contains every kind."""

from __future__ import annotations

import time
from collections.abc import Collection
from itertools import pairwise
from unittest.mock import Mock

import click
import pytest

from drill.faults import INSTANT, KILLS, FaultKind, PlannedFault, choose_kinds, plan_faults, possible_kinds
from drill.run import Drill

KILLED, RESTARTED = FaultKind.REDIS_KILLED, FaultKind.REDIS_RESTARTED
SEEDS = range(40)
STORES = pytest.mark.parametrize(
    "kinds", [possible_kinds(store) for store in ("couchdb-packed", "postgresql", "sqlite")]
)


def lasting(planned: list[PlannedFault]) -> list[PlannedFault]:
    return [fault for fault in planned if fault.kind not in KILLS]


@STORES
def test_the_same_seed_gives_the_same_plan_and_another_seed_another(kinds: Collection[FaultKind]) -> None:
    plans = [plan_faults(seed, 600, kinds) for seed in SEEDS]
    assert plans == [plan_faults(seed, 600, kinds) for seed in SEEDS]
    assert len({tuple(planned) for planned in plans}) == len(SEEDS)


@STORES
def test_ten_minutes_hold_fifty_kills_by_signal(kinds: Collection[FaultKind]) -> None:
    signals = {*KILLS} - {FaultKind.TERM_WORKER}
    plans = {seed: plan_faults(seed, 600, kinds) for seed in SEEDS}
    kills = {seed: sum(fault.kind in signals for fault in planned) for seed, planned in plans.items()}
    assert {seed: number for seed, number in kills.items() if number < 50} == {}


@STORES
@pytest.mark.parametrize("minutes", [5, 7, 10, 20])
def test_every_kind_comes_in_five_minutes_or_more(minutes: int, kinds: Collection[FaultKind]) -> None:
    found = {seed: {fault.kind for fault in plan_faults(seed, minutes * 60, kinds)} for seed in SEEDS}
    assert {seed: of ^ {*kinds} for seed, of in found.items() if of != {*kinds}} == {}


@STORES
@pytest.mark.parametrize("seconds", [20, 120, 300, 600])
def test_what_lasts_comes_one_at_a_time_and_all_begins_within_the_drill(
    seconds: int, kinds: Collection[FaultKind]
) -> None:
    for seed in SEEDS:
        planned = plan_faults(seed, seconds, kinds)
        assert planned == sorted(planned), seed
        assert all(0 < fault.at_s < seconds for fault in planned), seed
        for earlier, later in pairwise(lasting(planned)):
            assert earlier.at_s + earlier.lasts_s < later.at_s, seed
        assert all(fault.lasts_s >= 3 for fault in lasting(planned) if fault.kind not in INSTANT), seed


def test_of_each_round_redis_is_emptied_before_messages_are_lost_that_it_would_hide() -> None:
    kinds = possible_kinds("sqlite")
    for seed in SEEDS:
        order = [fault.kind for fault in lasting(plan_faults(seed, 300, kinds))][: len(kinds) - len(KILLS)]
        assert order.index(FaultKind.REDIS_EMPTIED) < order.index(FaultKind.MESSAGES_LOST), seed


def test_no_store_is_drilled_with_the_faults_of_another_and_a_foreign_server_keeps_its_databases() -> None:
    for store, prefix in (("couchdb", "COUCH"), ("postgresql", "POSTGRES"), ("sqlite", "SQLITE")):
        of_it = {kind for kind in FaultKind if kind.name.startswith(prefix)}
        for other in {"couchdb", "postgresql", "sqlite"} - {store}:
            assert of_it and of_it.isdisjoint(possible_kinds(other))
        assert of_it <= {*possible_kinds(store)}
    foreign = {*possible_kinds("couchdb")} - {*possible_kinds("couchdb", own_couchdb=False)}
    assert foreign == {FaultKind.COUCH_PAUSED, FaultKind.COUCH_DROPPED}


def test_only_the_named_kinds_are_planned() -> None:
    chosen = choose_kinds(possible_kinds("sqlite"), "kill_beat, redis_cut")
    assert {fault.kind for fault in plan_faults(1, 120, chosen)} == {FaultKind.KILL_BEAT, FaultKind.REDIS_CUT}
    with pytest.raises(click.UsageError, match="no fault of this drill: couch_slow; there are beat_paused, "):
        choose_kinds(possible_kinds("sqlite"), "redis_cut,couch_slow")


def test_faults_of_a_late_tick_begin_and_end_in_the_order_of_their_times() -> None:
    """Redis that is to be restarted must be up again after it was killed: both were due in one late tick."""
    told: list[str] = []
    injector = Mock(start=lambda fault: told.append(f"{fault.kind} begins") or (lambda: told.append("ends")))
    servers = Mock(stores=Mock(redis=Mock()))
    planned = [PlannedFault(at_s, kind, 3.0, 1) for at_s, kind in ((1.0, KILLED), (4.5, RESTARTED), (1e6, KILLED))]
    drill = Drill(servers, Mock(homes=[]), Mock(), planned, lambda line: None)
    drill._injector = injector
    drill._started_s = time.monotonic() - 60
    drill._inject_due_faults()
    assert told == [f"{KILLED} begins", "ends", f"{RESTARTED} begins", "ends"]
