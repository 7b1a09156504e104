"""A household with panels: some days of all series in its stores, and the ledgers that say so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from tests.support.registries import switch_on
from tests.support.whole_homes import FAMILIES, curve_of_day, fetched_of, index_entry
from worker.domain.documents import Entry, entry_of
from worker.domain.series import Series, of_supplier
from worker.domain.windows import ONE_DAY, DateWindow

LOADS = (2, 0, 7, 5, 3)
SUBSCRIBED, PEAK = 9_000_000, 4_638_000


@dataclass
class PanelHousehold:
    """``household``: the parts of a service. Ten days up to yesterday of each series are stored.

    The registers begin at the first day's midnight and end at yesterday's.
    """

    household: Any
    account: str
    days: list[date] = field(default_factory=list)
    entries: dict[Series, list[Entry]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        switch_on(self.household.registry, self.account, *of_supplier("enedis"))
        today = self.household.history.today()
        self.days = [today - age * ONE_DAY for age in range(10, 0, -1)]
        for daily, (curve, registers) in FAMILIES.items():
            counted = {"HC": 1_000_000, "HP": 2_000_000}
            self.entries |= {daily: [], curve: [], registers: []}
            for number, day in enumerate(self.days):
                steps = curve_of_day(day, 30, [load + number for load in LOADS])
                energy = sum(step.amount for step in steps)
                self.entries[curve] += [entry_of(step, curve.inputs) for step in steps]
                self.entries[daily].append(Entry(str(day), energy))
                self.entries[registers].append(index_entry(day, counted))
                night = energy // 3000
                counted = {"HC": counted["HC"] + night, "HP": counted["HP"] + energy // 1000 - night}
        peaks = [Entry(str(day), PEAK, details={"at": f"{day}T12:06:20+02:00"}) for day in self.days]
        self.entries[Series.MAX_POWER] = peaks
        details = {"tariff": "BTINFCU4", "off_peak_hours": "HC (22H00-6H00)"}
        self.entries[Series.CONTRACT] = [Entry(str(self.days[-1]), SUBSCRIBED, details=details)]
        for series in of_supplier("enedis"):
            self.sync(series, self.entries[series])

    def sync(self, series: Series, entries: Iterable[Entry]) -> None:
        """Store these entries as an answer for all days, without a parser."""
        window_sync, window = self.household.window_sync, DateWindow(self.days[0], self.days[-1] + ONE_DAY)
        if series is Series.CONTRACT:
            window = DateWindow(self.days[-1], self.days[-1] + ONE_DAY)
        job = self.household.claims.to_job(self.account, series, window)
        fetched = fetched_of(job, list(entries), window_sync)
        window_sync.store(window_sync.aggregate(window_sync.filter_known(fetched)))

    def spoil(self, series: Series, key: str, **changes: object) -> None:
        """Change the stored document of a reading."""
        self.household.measures[series.inputs].documents[f"{self.account}:{key}"].update(changes)
