"""A home with panels for tests: documents of every series, written straight into the store.

Its numbers are invented, but consistent: a day's steps add up to its total, and registers differ by the days' values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache

from sqlalchemy import insert, select

from tests.support.factories import NOW
from tests.support.parts import Parts
from worker.domain.documents import Entry, to_document
from worker.domain.series import Doctype, Series, of_supplier
from worker.domain.windows import ONE_DAY, PARIS, local_midnight
from worker.stores.registry.outcomes import RunOutcome
from worker.stores.registry.tables import SERIES_OUTCOMES

_HALF_HOURS = 48
_MWH_PER_WH = 1000
TEMPO = ("BUHC", "BUHP", "BCHC", "BCHP", "RHC", "RHP")


@dataclass(frozen=True)
class PanelHome:
    """The home's consumption and production. ``last``: the last day. ``periods``: its registers' tariff periods."""

    last: date
    days: int = 560
    curve_days: int = 3
    fed_days_late: int = 0
    periods: tuple[str, ...] = ("HC", "HP")
    subscribed_va: int = 6000

    def dates(self, late: int = 0) -> Iterator[date]:
        return (self.last - (self.days - 1 - number) * ONE_DAY for number in range(self.days - late))

    @staticmethod
    @cache
    def drawn(day: date) -> list[int]:
        """Return the Wh of each half-hour that the home drew from the grid; less where panels cover it."""
        winter = 1 + 0.8 * math.cos((day.timetuple().tm_yday - 15) / 365 * 2 * math.pi)
        wave = 1 + 0.3 * math.sin(day.toordinal() * 1.7)
        steps = []
        for step in range(_HALF_HOURS):
            hour = step / 2
            evening = math.exp(-((hour - 19.5) ** 2) / 4) + 0.5 * math.exp(-((hour - 7.5) ** 2) / 2)
            steps.append(round(110 * winter + 1100 * wave * winter * evening * (0.25 if 10 <= hour < 17 else 1)))
        return steps

    @staticmethod
    @cache
    def fed(day: date) -> list[int]:
        """Return the Wh of each half-hour that was fed in: nothing at night."""
        summer = 1 - 0.55 * math.cos((day.timetuple().tm_yday + 10) / 365 * 2 * math.pi)
        clouds = 0.35 + 0.65 * abs(math.sin(day.toordinal() * 2.3))
        sun = [max(0.0, math.sin((step / 2 - 6.5) / 14 * math.pi)) if 13 <= step < 41 else 0.0 for step in range(48)]
        return [round(620 * summer * clouds * height**1.5) for height in sun]

    def peak(self, day: date) -> tuple[int, datetime]:
        """Return the maximum power of a day in VA, and its instant."""
        watts = [2 * energy for energy in self.drawn(day)]
        step = max(range(_HALF_HOURS), key=watts.__getitem__)
        minutes = 30 * step + day.toordinal() % 30
        return round(1.5 * watts[step] + 900), datetime.combine(day, time(minutes // 60, minutes % 60, 20), PARIS)

    @cache  # noqa: B019 - a test process has few homes
    def documents(self) -> dict[Doctype, list[dict[str, object]]]:
        """Return the documents of an account named `home`; all callers share them, so none may change them."""
        entries = {
            **self._energy(Doctype.MINUTE, Doctype.HOUR, Doctype.DAY, Doctype.MONTH, Doctype.YEAR, fed=False),
            **self._energy(
                Doctype.PRODUCTION_MINUTE,
                Doctype.PRODUCTION_HOUR,
                Doctype.PRODUCTION_DAY,
                Doctype.PRODUCTION_MONTH,
                Doctype.PRODUCTION_YEAR,
                fed=True,
            ),
            Doctype.MAX_POWER: list(self._peaks()),
            Doctype.INDEX: list(self._registers(self.periods, fed=False)),
            Doctype.PRODUCTION_INDEX: list(self._registers(("BASE",), fed=True)),
            Doctype.CONTRACT: list(self._contracts()),
        }
        return {
            doctype: [to_document("home", doctype, entry, NOW) for entry in rows] for doctype, rows in entries.items()
        }

    def _energy(
        self, minute: Doctype, hour: Doctype, day: Doctype, month: Doctype, year: Doctype, *, fed: bool
    ) -> dict[Doctype, list[Entry]]:
        energies = {each: self.fed(each) if fed else self.drawn(each) for each in self.dates(self.fed_days_late * fed)}
        with_curve = list(energies)[-self.curve_days :] if self.curve_days else []
        steps = [(_instant(each, 30 * step), wh) for each in with_curve for step, wh in enumerate(energies[each])]
        hours: dict[str, int] = {}
        for instant, wh in steps:
            hours[f"{instant:%Y-%m-%dT%H}:00Z"] = hours.get(f"{instant:%Y-%m-%dT%H}:00Z", 0) + wh
        days = {each.isoformat(): sum(whs) for each, whs in energies.items()}
        return {
            minute: [Entry(f"{instant:%Y-%m-%dT%H:%M}Z", wh * _MWH_PER_WH) for instant, wh in steps],
            hour: [Entry(key, wh * _MWH_PER_WH) for key, wh in hours.items()],
            day: [Entry(key, wh * _MWH_PER_WH) for key, wh in days.items()],
            month: list(_totals(days, 7)),
            year: list(_totals(days, 4)),
        }

    def _peaks(self) -> Iterator[Entry]:
        for day in self.dates():
            power, at = self.peak(day)
            yield Entry(day.isoformat(), power * 1000, details={"at": at.isoformat()})

    def _registers(self, periods: tuple[str, ...], *, fed: bool) -> Iterator[Entry]:
        counted = {period: 4_321_000 * (number + 1) for number, period in enumerate(periods)}
        for day in [*self.dates(), self.last + ONE_DAY]:
            details = {"calendar": "FC000040", "registers": dict(counted)}
            yield Entry(day.isoformat(), sum(counted.values()) * _MWH_PER_WH, details=details)
            energies = self.fed(day) if fed else self.drawn(day)
            for number, period in enumerate(periods):
                counted[period] += sum(energies[number :: len(periods)])

    def _contracts(self) -> Iterator[Entry]:
        common = {"tariff": "BTINFMUDT", "activated_on": "2018-08-31", "meter_status": "com", "segment": "C5"}
        first = {**common, "off_peak_hours": "HC (22H00-6H00)"}
        now = {**common, "off_peak_hours": "HC (23H30-5H30;12H30-14H30)"}
        yield Entry((self.last - (self.days - 1) * ONE_DAY).isoformat(), 9_000_000, details=first)
        yield Entry((self.last - 100 * ONE_DAY).isoformat(), self.subscribed_va * 1000, details=now)


def store_home(
    parts: Parts, account_id: str, home: PanelHome, only: Sequence[Series] = tuple(of_supplier("enedis"))
) -> None:
    """Write the documents of these series, and record that each was fetched up to the home's last day."""
    documents = home.documents()
    for series in only:
        ask_for(parts, account_id, series)
    for series in only:
        for doctype in series.doctypes:
            rows = [
                {**document, "_id": document["_id"].replace("home:", f"{account_id}:"), "source_account": account_id}
                for document in documents[doctype]
            ]
            assert parts.stores.measures.write({doctype: rows}) == {doctype: []}
        late = home.fed_days_late if series.description.direction.value == "production" else 0
        parts.stores.registry.outcomes.record(
            account_id,
            series.value,
            "20240725T070000",
            NOW,
            RunOutcome(code=None, message="", last_day=home.last - late * ONE_DAY, stored=True, confirms=True),
        )


def ask_for(parts: Parts, account_id: str, series: Series) -> None:
    """Insert the missing row of a series, as a copy of that of the daily values."""
    columns, database = SERIES_OUTCOMES.c, parts.stores.registry.database
    rows = {
        row.series: row._asdict()
        for row in database.fetch(select(SERIES_OUTCOMES).where(columns.account_id == account_id))
    }
    if series not in rows:
        with database.writing() as connection:
            connection.execute(insert(SERIES_OUTCOMES).values({**rows[Series.DAILY], "series": series}))


def _instant(day: date, minutes: int) -> datetime:
    return local_midnight(day).astimezone(UTC) + timedelta(minutes=minutes)


def _totals(days: dict[str, int], length: int) -> Iterator[Entry]:
    totals: dict[str, int] = {}
    for key, wh in days.items():
        totals[key[:length]] = totals.get(key[:length], 0) + wh
    return (Entry(key, wh * _MWH_PER_WH) for key, wh in totals.items())
