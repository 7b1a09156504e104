"""What the supplier knows of each meter today: measured, corrected, with its holes, and published or not yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from functools import lru_cache
from typing import Final

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import ONE_DAY, day_length
from worker.simulator.clock import Clock
from worker.simulator.homes.households import PretendHome
from worker.simulator.homes.sandbox import METERS
from worker.simulator.homes.series import (
    HALF_HOUR,
    Direction,
    Measured,
    Number,
    Point,
    energy_wh,
    regroup,
    rescale,
    step_ends,
)
from worker.simulator.switches import MeterSwitches

PUBLISHED_AT: Final = time(8)  # local; yesterday is there from then on (upstream-apis, 1.8)
_HOMES_KEPT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Meter:
    """One meter as seen today; ``last_day`` is the last that is published."""

    measured: Measured
    switches: MeterSwitches
    last_day: date

    @property
    def activated_on(self) -> date | None:
        return self.switches.activated_on or self.measured.activated_on

    def daily(self, direction: Direction, day: date) -> Number | None:
        """Wh of a day, None while it isn't published and where it never was."""
        if not self._has(day):
            return None
        wh = self.measured.daily(direction, day)
        correction = self.switches.corrections.get(day)
        if wh is None or correction is None:
            return wh
        return correction.of(wh, day_length(day) / timedelta(hours=1))

    def curve(self, direction: Direction, day: date) -> list[Point]:
        """Published points of a day in time order; none without consent to the collection of the curve."""
        if not self._has(day) or not self.switches.curve_enabled or self.switches.curve_objected:
            return []
        points = self._in_steps(day, self._corrected(direction, day))
        holes = [hole for hole in self.switches.holes if hole.whole_day is None]
        if not holes:
            return points
        return [point for point in points if not any(hole.start < point.label <= hole.end for hole in holes)]

    def _has(self, day: date) -> bool:
        active = self.activated_on
        if day > self.last_day or (active is not None and day < active):
            return False
        if not self.switches.holes and not self.switches.weekday_holes:
            return True
        return day.weekday() not in self.switches.weekday_holes and all(
            hole.whole_day != day for hole in self.switches.holes
        )

    def _corrected(self, direction: Direction, day: date) -> list[Point]:
        points = list(self.measured.curve(direction, day))
        correction = self.switches.corrections.get(day)
        if correction is None or not points:
            return points
        wh = self.measured.daily(direction, day)
        before = energy_wh(points) if wh is None else wh
        return rescale(points, correction.of(before, day_length(day) / timedelta(hours=1)))

    def _in_steps(self, day: date, points: list[Point]) -> list[Point]:
        """Pretend homes are measured by the half-hour; recordings keep the steps they have."""
        switches = self.switches
        plain = switches.step == HALF_HOUR and switches.step_change is None
        if plain or not points or not isinstance(self.measured, PretendHome):
            return points
        return regroup(day, points, self._minutes_of_hours(day))

    def _minutes_of_hours(self, day: date) -> list[int]:
        change = self.switches.step_change
        starts = [f"{day.isoformat()} 00:00:00", *(label for _, label in step_ends(day, 60))][:-1]
        return [change.minutes if change is not None and start >= change.at else self.switches.step for start in starts]


class Meters:
    """All meters: the recorded, the sandbox's, and a pretend home for any other number."""

    def __init__(self, recorded: Mapping[str, Measured], clock: Clock, seed: int) -> None:
        self._recorded = recorded
        self._clock = clock
        self._switches: dict[str, MeterSwitches] = {}
        self._home = lru_cache(maxsize=_HOMES_KEPT)(lambda usage_point: _grow(usage_point, seed))

    def get(self, usage_point: str) -> Meter:
        """The meter as of now."""
        switches = self.switches(usage_point)
        measured = self._recorded.get(usage_point) or self._home(usage_point)
        return Meter(measured, switches, self.last_published() - switches.delay_days * ONE_DAY)

    def get_measured(self, usage_point: str) -> Meter:
        """The same with all days before today, published or not."""
        meter = self.get(usage_point)
        return Meter(meter.measured, meter.switches, self._clock.today() - ONE_DAY)

    def switches(self, usage_point: str) -> MeterSwitches:
        if usage_point in self._switches:
            return self._switches[usage_point]
        return METERS[usage_point].switches if usage_point in METERS else _AS_USUAL

    def switch(self, usage_point: str, changes: Mapping[str, Json]) -> MeterSwitches:
        """Change some switches of a meter, for good.  Raises ValueError."""
        self._switches[usage_point] = self.switches(usage_point).changed(changes)
        return self._switches[usage_point]

    def reset(self, usage_point: str) -> None:
        self._switches.pop(usage_point, None)

    def recorded_numbers(self) -> list[str]:
        return sorted(self._recorded)

    def last_published(self) -> date:
        local = self._clock.local()
        return local.date() - (ONE_DAY if local.time() >= PUBLISHED_AT else 2 * ONE_DAY)


_AS_USUAL: Final = MeterSwitches()


def _grow(usage_point: str, seed: int) -> PretendHome:
    if usage_point in METERS:
        return PretendHome(usage_point, seed, METERS[usage_point].directions)
    return PretendHome(usage_point, seed)
