"""Conversion of readings and totals to documents and back: keys, fields, kWh and rounding.

The fields are those of the original konnector's doctypes: ``load`` in kWh and the local civil time as numbers. Keys of
minutes and hours are in UTC, so the two passes of the autumn hour have different keys and keys sort as time does.
``fold`` is 1 in the second pass and absent elsewhere. ``step`` is the length of a load-curve step in minutes and absent
for the usual 30. Some doctypes have further fields (``series.Detail``). A document of each doctype is shown in
docs/reference/documents.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

from worker.domain.measures.amounts import MILLIWATT_HOURS_PER_KWH, round_half_up
from worker.domain.measures.readings import PARIS, DateWindow, IntervalReading, civil_date, day_length, local_midnight
from worker.domain.measures.series import Doctype, Period, Quantity, Series

Document = dict[str, Any]
KeyRange = tuple[str, str]  # The first key, and the first key after the range.
ALL_KEYS: Final[KeyRange] = ("0", "~")
USUAL_STEP_MINUTES: Final = 30
_MINUTE: Final = timedelta(minutes=1)
_DECIMALS: Final = {Period.MINUTE: 6, Period.HOUR: 4, Period.DAY: 3, Period.MONTH: 4, Period.YEAR: 4}
# The energy of gas is stored with all the decimals that the supplier sends: it is whole kWh, or hundredths and more.
_LAST_PLACES: Final[dict[Doctype, int]] = {
    doctype: 1 if doctype.series.description.quantity is Quantity.GAS else 10 ** (6 - _DECIMALS[doctype.period])
    for doctype in Doctype
}
_IN_UTC: Final = (Period.MINUTE, Period.HOUR)
_LOCAL_KEY_LENGTH: Final = {Period.DAY: 10, Period.MONTH: 7, Period.YEAR: 4}
_DETAIL_NAMES: Final = tuple(dict.fromkeys(name for doctype in Doctype for name in doctype.detail_names))
# The original konnector fills the parts that a period does not have with these values. No reader may use them.
PLACE_HOLDERS: Final[Mapping[Period, Mapping[str, int]]] = {
    Period.MINUTE: {},
    Period.HOUR: {"minute": 0},
    Period.DAY: {"hour": 0, "minute": 0},
    Period.MONTH: {"day": 0, "hour": 0, "minute": 0},
    Period.YEAR: {"month": 1, "day": 0, "hour": 0, "minute": 0},
}


class Entry(NamedTuple):
    """A document in its shortest form. Tasks pass it to each other as a JSON array, so the order of fields is fixed.

    ``amount``: millionths of the unit of ``load``, such as mWh. ``revision``, ``created_at`` and ``replaced_amount``
    are those of the stored document that it replaces, and None for a new one. ``details``: the further fields of the
    doctype.
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
        """The shortest array of what was read, without the stored document that it replaces."""
        return self[:3] if self.details is None else (*self[:3], None, None, None, self.details)

    def has_value_of(self, other: Entry) -> bool:
        """Return whether both tell the same of their key."""
        return (self.amount, self.step, self.details) == (other.amount, other.step, other.details)


def packed_doctype(series: Series) -> str:
    """Return the doctype of a series' packs in the packed layout."""
    return f"{series.inputs.prefix}packed-{series.value.replace('_', '-')}"


def period_key(start: datetime, doctype: Doctype) -> str:
    """Return the text key of the document whose period holds ``start`` (zone-aware); keys sort as time does."""
    if doctype.period in _IN_UTC:  # The local hour 02 comes twice in October, so these keys are in UTC.
        text = start.astimezone(UTC).isoformat()
        return f"{text[:16]}Z" if doctype.period is Period.MINUTE else f"{text[:13]}:00Z"
    return civil_date(start).isoformat()[: _LOCAL_KEY_LENGTH[doctype.period]]


def key_range(window: DateWindow, doctype: Doctype) -> tuple[str, str]:
    """Return the first key that the window touches, and the first key after the window."""
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
    """Return the key of a minute or an hour so much later."""
    return f"{(datetime.fromisoformat(key) + by).astimezone(UTC).isoformat()[:16]}Z"


def start_of(key: str) -> datetime:
    """Return the start of the reading with this key: of minutes in UTC, of days at local midnight."""
    return datetime.fromisoformat(key) if "T" in key else local_midnight(date.fromisoformat(key))


