"""Checks of clocks that differ."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from tests.support.canned_server import answer, canned_server
from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.ops.health.host import check_clock, judge_clock
from worker.ops.health.results import Level


@pytest.mark.parametrize(
    "ahead_s, level, words",
    [
        (4.0, Level.OK, ""),
        (-4.0, Level.OK, ""),
        (7.4, Level.WARN, "this machine's clock is 7 s behind Redis: keep both right with NTP"),
        (-30, Level.WARN, "30 s ahead of Redis"),
        (61, Level.FAIL, "61 s behind Redis"),
        (-3600, Level.FAIL, "3600 s ahead of Redis"),
    ],
)
def test_a_difference_is_told_by_its_size(ahead_s: float, level: Level, words: str) -> None:
    assert_result(judge_clock("Redis", ahead_s), level, words)


@pytest.mark.sockets
@pytest.mark.parametrize("shift_s, level", [(0, Level.OK), (-20, Level.WARN), (600, Level.FAIL)])
def test_the_dates_of_couchdb_and_the_supplier_are_compared(
    build_connections: BuildConnections, shift_s: int, level: Level
) -> None:
    dated = answer(401, {}, Date=formatdate(time.time() + shift_s, usegmt=True))
    now = answer(404, "", Date=formatdate(time.time(), usegmt=True))
    with canned_server(dated) as couch, canned_server(now) as supplier:
        connections = build_connections(measures_url=f"couchdb+{couch.url}", enedis_url=supplier.url)
        notes = list(check_clock(connections))
    words = "CouchDB" if shift_s else "agrees with CouchDB, the supplier"
    assert_result(notes, level, words)


@pytest.mark.sockets
def test_a_date_that_is_none_and_servers_that_are_away_are_passed_over(build_connections: BuildConnections) -> None:
    with canned_server(answer(200, {}, Date="yesterday")) as couch:
        connections = build_connections(measures_url=f"couchdb+{couch.url}")
        assert_result(check_clock(connections), Level.OK, "nobody: no server to compare it with answers")
