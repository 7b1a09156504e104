"""Documents: how readings and totals are stored, their keys, fields and rounding, and which overlapping steps count.

The fields are those of the original konnector's doctypes: ``load`` in kWh, and the local civil time as numbers. Keys
of minutes and hours are in UTC. So the two passes of the autumn hour have different keys, and keys sort as time does.
``fold`` is 1 in the second pass and absent elsewhere. ``step`` is the length of a load-curve step in minutes; it is
absent for the usual 30. Some doctypes have additional fields (``series.Detail``). A document of each doctype is shown
in docs/reference/documents.md.

Energy is computed in whole milliwatt-hours (mWh); one mWh is the sixth decimal of a kWh. A half is rounded away from
zero. Energy is never computed in floats, because they would round a half by chance or to the even neighbour. Values are
shown in kWh, shares and changes in percent.

Listed values are shown with all their decimals (``count_places``), so that they add up to their total exactly. A total
shown with fewer decimals is the rounded true total, never the sum of rounded parts. Days are whole Wh, so they have 3
decimals. Half-hours are measured in whole watts, so their energy is a multiple of half a Wh: 4 decimals. The energy of
5 or 10 minutes may have thirds of a Wh and is stored in whole mWh: 6 decimals. Further decimals are lost in storage:
288 steps of 5 minutes at 1 kW add up to 23.999904 kWh, shown as 24.00.

Stored steps of a meter never overlap in time (rules K5 and K6). Steps with different bounds that overlap, directly or
through others, form a *cluster*, which is treated as a whole. If the steps of the later answer cover all the time of
the earlier steps, they replace the earlier steps; if they cover less, the earlier steps stay. If a step of the later
answer has the same bounds as the only step that it overlaps, its value replaces the earlier value.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any, Final, NamedTuple

from worker.domain import windows
from worker.domain.series import Doctype, Period, Quantity, Series, curve_of, daily_of

Document = dict[str, Any]
KeyRange = tuple[str, str]  # The first key, and the first key after the range.
ALL_KEYS: Final[KeyRange] = ("0", "~")
USUAL_STEP_MINUTES: Final = 30
MILLIWATT_HOURS_PER_KWH: Final = 1_000_000
MILLIWATT_HOURS_PER_WH: Final = 1000
DAY_PLACES: Final = 3
STEP_PLACES: Final = 4
# The most energy that a meter of 36 kVA, the largest for a home, can deliver in a day of 25 hours (rule K7).
DAILY_LIMIT_KWH: Final = 900.0
# In the journal of corrections, this amount stands for no reading: there was none before, or it was removed.
REMOVED: Final = -1
# The original konnector stores these values in date fields without a meaning, such as the hour of a day's document. No
# reader may use them.
PLACE_HOLDERS: Final[Mapping[Period, Mapping[str, int]]] = {
    Period.MINUTE: {},
    Period.HOUR: {"minute": 0},
    Period.DAY: {"hour": 0, "minute": 0},
    Period.MONTH: {"day": 0, "hour": 0, "minute": 0},
    Period.YEAR: {"month": 1, "day": 0, "hour": 0, "minute": 0},
}
_MINUTE: Final = timedelta(minutes=1)
_MOST_PLACES: Final = 6
_DECIMALS: Final = {Period.MINUTE: 6, Period.HOUR: 4, Period.DAY: 3, Period.MONTH: 4, Period.YEAR: 4}
# For each doctype, the step to which amounts are rounded, in milliwatt-hours. For gas the step is 1, so that no decimal
# is lost: the supplier sends whole kWh, or kWh with two or more decimals.
_LAST_PLACES: Final[dict[Doctype, int]] = {
    doctype: 1 if doctype.series.description.quantity is Quantity.GAS else 10 ** (6 - _DECIMALS[doctype.period])
    for doctype in Doctype
}
_IN_UTC: Final = (Period.MINUTE, Period.HOUR)
_LOCAL_KEY_LENGTH: Final = {Period.DAY: 10, Period.MONTH: 7, Period.YEAR: 4}
_DETAIL_NAMES: Final = tuple(dict.fromkeys(name for doctype in Doctype for name in doctype.detail_names))
_STEPS: Final = curve_of(daily_of()).inputs


class Entry(NamedTuple):
    """A document in its shortest form. Tasks pass it to each other as a JSON array, so the order of fields is fixed.

    ``amount``: millionths of the unit of ``load``, such as mWh. ``revision``, ``created_at`` and ``replaced_amount``
    are taken from the stored document that the entry replaces, and None for a new document. ``details``: the
    additional fields of the doctype.
    """

    key: str
    amount: int
    step: int | None = None
    revision: str | None = None
    created_at: str | None = None
    replaced_amount: int | None = None
    details: Mapping[str, Any] | None = None

    @property
    def reading(self) -> tuple[Any, ...]:
        """Key, amount, step and details as a short array, from which the ``Entry`` of a new document can be made."""
        return self[:3] if self.details is None else (*self[:3], None, None, None, self.details)

    @property
    def is_computed(self) -> bool:
        """Whether this is a day computed from its curve; only such a day has a ``step``, its length in minutes."""
        return self.step is not None and "T" not in self.key

    def has_value_of(self, other: Entry) -> bool:
        return (self.amount, self.step, self.details) == (other.amount, other.step, other.details)


def packed_doctype(series: Series) -> str:
    """Return the doctype under which the packed layout (``packing``) stores a series."""
    return f"{series.inputs.prefix}packed-{series.value.replace('_', '-')}"


def period_key(start: datetime, doctype: Doctype) -> str:
    """Return the key of the document whose period contains ``start`` (zone-aware); keys sort by time."""
    if doctype.period in _IN_UTC:  # The local hour 02 comes twice in October, so these keys are in UTC.
        text = start.astimezone(UTC).isoformat()
        return f"{text[:16]}Z" if doctype.period is Period.MINUTE else f"{text[:13]}:00Z"
    return windows.civil_date(start).isoformat()[: _LOCAL_KEY_LENGTH[doctype.period]]


def key_range(window: windows.DateWindow, doctype: Doctype) -> tuple[str, str]:
    """Return the key of the first period that is at least partly in the window, and the first key after the window."""
    if doctype.period in _IN_UTC:
        start, end = window.instants()
        return period_key(start, doctype), period_key(end, doctype)
    last = window.end - timedelta(days=1)
    after = {
        Period.DAY: window.end,
        Period.MONTH: last.replace(day=1) + timedelta(days=31),
        Period.YEAR: date(last.year + 1, 1, 1),
    }
    length = _LOCAL_KEY_LENGTH[doctype.period]
    return window.start.isoformat()[:length], after[doctype.period].isoformat()[:length]


def shift_key(key: str, by: timedelta) -> str:
    """Return the key of a minute or an hour, shifted by a duration."""
    return f"{(datetime.fromisoformat(key) + by).astimezone(UTC).isoformat()[:16]}Z"


def start_of(key: str) -> datetime:
    """Return the start of the reading with this key; a day begins at local midnight."""
    return datetime.fromisoformat(key) if "T" in key else windows.local_midnight(date.fromisoformat(key))


def touched_window(window: windows.DateWindow, series: Series) -> windows.DateWindow:
    """Return the days of the readings that are needed to recompute the totals of the window's days.

    These are whole years or months if the series has totals by year or month. Otherwise they are the window's own days:
    no total by hour needs other days, because the zone's offset from UTC is a whole number of hours.
    """
    periods, last = {doctype.period for doctype in series.totals}, window.end - timedelta(days=1)
    if Period.YEAR in periods:
        return windows.DateWindow(date(window.start.year, 1, 1), date(last.year + 1, 1, 1))
    if Period.MONTH in periods:
        after = last.replace(day=1) + timedelta(days=31)
        return windows.DateWindow(window.start.replace(day=1), after.replace(day=1))
    return window


def to_reading(document: Document, doctype: Doctype) -> windows.IntervalReading:
    """Return the reading of a stored minute or day document."""
    key, amount, details = key_of(document), to_amount(document["load"]), details_of(document)
    if doctype.period is Period.DAY:
        day = date.fromisoformat(key)
        return windows.IntervalReading(windows.local_midnight(day), windows.day_length(day), amount, details)
    start = datetime.fromisoformat(key).astimezone(windows.PARIS)
    return windows.IntervalReading(start, timedelta(minutes=document.get("step", USUAL_STEP_MINUTES)), amount, details)


def entry_of(reading: windows.IntervalReading, doctype: Doctype) -> Entry:
    """Return a reading as an entry of ``doctype``, which must be a doctype of readings, not of totals."""
    minutes = reading.length // _MINUTE
    step = None if doctype.period is Period.DAY or minutes == USUAL_STEP_MINUTES else minutes
    amount = round_as_stored(reading.amount, doctype)
    return Entry(period_key(reading.start, doctype), amount, step, details=reading.details)


def to_document(account_id: str, doctype: Doctype, entry: Entry, now: datetime) -> Document:
    """Return the document of an entry as it is written at ``now``, with the original konnector's fields."""
    written_at = to_timestamp(now)
    document: Document = {
        "_id": f"{account_id}:{entry.key}",
        "load": to_kwh(entry.amount) if entry.is_computed else to_load(entry.amount, doctype),
        **civil_fields(entry.key, doctype),
        "created_at": entry.created_at or written_at,
        "updated_at": written_at,
        "source_account": account_id,
    }
    if entry.details:
        document.update(_instant_fields(entry.details), **entry.details)
    if entry.step is not None:
        document["step"] = entry.step
    if entry.revision is not None:
        document["_rev"] = entry.revision
    return document