def touched_window(window: DateWindow, series: Series) -> DateWindow:
    """Return the days whose readings belong to the totals that the window touches.

    Hours end where days do, because the zone is a whole number of hours from UTC. Months and years do not.
    """
    periods, last = {doctype.period for doctype in series.totals}, window.end - timedelta(days=1)
    if Period.YEAR in periods:
        return DateWindow(date(window.start.year, 1, 1), date(last.year + 1, 1, 1))
    if Period.MONTH in periods:
        after = last.replace(day=1) + timedelta(days=31)
        return DateWindow(window.start.replace(day=1), after.replace(day=1))
    return window


def to_reading(document: Document, doctype: Doctype) -> IntervalReading:
    """Return the reading that a stored minute or day document was made from."""
    key, amount, details = key_of(document), to_amount(document["load"]), details_of(document)
    if doctype.period is Period.DAY:
        day = date.fromisoformat(key)
        return IntervalReading(local_midnight(day), day_length(day), amount, details)
    start = datetime.fromisoformat(key).astimezone(PARIS)
    return IntervalReading(start, timedelta(minutes=document.get("step", USUAL_STEP_MINUTES)), amount, details)


def entry_of(reading: IntervalReading, doctype: Doctype) -> Entry:
    """Return a reading as an entry of its own doctype, minute or day."""
    minutes = reading.length // _MINUTE
    step = None if doctype.period is Period.DAY or minutes == USUAL_STEP_MINUTES else minutes
    amount = round_as_stored(reading.amount, doctype)
    return Entry(period_key(reading.start, doctype), amount, step, details=reading.details)


def to_document(account_id: str, doctype: Doctype, entry: Entry, now: datetime) -> Document:
    """Return the document of the original doctype, ready to be written at ``now``."""
    written_at = to_timestamp(now)
    document: Document = {
        "_id": f"{account_id}:{entry.key}",
        "load": to_load(entry.amount, doctype),
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


def to_timestamp(instant: datetime) -> str:
    """Format an instant as documents store it: in UTC, to the second, so that texts sort as time does."""
    return instant.astimezone(UTC).isoformat(timespec="seconds")


def to_entry(document: Document) -> Entry:
    """Return a stored document as an entry."""
    # This runs for every document of a night, so it calls none of our functions.
    get = document.get
    amount = round(document["load"] * MILLIWATT_HOURS_PER_KWH)
    details = {name: document[name] for name in _DETAIL_NAMES if name in document} or None
    return Entry(
        document["_id"].partition(":")[2], amount, get("step"), get("_rev"), get("created_at"), details=details
    )


def details_of(document: Document) -> Document | None:
    """Return the further fields of the document's doctype; None where it has none."""
    return {name: document[name] for name in _DETAIL_NAMES if name in document} or None


def _instant_fields(details: Mapping[str, Any]) -> Document:
    """Return the civil hour and minute of a value that belongs to one instant of its day."""
    if "at" not in details:
        return {}
    at = datetime.fromisoformat(details["at"])
    return {"hour": at.hour, "minute": at.minute}


def account_of(document: Document) -> str:
    """Return the id of the document's account."""
    return str(document["_id"]).partition(":")[0]


def key_of(document: Document) -> str:
    """Return the document's key without its account."""
    return str(document["_id"]).partition(":")[2]


def to_load(amount: int, doctype: Doctype) -> float:
    """Convert to the unit of ``load``, rounded half up to the decimals of the doctype."""
    return round_as_stored(amount, doctype) / MILLIWATT_HOURS_PER_KWH


def round_as_stored(amount: int, doctype: Doctype) -> int:
    """Round to the decimals of the doctype; a half is rounded away from zero."""
    return round_half_up(amount, _LAST_PLACES[doctype])


def to_amount(load: float) -> int:
    """Convert a stored load to its whole millionths; exact, because a load has at most six decimals."""
    return round(load * MILLIWATT_HOURS_PER_KWH)


# All accounts have the same keys in one night. The result is shared, so callers must copy it.
@lru_cache(maxsize=8192)
def civil_fields(key: str, doctype: Doctype) -> dict[str, int]:
    """Return year to minute and fold of a period's start, as its document has them."""
    if doctype.period in _IN_UTC:
        local = datetime.fromisoformat(key).astimezone(PARIS)
        names = ("year", "month", "day", "hour", "minute")
        fields = {name: getattr(local, name) for name in names}
        return fields | {"fold": 1} if local.fold else fields
    numbers = dict(zip(("year", "month", "day"), map(int, key.split("-")), strict=False))
    return {**numbers, **PLACE_HOLDERS[doctype.period]}
