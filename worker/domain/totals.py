"""Computations on stored readings: changed readings, totals by hour, month and year, states, peaks, billed months.

A total that a window affects is always computed again from all its stored readings. So a repeated run repairs a wrong
total, and no reading is counted twice.

A *state*, such as a contract, applies until the next one. An answer has the state of one day. It is stored as a row
only if it differs from the row before. So the state of a day is the newest row up to that day. Answers for different
days may come in any order. Each day then has the state of its answer, with one exception: a day whose answer repeated
the row before has no row of its own. If another state arrives later for a day between that row and the day without a
row, the day without a row gets this other state too.

A day is computed from its curve if no daily value can come (``completeness.never_comes``).

A *peak* is the maximum power of a day and its instant. It is compared with the subscribed power of that day.

A total has two counts. They are computed when the total is read, and aren't stored. Those of a month or a year are the
number of known days, and the number of all days, future days included. Those of an hour are the minutes of the steps
that begin in the hour, and 60.

The months of a series of billed periods are also computed when they are read: a month is the sum of the periods that
begin in it. If the supplier splits periods at the first of each month, these are calendar months. The "months" of a
meter that is read every six months are half-years; ``is_whole`` is False for them. Source: 64 published periods of one
home (GRDF), which were split at the 1st and at the day of the reading.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Final, NamedTuple

from worker.domain.completeness import civil_day, covered_time_by_day, interval_days
from worker.domain.documents import Document, Entry, key_of, length_of, round_as_stored, round_share, to_entry
from worker.domain.series import FREQUENCY, Doctype, Period, Series, of_supplier
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, day_length

_MINUTE: Final = timedelta(minutes=1)
# The number of characters of an input's key that identify its total: "2024-10-27T01" is an hour, "2024-10" a month.
_INPUT_KEY_LENGTH: Final = {Period.HOUR: 13, Period.MONTH: 7, Period.YEAR: 4}


def keep_changed(entries: Iterable[Entry], stored: Mapping[str, Entry]) -> Iterator[Entry]:
    """Yield the entries that aren't stored, and the entries whose value differs from the stored one.

    A differing entry gets the revision of the stored one. A day computed from the curve never replaces the supplier's
    value. An entry that replaces a computed day is no correction, so its ``replaced_amount`` stays None.
    """
    for entry in entries:
        known = stored.get(entry.key)
        if known is None:
            yield entry
        elif not entry.has_value_of(known) and (known.is_computed or not entry.is_computed):
            told = None if known.is_computed else known.amount
            yield entry._replace(revision=known.revision, created_at=known.created_at, replaced_amount=told)


def days_of_curve(curve: Series, steps: Iterable[Entry]) -> dict[date, Entry]:
    """Return the days that the steps cover completely, each as the entry of a day computed from the curve.

    ``steps`` must begin an hour before the first day, because a step may span midnight.
    """
    steps = list(steps)
    energies: defaultdict[date, int] = defaultdict(int)
    for step in steps:
        energies[civil_day(step.key)] += step.amount
    return {
        day: Entry(day.isoformat(), energies[day], length // _MINUTE)
        for day, length in covered_time_by_day(curve, steps).items()
        if length == day_length(day)
    }


def total_entries(inputs: Iterable[Entry], doctype: Doctype) -> dict[str, int]:
    """Return the sums of stored entries in milliwatt-hours, by the key of the hour, month or year."""
    length = _INPUT_KEY_LENGTH[doctype.period]
    sums: defaultdict[str, int] = defaultdict(int)
    for key, energy, *_ in inputs:
        sums[key[:length]] += energy
    return {total_key(start, doctype): energy for start, energy in sums.items()}


def total_key(input_key: str, doctype: Doctype) -> str:
    """Return the key of the total to which an input with this key belongs."""
    start = input_key[: _INPUT_KEY_LENGTH[doctype.period]]
    return f"{start}:00Z" if doctype.period is Period.HOUR else start


def count_names(period: Period) -> tuple[str, ...]:
    """Return the names of the two counts that a total of this period has; empty for minutes and days."""
    of_days = ("days", "expected_days")
    return {Period.HOUR: ("minutes", "expected_minutes"), Period.MONTH: of_days, Period.YEAR: of_days}.get(period, ())


def count_days(window: DateWindow, known: Container[date]) -> tuple[int, int]:
    """Return the number of known days in the window, and of all its days, future days included."""
    return sum(day in known for day in window.dates()), window.days


def count_inputs(keys: Iterable[str], inputs: Iterable[Entry], doctype: Doctype) -> dict[str, dict[str, int]]:
    """Map each key to the two counts of its total, by their names; a doctype of readings has no counts.

    ``inputs``: all stored readings of the totals; not iterated if there is nothing to count.
    """
    names = count_names(doctype.period)
    if not names:
        return {key: {} for key in keys}
    if doctype.period is Period.HOUR:
        minutes = total_entries((entry._replace(amount=length_of(entry)) for entry in inputs), doctype)
        counts = {key: (minutes.get(key, 0), 60) for key in keys}
    else:
        known = {date.fromisoformat(entry.key) for entry in inputs}
        counts = {key: count_days(calendar_days(key), known) for key in keys}
    return {key: dict(zip(names, count, strict=True)) for key, count in counts.items()}


def with_counts(documents: Sequence[Document], inputs: Iterable[Document], doctype: Doctype) -> list[Document]:
    """Return the documents, with the two counts of each total added."""
    counts = count_inputs(map(key_of, documents), map(to_entry, inputs), doctype)
    return [document | counts[key_of(document)] for document in documents]


def keep_different(
    totals: Mapping[str, int], stored: Mapping[str, Entry], doctype: Doctype, touched: Container[str] = ()
) -> list[Entry]:
    """Return the totals that the store lacks or has with another value, rounded as stored, in key order.

    A total in ``touched`` is returned even if its value stays the same, so that it gets a new revision. A concurrent
    run that computed the total from older inputs then fails to write it, and computes it again.
    """
    different = []
    for key in sorted(totals):
        energy = round_as_stored(totals[key], doctype)
        known = stored.get(key)
        if known is None:
            different.append(Entry(key, energy))
        elif known.amount != energy or key in touched:
            different.append(Entry(key, energy, None, known.revision, known.created_at))
    return different


class StateChanges(NamedTuple):
    """The changes that an answer causes: new or changed rows, removed rows, and entries that came too late."""

    changed: list[Entry]
    gone: list[Entry]
    late: list[Entry]


def compare_states(entries: Iterable[Entry], stored: Mapping[str, Entry], later_keys: Collection[str]) -> StateChanges:
    """Return the changes that these states cause in the stored rows.

    ``stored``: all rows of the account's series, by key. ``later_keys``: the days that a later answer covers; an entry
    for such a day is too late.
    """
    answered = {entry.key: entry for entry in entries}
    late = [entry for key, entry in answered.items() if key in later_keys]
    rows = {**stored, **{key: entry for key, entry in answered.items() if key not in later_keys}}
    kept: list[Entry] = []
    for key in sorted(rows):
        row = rows[key]
        if not kept or (row.amount, row.details) != (kept[-1].amount, kept[-1].details):
            kept.append(row)
    kept_keys = {entry.key for entry in kept}
    return StateChanges(
        changed=list(keep_changed((entry for entry in kept if entry.key in answered), stored)),
        gone=[entry for key, entry in sorted(stored.items()) if key not in kept_keys],
        late=late,
    )


def state_on(day: date, rows: Sequence[Entry]) -> Entry | None:
    """Return the row that applies on a day: the latest row up to that day, or else the first row; None without rows.

    ``rows``: in key order. The first row also applies to earlier days, because a state is only known from its first
    request on, and nothing shows that it was different before.
    """
    earlier = [row for row in rows if row.key <= day.isoformat()] or rows[:1]
    return earlier[-1] if earlier else None


def activation_in(entries: Sequence[Entry], series: Series, answered_on: date) -> str | None:
    """Return the day of the contract's activation, from the newest reading that has such a day.

    None if no reading has one, if that day is after ``answered_on``, or if the series has no such days.
    """
    if not series.description.tells_activation:
        return None
    days = [entry.details["activated_on"] for entry in entries if entry.details and "activated_on" in entry.details]
    return next((day for day in days[-1:] if date.fromisoformat(day) <= answered_on), None)


def lacking_in(entries: Sequence[Entry], series: Series) -> list[Series]:
    """Return the series that the meter doesn't have according to its newest contract; empty without a contract."""
    if not series.is_state or not entries:
        return []
    frequency = (entries[-1].details or {}).get(FREQUENCY)
    others = of_supplier(series.description.supplier)
    return [other for other in others if frequency in other.description.not_of_meters_read]


