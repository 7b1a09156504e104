"""Conversion of readings and totals to documents and back: keys, fields, kWh and rounding.

The fields are those of the original konnector's doctypes: ``load`` in kWh and the local civil time as numbers. Keys of
minutes and hours are in UTC, so the two passes of the autumn hour have different keys and keys sort as time does.
``fold`` is 1 in the second pass and absent elsewhere. ``step`` is the length of a load-curve step in minutes and absent
for the usual 30. A document of each doctype is shown in docs/reference/documents.md.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

from worker.domain.measures.amounts import MILLIWATT_HOURS_PER_KWH, format_kwh, round_half_up
from worker.domain.measures.readings import (
    PARIS,
    DateWindow,
    IntervalReading,
    Period,
    Series,
    civil_date,
    day_length,
    local_midnight,
)

Document = dict[str, Any]
KeyRange = tuple[str, str]  # The first key, and the first key after the range.

DOCTYPE_PREFIX: Final = "com.grandlyon.enedis."
USUAL_STEP_MINUTES: Final = 30
_MINUTE: Final = timedelta(minutes=1)
_DECIMALS: Final = {Period.MINUTE: 6, Period.HOUR: 4, Period.DAY: 3, Period.MONTH: 4, Period.YEAR: 4}
_LAST_PLACES_MWH: Final[dict[Period, int]] = {period: 10 ** (6 - places) for period, places in _DECIMALS.items()}
_IN_UTC: Final = (Period.MINUTE, Period.HOUR)
_LOCAL_KEY_LENGTH: Final = {Period.DAY: 10, Period.MONTH: 7, Period.YEAR: 4}
PUBLIC_FIELDS: Final = ("load", "year", "month", "day", "hour", "minute", "fold")
# The original konnector fills the parts that a period does not have with these values. No reader may use them.
_PLACE_HOLDERS: Final = {
    Period.DAY: {"hour": 0, "minute": 0},
    Period.MONTH: {"day": 0, "hour": 0, "minute": 0},
    Period.YEAR: {"month": 1, "day": 0, "hour": 0, "minute": 0},
}


class Entry(NamedTuple):
    """A document in its shortest form. Tasks pass it to each other as a JSON array, so the order of fields is fixed.

    ``revision``, ``created_at`` and ``replaced_milliwatt_hours`` are those of the stored document that it replaces, and
    None for a new one.
    """

    key: str
    milliwatt_hours: int
    step: int | None = None
    revision: str | None = None
    created_at: str | None = None
    replaced_milliwatt_hours: int | None = None


def doctype(period: Period) -> str:
    """Return the doctype of a period's documents."""
    return DOCTYPE_PREFIX + period.value


def packed_doctype(series: Series) -> str:
    """Return the doctype of a series' packs in the packed layout."""
    return f"{DOCTYPE_PREFIX}packed-{series.value.replace('_', '-')}"


def period_key(start: datetime, period: Period) -> str:
    """Return the text key of the period that holds ``start`` (zone-aware); keys sort as time does."""
    if period in _IN_UTC:  # The local hour 02 comes twice in October, so these keys are in UTC.
        text = start.astimezone(UTC).isoformat()
        return f"{text[:16]}Z" if period is Period.MINUTE else f"{text[:13]}:00Z"
    return civil_date(start).isoformat()[: _LOCAL_KEY_LENGTH[period]]


def key_range(window: DateWindow, period: Period) -> tuple[str, str]:
    """Return the first key that the window touches, and the first key after the window."""
    if period in _IN_UTC:
        start, end = window.instants()
        return period_key(start, period), period_key(end, period)
    last = window.end - timedelta(days=1)
    after = {
        Period.DAY: window.end,
        Period.MONTH: last.replace(day=1) + timedelta(days=31),
        Period.YEAR: date(last.year + 1, 1, 1),
    }
    length = _LOCAL_KEY_LENGTH[period]
    return window.start.isoformat()[:length], after[period].isoformat()[:length]


def shift_key(key: str, by: timedelta) -> str:
    """Return the key of a minute or an hour so much later."""
    return period_key(datetime.fromisoformat(key) + by, Period.MINUTE)


