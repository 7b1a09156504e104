"""Points of the line protocol: stored measures as lines, one measurement for each granularity.

    releve_day,account=k9xgwnz9gvp2,direction=consumption wh=10412.0 1729980000

A point's time is the start of its period in Europe/Paris, in seconds. Days, months and years stand in measurements of
their own: a sum over one of them counts nothing twice. ``MEASUREMENTS`` lists them all, for the documentation and the
dashboard. All numbers are decimal ones, because half-hours are half watt-hours and a field keeps its type for good.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from worker.domain.completeness import interval_days
from worker.domain.documents import (
    ALL_KEYS,
    MILLIWATT_HOURS_PER_KWH,
    MILLIWATT_HOURS_PER_WH,
    USUAL_STEP_MINUTES,
    Entry,
    key_range,
    period_key,
    to_entry,
)
from worker.domain.series import Doctype, Granularity, Period, Series, contract_series
from worker.domain.tariffs import day_energies, read_registers
from worker.domain.totals import to_peaks
from worker.domain.windows import ONE_DAY, DateWindow, civil_date, local_midnight
from worker.outputs.base import Change
from worker.stores.measures.measure_store import MeasureStore

_IN_UTC: Final = (Period.MINUTE, Period.HOUR)
_ALL_REGISTERS: Final = "total"  # The tariff period of a meter that counts in one register alone.
_SPECIAL: Final = re.compile(r"([,= ])")
_NOT_IN_A_TAG: Final = re.compile(r"[\x00-\x1f\x7f\\]+")


@dataclass(frozen=True, slots=True)
class Measurement:
    """A measurement: its name, the tags beside ``account``, its fields, and what one point is."""

    name: str
    tags: tuple[str, ...]
    fields: tuple[str, ...]
    about: str


STEP: Final = Measurement("releve_step", ("direction",), ("wh", "w"), "one step of the curve, and its mean power")
HOUR: Final = Measurement("releve_hour", ("direction",), ("wh",), "one hour of the curve")
DAY: Final = Measurement("releve_day", ("direction",), ("wh",), "one day")
MONTH: Final = Measurement("releve_month", ("direction",), ("wh",), "the known days of one month")
YEAR: Final = Measurement("releve_year", ("direction",), ("wh",), "the known days of one year")
MAX_POWER: Final = Measurement(
    "releve_max_power",
    ("direction",),
    ("va", "subscribed_va"),
    "the maximum power of one day, and the subscribed power then, where it is known",
)
REGISTER: Final = Measurement(
    "releve_register", ("direction", "period"), ("wh",), "what a register shows at the midnight that begins a day"
)
REGISTER_DAY: Final = Measurement(
    "releve_register_day", ("direction", "period"), ("wh",), "one day's energy in one tariff period"
)
GAS_DAY: Final = Measurement("releve_gas_day", (), ("kwh", "m3"), "one day of gas")
GAS_MONTH: Final = Measurement("releve_gas_month", (), ("kwh",), "the known days of one month of gas")
GAS_YEAR: Final = Measurement("releve_gas_year", (), ("kwh",), "the known days of one year of gas")
GAS_BILLED: Final = Measurement(
    "releve_gas_billed", (), ("kwh", "m3", "days"), "one billed period of gas, at its first day"
)
_ENERGY: Final = {Period.MINUTE: STEP, Period.HOUR: HOUR, Period.DAY: DAY, Period.MONTH: MONTH, Period.YEAR: YEAR}
_GAS: Final = {Period.DAY: GAS_DAY, Period.MONTH: GAS_MONTH, Period.YEAR: GAS_YEAR}
MEASUREMENTS: Final = (
    *_ENERGY.values(),
    MAX_POWER,
    REGISTER,
    REGISTER_DAY,
    *_GAS.values(),
    GAS_BILLED,
)


def to_lines(change: Change, measures: MeasureStore) -> Iterator[str]:
    """Yield a line for each stored value of the changed part and each total that it touches, the oldest first.

    Raises StoreUnavailable.
    """
    for doctype in change.series.doctypes:
        match doctype.series.description.granularity:
            case Granularity.REGISTER:
                yield from _register_lines(change, doctype, measures)
            case Granularity.INSTANT:
                yield from _peak_lines(change, doctype, measures)
            case Granularity.STATE:
                pass  # What is in force on a day stands beside that day's values.
            case _:
                measurement = energy_measurement(doctype)
                tags = _tags(change, measurement)
                for entry in _changed_entries(change, doctype, measures):
                    yield _to_line(measurement, tags, _energy_fields(entry, doctype), _start(entry.key, doctype))


def energy_measurement(doctype: Doctype) -> Measurement:
    """Return the measurement of a doctype's energies."""
    if doctype.series.has_intervals:
        return GAS_BILLED
    return (_GAS if doctype.series.is_gas else _ENERGY)[doctype.period]