@dataclass(frozen=True, slots=True)
class Peak:
    """The maximum power of a local day: ``amount`` in mVA (millionths of a kVA).

    ``at``: its instant in the meter's zone, None if unknown. ``subscribed``: the subscribed power on that day, in mVA,
    None if no contract is known.
    """

    day: date
    at: datetime | None
    amount: int
    subscribed: int | None = None

    @property
    def percent(self) -> int | None:
        """The percentage of the subscribed power; None if that power is unknown.

        A peak below the subscribed power is never rounded up to 100.
        """
        return None if self.subscribed is None else round_share(self.amount, self.subscribed, 100)

    @property
    def exceeds(self) -> bool:
        """Whether the peak is above the subscribed power; False if that power is unknown."""
        return self.subscribed is not None and self.amount > self.subscribed


def subscribed_on(day: date, contracts: Sequence[Entry]) -> int | None:
    """Return the subscribed power on a day in mVA, None if unknown; ``contracts`` in key order."""
    contract = state_on(day, contracts)
    return contract.amount or None if contract else None


def is_near(power: int, subscribed: int) -> bool:
    """Return whether a maximum power is within 10 % of the subscribed power, or above it; both in mVA."""
    return 10 * power >= 9 * subscribed


def to_peaks(entries: Iterable[Entry], contracts: Sequence[Entry] = ()) -> list[Peak]:
    """Return the stored daily maxima with the subscribed power of their day; ``contracts`` in key order."""
    return [_to_peak(entry, contracts) for entry in entries]