def _instant_fields(details: Mapping[str, Any]) -> Document:
    """Return the local hour and minute of a value that belongs to one instant of its day; empty for other values."""
    if "at" not in details:
        return {}
    at = datetime.fromisoformat(details["at"])
    return {"hour": at.hour, "minute": at.minute}


# In one night, all accounts have the same keys. Callers must copy the result, because the cache returns it again.
@lru_cache(maxsize=8192)
def civil_fields(key: str, doctype: Doctype) -> dict[str, int]:
    """Return the fields that tell the local start of a document's period: ``year`` to ``minute``, and ``fold``."""
    if doctype.period in _IN_UTC:
        local = datetime.fromisoformat(key).astimezone(windows.PARIS)
        names = ("year", "month", "day", "hour", "minute")
        fields = {name: getattr(local, name) for name in names}
        return fields | {"fold": 1} if local.fold else fields
    numbers = dict(zip(("year", "month", "day"), map(int, key.split("-")), strict=False))
    return {**numbers, **PLACE_HOLDERS[doctype.period]}


def to_timestamp(instant: datetime) -> str:
    """Format an instant for documents: in UTC, to the second, so that texts sort by time."""
    return instant.astimezone(UTC).isoformat(timespec="seconds")


def to_entry(document: Document) -> Entry:
    # This function runs for every document of a night, so for speed it calls none of our other functions.
    get = document.get
    amount = round(document["load"] * MILLIWATT_HOURS_PER_KWH)
    details = {name: document[name] for name in _DETAIL_NAMES if name in document} or None
    return Entry(
        document["_id"].partition(":")[2], amount, get("step"), get("_rev"), get("created_at"), details=details
    )