def _changed_entries(change: Change, doctype: Doctype, measures: MeasureStore) -> Iterator[Entry]:
    """Yield what is stored from the period that holds the change's first instant to the one that holds its last."""
    first, last = period_key(change.first, doctype), period_key(change.last, doctype)
    for window in _windows(change.series, doctype, _days(change)):
        documents = measures.read(change.account.id, {doctype: key_range(window, doctype)})[doctype]
        yield from (entry for entry in map(to_entry, documents) if first <= entry.key <= last)


def _days(change: Change) -> DateWindow:
    return DateWindow(civil_date(change.first), civil_date(change.last) + ONE_DAY)


def _windows(series: Series, doctype: Doctype, days: DateWindow) -> Iterator[DateWindow]:
    """Yield the days in parts as large as one read may be; longer periods than hours are few, and read at once."""
    if doctype.period not in _IN_UTC:
        yield days
        return
    length = timedelta(days=series.description.days_read_at_once)
    start = days.start
    while start < days.end:
        yield DateWindow(start, min(start + length, days.end))
        start += length


def _peak_lines(change: Change, doctype: Doctype, measures: MeasureStore) -> Iterator[str]:
    contract = contract_series(change.series.description.supplier).inputs
    contracts = [to_entry(one) for one in measures.read(change.account.id, {contract: ALL_KEYS})[contract]]
    for peak in to_peaks(_changed_entries(change, doctype, measures), contracts):
        fields = {"va": peak.amount / MILLIWATT_HOURS_PER_WH}
        if peak.subscribed is not None:
            fields["subscribed_va"] = peak.subscribed / MILLIWATT_HOURS_PER_WH
        yield _to_line(MAX_POWER, _tags(change, MAX_POWER), fields, local_midnight(peak.day))


def _register_lines(change: Change, doctype: Doctype, measures: MeasureStore) -> Iterator[str]:
    """Yield what the registers show, and the energy of the days that begin or end at a changed midnight."""
    days = _days(change)
    read = DateWindow(days.start - ONE_DAY, days.end + ONE_DAY)
    documents = measures.read(change.account.id, {doctype: key_range(read, doctype)})[doctype]
    entries = [to_entry(document) for document in documents]
    tags = _tags(change, REGISTER)
    for entry in entries:
        if days.start <= (day := date.fromisoformat(entry.key)) < days.end:
            by_period = read_registers(entry) or {_ALL_REGISTERS: entry.amount // MILLIWATT_HOURS_PER_WH}
            yield from _period_lines(REGISTER, tags, by_period, day)
    for energy in day_energies(entries):
        if read.start <= energy.day < days.end:
            yield from _period_lines(REGISTER_DAY, tags, energy.by_period or {_ALL_REGISTERS: energy.total}, energy.day)


def _period_lines(measurement: Measurement, tags: str, by_period: Mapping[str, int], day: date) -> Iterator[str]:
    at = local_midnight(day)
    for period, watt_hours in by_period.items():
        if name := _to_tag(period):
            yield _to_line(measurement, f"{tags},period={name}", {"wh": watt_hours}, at)


def _energy_fields(entry: Entry, doctype: Doctype) -> dict[str, float]:
    details = entry.details or {}
    if doctype.series.is_gas:
        fields = {"kwh": entry.amount / MILLIWATT_HOURS_PER_KWH}
        if "volume" in details:
            fields["m3"] = details["volume"]
        if doctype.series.has_intervals:
            fields["days"] = interval_days(entry).days
        return fields
    watt_hours = entry.amount / MILLIWATT_HOURS_PER_WH
    if doctype.period is not Period.MINUTE:
        return {"wh": watt_hours}
    return {"wh": watt_hours, "w": watt_hours * 60 / (entry.step or USUAL_STEP_MINUTES)}


def _start(key: str, doctype: Doctype) -> datetime:
    """Return the start of the period that a key names."""
    if doctype.period in _IN_UTC:
        return datetime.fromisoformat(key)
    return local_midnight(date.fromisoformat(f"{key}-01-01"[:10]))


def _tags(change: Change, measurement: Measurement) -> str:
    tags = f"account={_to_tag(change.account.label)}"
    return f"{tags},direction={change.series.description.direction}" if "direction" in measurement.tags else tags


def _to_tag(text: str) -> str:
    """Return a text as the value of a tag: line breaks and backslashes can't be escaped there, and become spaces."""
    return _SPECIAL.sub(r"\\\1", _NOT_IN_A_TAG.sub(" ", text).strip())


def _to_line(measurement: Measurement, tags: str, fields: Mapping[str, float], at: datetime) -> str:
    values = ",".join(f"{name}={float(value)!r}" for name, value in fields.items())
    return f"{measurement.name},{tags} {values} {int(at.timestamp())}"
