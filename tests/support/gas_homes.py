"""A home with gas for tests: days, billed periods and a contract, written straight into the store.

Its numbers are invented. Periods are split at the first of a month and at the reading day, the third, as GRDF does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache

from tests.support.factories import NOW
from tests.support.parts import Parts
from worker.domain.documents import Entry, to_document
from worker.domain.series import Doctype, Period, Series, contract_series, daily_of, intervals_of
from worker.domain.windows import ONE_DAY
from worker.stores.registry.outcomes import RunOutcome

GAS = "grdf"
PCE, OTHER_PCE = "21546000000123", "GI000456"
GAS_SETTINGS = {
    "grdf_client_id": "gas-client",
    "grdf_client_secret": "gas-secret",
    "grdf_url": "http://127.0.0.1:9",
}
DAILY, PUBLISHED, CONTRACT = daily_of(supplier=GAS), intervals_of(GAS), contract_series(GAS)
_MWH_PER_KWH = 1_000_000
COEFFICIENT = 11.16


@dataclass(frozen=True)
class GasHome:
    """``last``: the last day. ``gaps`` and ``zeros``: these days, by their distance in days from the last one.

    ``provisional``: how many of the last days are. ``excess``: kWh that each period has more than its days.
    """

    last: date
    days: int = 400
    gaps: tuple[int, ...] = ()
    zeros: tuple[int, ...] = ()
    provisional: int = 10
    excess: int = 0
    frequency: str = "1M"
    yearly: int = 9426

    def dates(self) -> Iterator[date]:
        return (self.last - (self.days - 1 - number) * ONE_DAY for number in range(self.days))

    def volume(self, day: date) -> int:
        """Return the whole m³ of a day: more in winter."""
        age = (self.last - day).days
        return 0 if age in self.zeros else 1 + (abs(183 - day.timetuple().tm_yday) // 20) + day.toordinal() % 3

    def energy(self, day: date) -> int:
        """Return the kWh of a day as the supplier sends them, which are not exactly volume x coefficient."""
        return round(self.volume(day) * COEFFICIENT) - (1 if self.volume(day) else 0)

    def daily(self) -> Iterator[Entry]:
        for day in self.dates():
            age = (self.last - day).days
            if age in self.gaps:
                continue
            details = {
                "volume": self.volume(day),
                "coefficient": COEFFICIENT,
                "index_start": 1000 + day.toordinal() % 500,
                "index_end": 1000 + day.toordinal() % 500 + self.volume(day),
                "quality": "estimated" if age == 1 else "measured",
                "status": "provisional" if age < self.provisional else "final",
            }
            yield Entry(day.isoformat(), self.energy(day) * _MWH_PER_KWH, details=details)

    def published(self) -> Iterator[Entry]:
        start = next(self.dates()).replace(day=1) + timedelta(days=32)
        start = start.replace(day=1)
        while (end := _next_cut(start)) <= self.last:
            within = [start + number * ONE_DAY for number in range((end - start).days)]
            volume = sum(map(self.volume, within))
            energy = sum(map(self.energy, within)) + (self.excess if start.day != 1 else 0)
            details = {"ends_on": end.isoformat(), "volume": volume, "coefficient": COEFFICIENT, "quality": "measured"}
            yield Entry(start.isoformat(), energy * _MWH_PER_KWH, details=details)
            start = end

    def contracts(self) -> Iterator[Entry]:
        details = {"frequency": self.frequency, "transport_tariff": "T2", "activated_on": "2018-08-31"}
        yield Entry((self.last - 30 * ONE_DAY).isoformat(), self.yearly * _MWH_PER_KWH, details=details)

    @cache  # noqa: B019
    def entries(self) -> dict[Doctype, list[Entry]]:
        daily = list(self.daily())
        month, year = DAILY.totals
        return {
            DAILY.inputs: daily,
            month: list(_totals(daily, 7)),
            year: list(_totals(daily, 4)),
            PUBLISHED.inputs: list(self.published()),
            CONTRACT.inputs: list(self.contracts()),
        }


def add_gas(parts: Parts, home: GasHome, meter: str = PCE, *, only: tuple[Series, ...] = ()) -> str:
    """Add an account with the documents of a home, of all its series or of some, and return its id."""
    account, _ = parts.stores.registry.accounts.add(GAS, meter, NOW, token_needed=False)
    stored = home.entries()
    for series in only or (DAILY, PUBLISHED, CONTRACT):
        for doctype in series.doctypes:
            documents = [to_document(account.id, doctype, entry, NOW) for entry in stored[doctype]]
            assert parts.stores.measures.write({doctype: documents}) == {doctype: []}
        days = [date.fromisoformat(entry.key) for entry in stored[series.inputs] if series.inputs.period is Period.DAY]
        parts.stores.registry.outcomes.record(
            account.id,
            series.value,
            "20240725T070000",
            NOW,
            RunOutcome(code=None, message="", last_day=max(days), stored=True, confirms=True),
        )
    return account.id


def _next_cut(start: date) -> date:
    return start.replace(day=3) if start.day == 1 else (start + timedelta(days=31)).replace(day=1)


def _totals(days: list[Entry], length: int) -> Iterator[Entry]:
    totals: dict[str, int] = {}
    for entry in days:
        totals[entry.key[:length]] = totals.get(entry.key[:length], 0) + entry.amount
    return (Entry(key, amount) for key, amount in totals.items())
