"""Checks of workers and beat by their heartbeats, and of listeners that answer, fail, or are not there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.support.canned_server import CannedAnswer, answer, canned_server
from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.ops.check_results import Level
from worker.ops.liveness import check_listener, judge_beat
from worker.ops.supplier_checks import judge_errors, judge_workers
from worker.stores.child_processes import free_port
from worker.stores.redis.heartbeats import WorkerHeartbeat
from worker.stores.registry.fleet_counts import ErrorCount

NOW = 1_721_890_800.0
EMPTY = {"control": 0, "nightly": 0, "backfill": 0}
WORKER = WorkerHeartbeat("nightly@one", NOW - 10, NOW - 20, running=3, slots=16, queues=("control", "nightly"))
OTHER = WorkerHeartbeat("backfill@two", NOW - 5, NOW - 5, running=16, slots=16, queues=("backfill", "control"))


def test_workers_that_work_are_named() -> None:
    words = ("nightly@one (3 of 16 busy)", "backfill@two (16 of 16 busy)")
    assert_result(judge_workers([WORKER, OTHER], EMPTY | {"nightly": 900}, NOW), Level.OK, *words)


def test_no_worker_at_all_is_a_fault() -> None:
    assert_result(judge_workers([], EMPTY, NOW), Level.FAIL, "no worker", "`releve up`")


def test_a_worker_that_lives_and_takes_nothing_is_named() -> None:
    stuck = replace(WORKER, progress_at=NOW - 400, running=0)
    words = ("nightly@one is alive, but has taken no message for 400 s", "7 wait in its queues", "restart it")
    assert_result(judge_workers([stuck, OTHER], EMPTY | {"nightly": 7}, NOW), Level.FAIL, *words)


@pytest.mark.parametrize(
    "idle",
    [
        replace(WORKER, progress_at=NOW - 40_000, running=0),  # There is nothing to do.
        replace(WORKER, progress_at=NOW - 400, running=16),  # All threads are in long calls.
    ],
)
def test_idle_and_busy_workers_are_well(idle: WorkerHeartbeat) -> None:
    waiting = EMPTY | {"nightly": 7 if idle.running else 0, "backfill": 5}
    assert_result(judge_workers([idle, OTHER], waiting, NOW), Level.OK)


def test_a_worker_that_is_gone_matters_when_work_waits_for_it() -> None:
    gone = replace(WORKER, seen_at=NOW - 200)
    assert_result(judge_workers([gone, OTHER], EMPTY, NOW), Level.WARN, "nightly@one was 200 s ago")
    notes = judge_workers([gone, OTHER], EMPTY | {"nightly": 2}, NOW)
    assert_result(notes, Level.FAIL, "2 messages wait", "restart it", "no worker serves: start one with -Q nightly")


def test_restarts_by_the_watchdog_are_told() -> None:
    notes = judge_workers([replace(WORKER, restarts=3)], EMPTY, NOW)
    assert_result(notes, Level.WARN, "restarted nightly@one 3 times", "drops connections")


def test_windows_that_end_their_workers_are_told_and_no_other_error() -> None:
    last_at = datetime(2024, 7, 25, 7, 0, tzinfo=UTC)
    notes = judge_errors([ErrorCount("VENDOR_DOWN.TIMEOUT", 7, last_at), ErrorCount("WORKER_LOST", 2, last_at)])
    assert_result(notes, Level.WARN, "windows of 2 accounts", "25 Jul at 09:00", "`releve status --error WORKER_LOST`")
    assert not list(judge_errors([ErrorCount("VENDOR_DOWN.TIMEOUT", 7, last_at)]))


@pytest.mark.parametrize(
    "beat_at, tick_at, level, words",
    [
        (NOW - 30, NOW - 31, Level.OK, "sent a message 30 s ago"),
        (None, None, Level.FAIL, "start it with `celery -A worker beat"),
        (NOW - 200, NOW - 200, Level.FAIL, "beat has sent nothing for 200 s"),
        (NOW - 30, None, Level.WARN, "has never run"),
        (NOW - 30, NOW - 900, Level.WARN, "last ran 900 s ago: check that a worker serves the queue control"),
    ],
)
def test_beat_and_the_loop_are_judged_apart(
    beat_at: float | None, tick_at: float | None, level: Level, words: str
) -> None:
    assert_result(judge_beat(beat_at, tick_at, NOW), level, words)


CUT = CannedAnswer(cut=True)


@pytest.mark.sockets
def test_a_door_that_answers_is_well(build_connections: BuildConnections) -> None:
    with canned_server(answer(200, "OK"), answer(401, "who are you")) as server:
        connections = build_connections(address=f"{server.url}page?x=1")
        assert_result(check_listener(connections), Level.OK, "answers 200")
        assert_result(check_listener(connections), Level.OK, "answers 401")
    assert [path for _, path, _ in server.requests] == ["/page?x=1"] * 2


@pytest.mark.sockets
@pytest.mark.parametrize("canned, words", [(answer(502, "bad gateway"), "answers 502"), (CUT, "does not answer")])
def test_a_door_that_fails_is_a_fault(build_connections: BuildConnections, canned: CannedAnswer, words: str) -> None:
    with canned_server(canned) as server:
        assert_result(check_listener(build_connections(address=server.url)), Level.FAIL, words, "check its log")


@pytest.mark.sockets
def test_a_closed_door_is_a_fault(build_connections: BuildConnections) -> None:
    closed = build_connections(address=f"http://127.0.0.1:{free_port()}/")
    assert_result(check_listener(closed), Level.FAIL, "does not answer (ConnectionRefusedError)")