def details_of(document: Document) -> Document | None:
    """Return the additional fields of a document; None if no such field is present."""
    return {name: document[name] for name in _DETAIL_NAMES if name in document} or None


def account_of(document: Document) -> str:
    return str(document["_id"]).partition(":")[0]


def key_of(document: Document) -> str:
    """Return the document's key without its account."""
    return str(document["_id"]).partition(":")[2]


def to_load(amount: int, doctype: Doctype) -> float:
    """Convert an amount to a ``load`` with the decimals of the doctype."""
    return round_as_stored(amount, doctype) / MILLIWATT_HOURS_PER_KWH


def round_as_stored(amount: int, doctype: Doctype) -> int:
    """Round an amount to the decimals of the doctype; a half is rounded away from zero."""
    return round_half_up(amount, _LAST_PLACES[doctype])


def to_amount(load: float) -> int:
    """Convert a ``load``, which has at most six decimals, exactly to an amount (whole millionths)."""
    return round(load * MILLIWATT_HOURS_PER_KWH)


def round_half_up(value: int | Fraction, unit: int) -> int:
    """Round to a multiple of ``unit``; a half is rounded away from zero."""
    return (2 * value + unit) // (2 * unit) * unit if value >= 0 else -round_half_up(-value, unit)


def round_kwh(milliwatt_hours: int | Fraction, places: int) -> Decimal:
    """Return the energy in kWh, rounded to ``places`` decimals (at most six)."""
    unit = 10 ** (_MOST_PLACES - places)
    return Decimal(round_half_up(milliwatt_hours, unit) // unit).scaleb(-places)


def format_kwh(milliwatt_hours: int, places: int | None = None) -> str:
    """Return the energy in kWh, such as ``0.063``; if ``places`` is None, with all decimals, but at least three.

    The text has a decimal point and no thousands separators, for files and the command line. Pages instead format the
    number from ``round_kwh`` in their language.
    """
    return f"{round_kwh(milliwatt_hours, count_places([milliwatt_hours]) if places is None else places):f}"


def count_places(energies: Iterable[int], least: int = DAY_PLACES) -> int:
    """Return how many decimals are needed to show all of the energies (mWh) exactly in kWh, at least ``least``."""
    places = least
    for energy in energies:
        while energy % 10 ** (_MOST_PLACES - places):
            places += 1
    return places


def to_kwh(milliwatt_hours: int) -> float:
    """Convert mWh to kWh for JSON. A float is safe: Python writes it with exactly the decimals that the energy has."""
    return milliwatt_hours / MILLIWATT_HOURS_PER_KWH


def round_share(part: int, whole: int, steps: int) -> int:
    """Return the share of ``part`` in ``whole`` (not 0), times ``steps`` and rounded.

    A share between 0 and the whole is never rounded to 0 or to ``steps``.
    """
    share = round_half_up(part * steps, whole) // whole
    if 0 < part < whole:
        return min(max(share, 1), steps - 1)
    return share


def round_percent(part: int, whole: int) -> Decimal:
    """Return the share of ``part`` in ``whole`` (not 0) in percent with one decimal; 100 only for the whole."""
    return Decimal(round_share(part, whole, 1000)).scaleb(-1)


def format_percent(part: int, whole: int) -> str:
    """Return the share of ``part`` in ``whole`` (not 0) as ``99.6%``, for the command line."""
    return f"{round_percent(part, whole)}%"


def round_change(now: int, before: int) -> int:
    """Return the change from ``before`` (not 0) in whole percent, such as 13 for 8 to 9; -100 only if ``now`` is 0."""
    change = round_half_up(100 * (now - before), before) // before
    return max(change, -99) if now else change


class Interval(NamedTuple):
    """A span of time; ``start`` and ``end`` (excluded) are in minutes since 1970."""

    start: int
    end: int


@dataclass
class Cluster:
    """Steps that overlap directly or through other steps of the cluster.

    ``newcomers``: the steps of an answer. ``stored``: the stored steps. Both are in time order. ``bounds``: the
    distinct intervals of all these steps.
    """

    newcomers: list[Entry] = field(default_factory=list)
    stored: list[Entry] = field(default_factory=list)
    bounds: set[Interval] = field(default_factory=set)
    end: int = 0


@dataclass(frozen=True, slots=True)
class Settlement:
    """The part of an answer that may be stored.

    ``entries``: the answer's accepted entries. ``replaced``: the stored steps to remove. ``reshaped``: the keys of
    accepted entries whose bounds differ from those of the steps that they replace. ``left_out``: how many entries were
    rejected. ``late``: the entries that were rejected because a later answer is stored.
    """

    entries: list[Entry]
    replaced: list[Entry]
    reshaped: set[str]
    left_out: int
    late: list[Entry] = field(default_factory=list)


def interval_of(entry: Entry) -> Interval:
    """Return the span of time of a step or of a billed period."""
    start = _minute_of(entry.key)
    return Interval(start, start + length_of(entry))


def length_of(entry: Entry) -> int:
    """Return the length of a step or of a billed period in minutes; each day of a period counts 24 hours."""
    if ends_on := (entry.details or {}).get("ends_on"):
        return _minute_of(ends_on) - _minute_of(entry.key)
    return USUAL_STEP_MINUTES if entry.is_computed else entry.step or USUAL_STEP_MINUTES


@lru_cache(maxsize=8192)  # In one night, all accounts have the same keys.
def _minute_of(key: str) -> int:
    moment = datetime.fromisoformat(key)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) // 60