def touched_window(window: DateWindow, series: Series) -> DateWindow:
    """Return the days whose readings belong to the totals that the window touches.

    Hours end where days do, because the zone is a whole number of hours from UTC. Months and years do not.
    """
    if Period.YEAR not in series.totals:
        return window
    last = window.end - timedelta(days=1)
    return DateWindow(date(window.start.year, 1, 1), date(last.year + 1, 1, 1))


def to_reading(document: Document, period: Period) -> IntervalReading:
    """Return the reading that a stored minute or day document was made from."""
    key = key_of(document)
    energy = to_milliwatt_hours(document["load"])
    if period is Period.DAY:
        day = date.fromisoformat(key)
        return IntervalReading(local_midnight(day), day_length(day), energy)
    start = datetime.fromisoformat(key).astimezone(PARIS)
    return IntervalReading(start, timedelta(minutes=document.get("step", USUAL_STEP_MINUTES)), energy)


def entry_of(reading: IntervalReading, period: Period) -> Entry:
    """Return a reading as an entry of its own doctype, minute or day."""
    minutes = reading.length // _MINUTE
    step = None if period is Period.DAY or minutes == USUAL_STEP_MINUTES else minutes
    return Entry(period_key(reading.start, period), round_as_stored(reading.milliwatt_hours, period), step)


def to_document(account_id: str, period: Period, entry: Entry, now: datetime) -> Document:
    """Return the document of the original doctype, ready to be written at ``now``."""
    written_at = to_timestamp(now)
    document: Document = {
        "_id": f"{account_id}:{entry.key}",
        "load": to_load(entry.milliwatt_hours, period),
        **civil_fields(entry.key, period),
        "created_at": entry.created_at or written_at,
        "updated_at": written_at,
        "source_account": account_id,
    }
    if entry.step is not None:
        document["step"] = entry.step
    if entry.revision is not None:
        document["_rev"] = entry.revision
    return document


def to_timestamp(instant: datetime) -> str:
    """Format an instant as documents store it: in UTC, to the second, so that texts sort as time does."""
    return instant.astimezone(UTC).isoformat(timespec="seconds")


def to_entry(document: Document) -> Entry:
    """Return a stored document as an entry."""
    # This runs for every document of a night, so it calls none of our functions.
    get = document.get
    energy = round(document["load"] * MILLIWATT_HOURS_PER_KWH)
    return Entry(document["_id"].partition(":")[2], energy, get("step"), get("_rev"), get("created_at"))


def to_public_fields(document: Document) -> Document:
    """Return the fields of a stored document that pages and the API show: ``load`` in kWh and the civil time."""
    return {name: document[name] for name in PUBLIC_FIELDS if name in document}


def to_csv_fields(document: Document) -> Document:
    """Return the public fields as a CSV has them: ``load`` as text with all its places, at least three."""
    return {**to_public_fields(document), "load": format_kwh(to_milliwatt_hours(document["load"]))}


def account_of(document: Document) -> str:
    """Return the id of the document's account."""
    return str(document["_id"]).partition(":")[0]


def key_of(document: Document) -> str:
    """Return the document's key without its account."""
    return str(document["_id"]).partition(":")[2]


def to_load(milliwatt_hours: int, period: Period) -> float:
    """Convert to kWh, rounded half up to the decimals of the doctype."""
    return round_as_stored(milliwatt_hours, period) / MILLIWATT_HOURS_PER_KWH


def round_as_stored(milliwatt_hours: int, period: Period) -> int:
    """Round to the decimals of the doctype, in whole mWh; a half is rounded away from zero."""
    return round_half_up(milliwatt_hours, _LAST_PLACES_MWH[period])


def to_milliwatt_hours(load: float) -> int:
    """Convert a stored load to whole mWh; exact, because a load has at most six decimals."""
    return round(load * MILLIWATT_HOURS_PER_KWH)


# All accounts have the same keys in one night. The result is shared, so callers must copy it.
@lru_cache(maxsize=8192)
def civil_fields(key: str, period: Period) -> dict[str, int]:
    """Return year to minute and fold of a period's start, as its document has them."""
    if period in _IN_UTC:
        local = datetime.fromisoformat(key).astimezone(PARIS)
        names = ("year", "month", "day", "hour", "minute")
        fields = {name: getattr(local, name) for name in names}
        return fields | {"fold": 1} if local.fold else fields
    numbers = dict(zip(("year", "month", "day"), map(int, key.split("-")), strict=False))
    return numbers | _PLACE_HOLDERS[period]
