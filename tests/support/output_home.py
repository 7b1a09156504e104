"""A home with consumption, production and gas in a measure store, for outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from tests.support.fakes import memory_measures
from worker.accounts.prices import AccountTariff
from worker.domain.documents import ALL_KEYS, Entry, period_key, to_document, to_entry
from worker.domain.prices import Colour, Price
from worker.domain.prices.choices import TariffChoices
from worker.domain.series import Doctype, Series
from worker.domain.totals import total_entries
from worker.domain.windows import local_midnight
from worker.outputs.output import Change, OutputAccount
from worker.stores.measures.measure_store import MeasureStore

ACCOUNT = OutputAccount("home1", "home1", consent_until=date(2024, 12, 31))
NOW = datetime(2024, 10, 29, 7, 0, tzinfo=UTC)  # Two days after the longest day of the year.
FIRST, LAST = date(2023, 12, 30), date(2024, 10, 28)
_WRITTEN_AT = datetime(2024, 10, 29, 6, 0, tzinfo=UTC)


def fill_home() -> MeasureStore:
    """Return a store with a home: days of ten months, and only the last week of all other series."""
    measures = memory_measures()
    days = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
    week = days[-7:]
    put_days(measures, Series.DAILY, {day: 9_000 + day.toordinal() % 3_000 for day in days})
    put_days(measures, Series.PRODUCTION_DAILY, {day: 4_000 + day.toordinal() % 500 for day in days[-40:]})
    put_days(measures, Series.GAS_DAILY, {day: 30_000 + 10 * (day.toordinal() % 99) for day in days[-90:]}, volume=2.9)
    put_curve(measures, week)
    put(
        measures,
        Doctype.MAX_POWER,
        (Entry(str(day), 4_638_000, details={"at": f"{day}T12:06:20+01:00"}) for day in week),
    )
    put(measures, Doctype.INDEX, (_register(day, number) for number, day in enumerate(week)))
    put(measures, Doctype.CONTRACT, [Entry("2024-10-24", 6_000_000, details={"tariff": "BTINFMUDT"})])
    billed = {"ends_on": "2024-10-25", "volume": 70, "quality": "measured", "status": "final"}
    put(measures, Doctype.GAS_PUBLISHED, [Entry("2024-10-22", 790_000_000, details=billed)])
    return measures


def put_days(
    measures: MeasureStore,
    series: Series,
    watt_hours: Mapping[date, int],
    volume: float | None = None,
    account_id: str = "home1",
) -> None:
    """Store days and compute their totals."""
    details = None if volume is None else {"volume": volume}
    days = [Entry(str(day), 1000 * wh, details=details) for day, wh in watt_hours.items()]
    put(measures, series.inputs, days, account_id)
    _total(measures, series, account_id)


def put_curve(measures: MeasureStore, days: Iterable[date], watts: int = 413, account_id: str = "home1") -> None:
    """Store whole days of half-hours, each one watt above the previous one, and compute their hours."""
    steps = []
    for day in days:
        start, end = (local_midnight(one).astimezone(UTC) for one in (day, day + timedelta(days=1)))
        for number in range((end - start) // timedelta(minutes=30)):
            key = period_key(start + number * timedelta(minutes=30), Doctype.MINUTE)
            steps.append(Entry(key, (watts + number) * 500))
    put(measures, Doctype.MINUTE, steps, account_id)
    _total(measures, Series.LOAD_CURVE, account_id)


def put(measures: MeasureStore, doctype: Doctype, entries: Iterable[Entry], account_id: str = "home1") -> None:
    """Store these entries, replacing those with the same keys."""
    stored = {entry.key: entry for entry in map(to_entry, measures.read(account_id, {doctype: ALL_KEYS})[doctype])}
    new = [entry._replace(revision=stored[entry.key].revision if entry.key in stored else None) for entry in entries]
    lost = measures.write({doctype: [to_document(account_id, doctype, entry, _WRITTEN_AT) for entry in new]})
    assert not any(lost.values())


def price_of(first: date, *, subscription: int = 0, last: date | None = None, **cents: int) -> Price:
    """Return a price with these cents a kWh by tariff period, and a subscription in euros a year."""
    energy = {name: Decimal(amount) / 100 for name, amount in cents.items()}
    return Price(first, last, energy, Decimal(subscription))


def tariff_of(
    choices: TariffChoices,
    colours: Mapping[date, Colour] | None = None,
    today: date = LAST + timedelta(days=1),
    supplier: str = "enedis",
) -> AccountTariff:
    """Return the tariff of a home, which has panels where it has a price for production."""
    return AccountTariff(
        supplier=supplier,
        today=today,
        choices=[choices],
        regulated={},
        colours=colours or {},
        contracts=(),
        has_panels=bool(choices.production),
    )


def change_of(series: Series, first: date = FIRST, last: date = LAST) -> Change:
    """Return the change of all readings of these days."""
    end = local_midnight(last + timedelta(days=1)).astimezone(UTC)
    newest = end - timedelta(minutes=30) if series.has_steps else local_midnight(last)
    return Change(ACCOUNT, series, local_midnight(first), newest)


def _total(measures: MeasureStore, series: Series, account_id: str) -> None:
    entries = [to_entry(one) for one in measures.read(account_id, {series.inputs: ALL_KEYS})[series.inputs]]
    for doctype in series.totals:
        totals = total_entries(entries, doctype)
        put(measures, doctype, (Entry(key, amount) for key, amount in totals.items()), account_id)


def _register(day: date, number: int) -> Entry:
    registers = {"HC": 8_679_347 + 3_000 * number, "HP": 12_978_248 + 7_500 * number}
    return Entry(str(day), 1000 * sum(registers.values()), details={"calendar": "FC000040", "registers": registers})