def keep_last(readings: Sequence[windows.IntervalReading]) -> list[windows.IntervalReading]:
    """Return the readings of one answer in time order without overlaps; ``readings`` in the order of the answer.

    Steps of the same length and offset are a *grid*. If readings overlap, each grid is settled (``settle``) as if it
    were a separate answer. The grid whose last step comes later in ``readings`` counts as the later answer, whatever
    the times of the steps. A zero never replaces another value.
    """
    in_time_order = sorted(readings, key=lambda reading: reading.start.astimezone(UTC))
    if not any(first.start.astimezone(UTC) + first.length > second.start for first, second in pairwise(in_time_order)):
        return in_time_order
    by_entry = {entry_of(reading, _STEPS)[:3]: reading for reading in readings}
    entries = [Entry(*fields) for fields in by_entry]
    measured, zeros = (
        _settle_in_order([entry for entry in entries if bool(entry.amount) is wanted]) for wanted in (True, False)
    )
    taken = list(map(interval_of, measured))
    free = [zero for zero in zeros if windows.find_uncovered(*interval_of(zero), taken) == [interval_of(zero)]]
    return [by_entry[entry[:3]] for entry in sorted([*measured, *free])]


def _settle_in_order(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries of one answer that remain after each of its grids was settled like an answer of its own."""
    last_place = {_grid_of(entry): place for place, entry in enumerate(entries)}
    kept: list[Entry] = []
    for grid in sorted(last_place, key=lambda grid: last_place[grid]):
        settlement = settle(sorted(entry for entry in entries if _grid_of(entry) == grid), kept)
        gone = {entry.key for entry in (*settlement.replaced, *settlement.entries)}
        kept = sorted([entry for entry in kept if entry.key not in gone] + settlement.entries)
    return kept


def _grid_of(entry: Entry) -> tuple[int, int]:
    """Return the length and the offset of a step; steps of the same grid can't overlap."""
    return length_of(entry), interval_of(entry).start % length_of(entry)


def keep_latest_periods(readings: Sequence[windows.IntervalReading]) -> list[windows.IntervalReading]:
    """Return periods of one answer in time order without overlaps; ``readings`` in the order of the answer.

    Of overlapping periods, only the period with the latest end counts; of periods with the same end, the last in the
    answer.
    """
    kept: list[tuple[datetime, datetime, windows.IntervalReading]] = []
    spans = [(start := reading.start.astimezone(UTC), start + reading.length, reading) for reading in readings]
    by_end = sorted(spans, key=lambda span: span[1])
    for start, end, reading in reversed(by_end):
        if not kept or end <= kept[-1][0]:
            kept.append((start, end, reading))
    return [reading for _, _, reading in reversed(kept)]


def settle(newcomers: Sequence[Entry], stored: Sequence[Entry], later_keys: Container[str] = ()) -> Settlement:
    """Decide which steps of an answer (``newcomers``) are accepted, and which stored steps are removed.

    The newcomers don't overlap each other; in a consistent store, the stored steps don't either. ``later_keys``: the
    keys of stored steps from an answer that was requested later than the newcomers.
    """
    entries: list[Entry] = []
    replaced: list[Entry] = []
    reshaped: set[str] = set()
    late: list[Entry] = []
    for cluster in find_clusters(newcomers, stored):
        earlier = [entry for entry in cluster.stored if entry.key not in later_keys]
        later = [entry for entry in cluster.stored if entry.key in later_keys]
        # If all bounds are the same, a newcomer overlaps at most one stored step, of which only the value can change.
        is_settled = len(cluster.bounds) == 1
        if is_settled and (not later or _same_values(later, cluster.newcomers)):
            entries += cluster.newcomers
        elif (
            not is_settled
            and cluster.newcomers
            and covers(cluster.newcomers, earlier)
            and not covers(later, cluster.newcomers)
        ):
            entries += cluster.newcomers
            keys = {entry.key for entry in cluster.newcomers}
            replaced += [entry for entry in cluster.stored if entry.key not in keys]
            reshaped |= keys
        elif later:
            late += cluster.newcomers
    return Settlement(entries, replaced, reshaped, len(newcomers) - len(entries), late)


def _same_values(some: Sequence[Entry], others: Sequence[Entry]) -> bool:
    return [(entry.amount, entry.details) for entry in some] == [(entry.amount, entry.details) for entry in others]


def find_replaced(documents: Sequence[Document]) -> list[Entry]:
    """Return the stored steps that must be removed because they overlap other stored steps.

    A consistent store has no overlaps. They are left by a worker that was killed after it wrote new steps and before it
    removed the replaced steps, and by old versions, which identified a step only by its start. Steps with the same
    ``updated_at`` are treated as one answer; the answers are settled in the order of ``updated_at``.
    """
    times = {key_of(document): document["updated_at"] for document in documents}
    replaced: list[Entry] = []
    for cluster in find_clusters((), map(to_entry, documents)):
        if len(cluster.stored) > 1:
            kept: list[Entry] = []
            in_order = sorted(cluster.stored, key=lambda entry: times[entry.key])
            for _, of_one_answer in groupby(in_order, key=lambda entry: times[entry.key]):
                longest_last = sorted(of_one_answer, key=length_of)
                settlement = settle(_settle_in_order(longest_last), kept)
                gone = {entry.key for entry in settlement.replaced}
                kept = sorted([entry for entry in kept if entry.key not in gone] + settlement.entries)
            kept_keys = {entry.key for entry in kept}
            replaced += [entry for entry in cluster.stored if entry.key not in kept_keys]
    return replaced


def find_clusters(newcomers: Iterable[Entry], stored: Iterable[Entry]) -> Iterator[Cluster]:
    """Yield the clusters of overlapping steps in time order; a step that overlaps no other is a cluster too."""
    steps = [
        (interval_of(entry), is_stored, entry)
        for is_stored, entries in enumerate((newcomers, stored))
        for entry in entries
    ]
    cluster = Cluster()
    for interval, is_stored, entry in sorted(steps, key=lambda step: step[:2]):
        if interval.start >= cluster.end and (cluster.newcomers or cluster.stored):
            yield cluster
            cluster = Cluster()
        (cluster.stored if is_stored else cluster.newcomers).append(entry)
        cluster.bounds.add(interval)
        cluster.end = max(cluster.end, interval.end)
    if cluster.newcomers or cluster.stored:
        yield cluster


def covers(steps: Sequence[Entry], others: Iterable[Entry]) -> bool:
    """Return whether each of ``others`` lies within the time of ``steps``; several steps may cover it together."""
    return not any(windows.find_uncovered(*interval_of(other), map(interval_of, steps)) for other in others)