def _to_peak(entry: Entry, contracts: Sequence[Entry]) -> Peak:
    day, at = date.fromisoformat(entry.key), (entry.details or {}).get("at")
    instant = datetime.fromisoformat(at).astimezone(PARIS) if at else None
    return Peak(day, instant, entry.amount, subscribed_on(day, contracts))


def find_highest(peaks: Iterable[Peak]) -> Peak | None:
    """Return the highest peak, the earliest of equal peaks; None without peaks."""
    return max(peaks, key=lambda peak: (peak.amount, -peak.day.toordinal()), default=None)


@dataclass(frozen=True, slots=True)
class IntervalMonth:
    """The sum of the billed periods that begin in a month; ``amount`` as in ``documents.Entry``.

    ``key``: the month, such as 2024-07. ``span``: from the first day of the first period to the end of the last period.
    ``days``: the number of days in all periods, lower than ``span.days`` if there is a gap between periods.
    ``coefficients``: the distinct coefficients (kWh per m³) of the periods.
    """

    key: str
    amount: int
    span: DateWindow
    days: int
    coefficients: tuple[float, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether the periods cover exactly the calendar month."""
        return self.span == calendar_month(self.key) and self.days == self.span.days


def months_of_intervals(periods: Iterable[Entry]) -> list[IntervalMonth]:
    """Return the months in which periods begin, the oldest first. ``periods``: stored rows of a series of periods."""
    in_order = sorted(periods, key=lambda entry: entry.key)
    return [_sum_up(key, list(rows)) for key, rows in groupby(in_order, key=lambda entry: entry.key[:7])]


def calendar_month(key: str) -> DateWindow:
    """Return the days of a month such as 2024-07."""
    first = date.fromisoformat(f"{key}-01")
    return DateWindow(first, (first + 31 * ONE_DAY).replace(day=1))


def calendar_days(key: str) -> DateWindow:
    """Return the days of a month or a year, such as 2024-07 or 2024."""
    return calendar_month(key) if "-" in key else DateWindow(date(int(key), 1, 1), date(int(key) + 1, 1, 1))


def coefficients_of(rows: Iterable[Entry]) -> tuple[float, ...]:
    """Return the distinct coefficients (kWh per m³) of these rows."""
    values = ((row.details or {}).get("coefficient") for row in rows)
    return tuple(dict.fromkeys(value for value in values if value is not None))


def _sum_up(key: str, periods: list[Entry]) -> IntervalMonth:
    spans = [interval_days(period) for period in periods]
    return IntervalMonth(
        key,
        sum(period.amount for period in periods),
        DateWindow(spans[0].start, max(span.end for span in spans)),
        sum(span.days for span in spans),
        coefficients_of(periods),
    )
