"""What the page of free spans reads: the known days of any time, and the day of the bill that a household gives."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from datetime import date, timedelta
from typing import Final

from worker.domain.documents import key_range, shift_key, to_entry
from worker.domain.series import Series, find_curve
from worker.domain.totals import days_of_curve
from worker.domain.windows import DateWindow, plan_repair
from worker.errors import OperatorFault
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.registry import Registry
from worker.stores.registry.account_details import BILL_DAY

_AN_HOUR: Final = timedelta(hours=1)


def read_known_days(measures: MeasureStore, account_id: str, daily: Series, window: DateWindow) -> dict[date, int]:
    """Return the energy of the known days in mWh: the daily values, and the whole days of the curve without one.

    The curve is read only for days without a daily value, some weeks at once.
    """
    documents = measures.read(account_id, {daily.inputs: key_range(window, daily.inputs)})[daily.inputs]
    days = {date.fromisoformat(entry.key): entry.amount for entry in map(to_entry, documents)}
    curve = find_curve(daily)
    lacking = [day for day in window.dates() if day not in days]
    return read_whole_days(measures, account_id, curve, lacking) | days if curve else days


def read_whole_days(
    measures: MeasureStore, account_id: str, curve: Series, wanted: Collection[date]
) -> dict[date, int]:
    """Return the energy of those of the wanted days that the curve covers whole, and perhaps of others beside them."""
    days = dict[date, int]()
    for part in plan_repair(wanted, curve.description.days_read_at_once):
        first, end = key_range(part, curve.inputs)
        steps = measures.read(account_id, {curve.inputs: (shift_key(first, -_AN_HOUR), end)})[curve.inputs]
        days |= {day: entry.amount for day, entry in days_of_curve(curve, map(to_entry, steps)).items()}
    return days


def load_bill_day(registry: Registry, account_id: str) -> date | None:
    """Return the day of the bill, in a year with 29 February; None where none was given or it can't be decrypted."""
    told = None
    with suppress(OperatorFault):
        told = registry.account_details.load(account_id, BILL_DAY)
    return date.fromisoformat(told["day"]) if told else None


def save_bill_day(registry: Registry, account_id: str, day: date | None) -> None:
    """Keep the day of the bill, in a year with 29 February, or forget it. Raises AccountClosed, UnknownAccount."""
    if day:
        registry.account_details.save(account_id, BILL_DAY, {"day": day.isoformat()})
    else:
        registry.account_details.remove(account_id, BILL_DAY)
