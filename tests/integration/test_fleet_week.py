"""A small fleet on a simulated clock keeps the laws of ``benchmarks/fleet.py`` in an outage; a fault breaks them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import date, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.simulated import plot
from benchmarks.simulated.clock import paris_us
from benchmarks.simulated.fleet_model import build_week, open_runtime
from benchmarks.simulated.laws import broken_laws, busy_hours, round_nights
from benchmarks.simulated.week import FIRST_DAY, Options, Week
from benchmarks.simulated.week_report import report_week
from worker.domain.fleet.rounds import Round
from worker.domain.measures.readings import Series
from worker.sync.due import FanOut, Night

# A night, and until noon of the next: the supplier is down from 10:00 to 11:30.
SMALL = Options(accounts=600, days=1.2, per_hour=600, new_percent=1, old_windows=400)
TOO_LARGE = Options(accounts=3500, per_hour=30, new_percent=0, old_windows=0, troubles=False)


@contextmanager
def week_of(folder: Path, options: Options) -> Iterator[Week]:
    with open_runtime(folder, options) as runtime:
        yield build_week(runtime, options)


def test_a_small_fleet_keeps_the_laws_through_an_outage(tmp_path: Path) -> None:
    with week_of(tmp_path, SMALL) as week:
        week.run()
        assert list(broken_laws(week)) == []
        assert busy_hours(week), "no hour in which work waited: nothing was tried"
        result, new_homes = report_week(week), len(week.homes.new_homes)
        look_backs = result["look_backs"]["asked"]
        assert all(1200 <= look_backs[series.value] <= 1200 + 2 * new_homes for series in Series), look_backs
        assert result["first_screen_s"]["ready"] == new_homes > 0
        assert {incident["how"] for incident in result["troubles"]["incidents"]} == {"probes"}
        assert result["supplier_saw"]["answers"]["500"] > 0
        plot.save(week, tmp_path / "week.svg")
        assert ElementTree.parse(tmp_path / "week.svg").getroot().tag.endswith("svg")


def test_a_supplier_that_lets_less_through_than_it_says_breaks_a_law(tmp_path: Path) -> None:
    with week_of(tmp_path, replace(SMALL, days=0.125)) as week:
        week.supplier.limit(per_second=5, per_hour=500)
        week.run()
        assert any("over its limits" in law for law in broken_laws(week))


class FanOutFromFirstAccount(FanOut):
    """A fan-out whose nights all begin at the first account, wherever the night before stopped."""

    def _first_place(self, night: Night, newest: date | None) -> Round:
        return Round.beginning("")


def run_only_nights(week: Week, calls: int) -> None:
    """Run each night with so many calls for what the fan-out publishes, without ledger and without other lanes."""
    queue = week.nights.lane.queue
    for night in range(week.options.nights):
        week.clock.us = paris_us(FIRST_DAY + timedelta(days=night), 9)
        left = calls
        while left:
            week.nights.feed()
            while queue and left:
                if week.nights.still_due(item := queue.popleft()):
                    week.nights.finish_window(item)
                    left -= 1
    week.nights.flush()


@pytest.mark.parametrize("starves", [False, True])
def test_a_fleet_too_large_breaks_a_law_where_each_night_begins_at_the_same_account(
    tmp_path: Path, starves: bool
) -> None:
    with week_of(tmp_path, TOO_LARGE) as week:
        assert not week.plan.fits
        if starves:
            fan_out = week.nights.fan_out
            week.nights.fan_out = FanOutFromFirstAccount(
                **{field.name: getattr(fan_out, field.name) for field in fields(fan_out)}
            )
        run_only_nights(week, calls=week.plan.calls_a_night * 4 // 5)
        broken_by = [law for law in broken_laws(week) if "passed over" in law]
        assert len(broken_by) == (len(Series) if starves else 0), broken_by


@pytest.mark.parametrize("nights", [2, 7, 12, 40])
def test_how_long_a_round_takes_follows_from_who_waits(nights: int) -> None:
    """Take places that the round passed 0 to ``nights`` nights ago, with accounts whose turn is each seventh night."""
    gaps = [place * nights / 1000 for place in range(1000)]
    waiting = sum(min(1, gap / 7) for gap in gaps) / len(gaps)
    assert round_nights(waiting, every=7) == pytest.approx(nights, rel=0.01)
