"""A small fleet on a simulated clock: the laws of ``benchmarks/fleet.py`` hold through an outage, and can be broken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.simulated import plot
from benchmarks.simulated.house import make_week, open_house
from benchmarks.simulated.laws import broken, busy_hours
from benchmarks.simulated.telling import told
from benchmarks.simulated.week import Options, Week
from worker.domain.readings import Series

# A night, and until noon of the next: the supplier is down from 10:00 to 11:30.
SMALL = Options(accounts=600, days=1.2, per_hour=600, new_percent=1, old_windows=400)


@contextmanager
def week_of(folder: Path, options: Options) -> Iterator[Week]:
    with open_house(folder, options) as runtime:
        yield make_week(runtime, options)


def test_a_small_fleet_keeps_the_laws_through_an_outage(tmp_path: Path) -> None:
    with week_of(tmp_path, SMALL) as week:
        week.run()
        assert list(broken(week)) == []
        assert busy_hours(week), "no hour in which work waited: nothing was tried"
        result, new = told(week), len(week.homes.arrived)
        asked = result["look_backs"]["asked"]
        assert all(1200 <= asked[series.value] <= 1200 + 2 * new for series in Series), asked
        assert result["first_screen_s"]["ready"] == new > 0
        assert {incident["how"] for incident in result["troubles"]["incidents"]} == {"probes"}
        assert result["supplier_saw"]["answers"]["500"] > 0
        plot.save(week, tmp_path / "week.svg")
        assert ElementTree.parse(tmp_path / "week.svg").getroot().tag.endswith("svg")


def test_a_supplier_that_lets_less_through_than_it_says_breaks_a_law(tmp_path: Path) -> None:
    with week_of(tmp_path, replace(SMALL, days=0.125)) as week:
        week.supplier.limit(per_second=5, per_hour=500)
        week.run()
        assert any("over its limits" in law for law in broken(week))
