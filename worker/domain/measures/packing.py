"""Many values in one document: the codec of the packed layout.

A *pack* is the document of one local day or one year (``pack_keys``) with a *shelf* for each doctype in it.  A shelf
is JSON that people can read: ``runs`` of values that follow each other at one step, as whole multiples of a unit in
mWh, and ``written``, how many in a row were written when.  ``format`` says how to read it; one that this
program does not know is refused, never guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from math import gcd
from typing import Any, Final, NamedTuple

from worker.domain.measures.documents import (
    USUAL_STEP_MINUTES,
    Document,
    account_of,
    civil_fields,
    key_of,
    period_key,
    to_milliwatt_hours,
)
from worker.domain.measures.readings import ONE_DAY, PARIS, Period, Series, local_midnight

FORMAT: Final = 1
_MILLIWATT_HOURS_PER_KWH: Final = 1_000_000
_MILLIWATT_HOURS_PER_WATT_HOUR: Final = 1_000

Fields = Mapping[str, Any]


class UnknownPack(ValueError):
    """A pack of another format, or one that somebody has damaged; its text says what to do."""


class Value(NamedTuple):
    """What a pack holds of one document; ``version``: of the pack, when this was written."""

    milliwatt_hours: int
    step: int | None = None
    created_at: str | None = None
    updated_at: str | None = None
    version: int = 0


Shelf = dict[str, Value]  # by period key


def check_format(fields: Fields) -> None:
    """Raises UnknownPack."""
    told = fields.get("format")
    if told != FORMAT:
        later = f"format {told}" if isinstance(told, int) else "an unknown format"
        raise UnknownPack(f"a packed document has {later}, this program knows {FORMAT}: update Relève on this machine")


def pack_shelf(shelf: Mapping[str, Value], period: Period) -> dict[str, Any]:
    """The shelf as JSON.  Raises ValueError for a key that no period of this kind has."""
    placed = sorted((place_of(key, period)[1], value) for key, value in shelf.items())
    written = groupby((value.version, value.updated_at, value.created_at) for _, value in placed)
    return {
        "runs": [_to_run(run) for run in _runs(placed, period)],
        "written": [_to_mark(sum(1 for _ in same), *mark) for mark, same in written],
    }


def unpack_shelf(fields: Fields, pack: str, period: Period) -> Shelf:
    """All values of one doctype in a pack, in key order.  Raises UnknownPack."""
    check_format(fields)
    told = fields.get(period.value)
    if told is None:
        return {}
    try:
        energies = [item for run in told["runs"] for item in _from_run(run, pack, period)]
        marks = [mark for told_mark in told["written"] for mark in _from_mark(*told_mark)]
        found = [
            (key, Value(energy, step, created_at, updated_at, version))
            for (key, energy, step), (version, updated_at, created_at) in zip(energies, marks, strict=True)
        ]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UnknownPack("a packed document is damaged: bring it back from a backup, or delete it") from None
    return dict(found)


def to_value(document: Document, period: Period) -> Value:
    """What a pack keeps of a document.  Raises ValueError for one that would not come back as it is."""
    value = Value(
        to_milliwatt_hours(document["load"]),
        document.get("step"),
        document.get("created_at"),
        document.get("updated_at"),
    )
    account_id, key = account_of(document), key_of(document)
    place_of(key, period)
    kept = {name: field for name, field in document.items() if name != "_rev"}
    if from_value(account_id, key, period, value) != kept or value.step == _usual_step(period):
        raise ValueError("a document has fields that a pack has no place for")
    return value


def from_value(account_id: str, key: str, period: Period, value: Value) -> Document:
    """The seed's document again, all but its revision."""
    document: Document = {
        "_id": f"{account_id}:{key}",
        "load": value.milliwatt_hours / _MILLIWATT_HOURS_PER_KWH,
        **civil_fields(key, period),
        "source_account": account_id,
    }
    if value.created_at is not None:
        document["created_at"] = value.created_at
    if value.updated_at is not None:
        document["updated_at"] = value.updated_at
    if value.step is not None:
        document["step"] = value.step
    return document


def _usual_step(period: Period) -> int:
    return USUAL_STEP_MINUTES if period is Period.MINUTE else 1


def _runs(placed: Iterable[tuple[int, Value]], period: Period) -> Iterator[list[tuple[int, int, Value]]]:
    """Place, step and value of those that follow each other without a gap at the same step."""
    run: list[tuple[int, int, Value]] = []
    for place, value in placed:
        step = value.step or _usual_step(period)
        if run and (run[-1][0] + step, run[-1][1]) != (place, step):
            yield run
            run = []
        run.append((place, step, value))
    if run:
        yield run


def _to_run(run: list[tuple[int, int, Value]]) -> dict[str, Any]:
    (place, step, _), energies = run[0], [value.milliwatt_hours for _, _, value in run]
    unit = gcd(_MILLIWATT_HOURS_PER_WATT_HOUR, *energies)  # the largest piece of a Wh that they are multiples of
    return {"at": place, "step": step, "unit": unit, "values": [energy // unit for energy in energies]}


def _from_run(run: Fields, pack: str, period: Period) -> Iterator[tuple[str, int, int | None]]:
    place, step, unit = run["at"], run["step"], run["unit"]
    told = None if step == _usual_step(period) else int(step)
    for number, multiple in enumerate(run["values"]):
        yield key_at(pack, place + number * step, period), int(multiple * unit), told


def _to_mark(count: int, version: int, updated_at: str | None, created_at: str | None) -> list[Any]:
    """When it was first written is left out where that is when it was last."""
    return [count, version, updated_at] if created_at == updated_at else [count, version, updated_at, created_at]


def _from_mark(
    count: int, version: int, updated_at: str | None, *created_at: str | None
) -> list[tuple[int, str | None, str | None]]:
    return [(version, updated_at, created_at[0] if created_at else updated_at)] * count


# Which pack a value lies in, and where: the load curve by local day, daily values by year.

PERIODS: Final = {series: (series.inputs, *series.totals) for series in Series}  # readings first
SERIES: Final = {period: series for series, periods in PERIODS.items() for period in periods}
_UNIT: Final = {Period.MINUTE: timedelta(minutes=1), Period.HOUR: timedelta(hours=1)}
_LEAST_OF_YEAR: Final = {Period.DAY: "-01-01", Period.MONTH: "-01", Period.YEAR: ""}
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_YEAR: Final = re.compile(r"[0-9]{4}")
_MINUTE_KEY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}Z")
_AFTER_ALL: Final = "~"
_MOST_NAMED: Final = 500


@lru_cache(maxsize=65_536)  # all accounts of a night have the same keys
def place_of(key: str, period: Period) -> tuple[str, int]:
    """The pack's key and the place in it.  Raises ValueError for a key that no period of this kind has."""
    try:
        pack, place = _curve_place(key, period) if period in _UNIT else _daily_place(key, period)
        if key_at(pack, place, period) == key:
            return pack, place
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"no key of a {period.value}")


@lru_cache(maxsize=65_536)
def key_at(pack: str, place: int, period: Period) -> str:
    """The other way.  Raises ValueError or OverflowError."""
    if period in _UNIT:
        return period_key(local_midnight(date.fromisoformat(pack)).astimezone(UTC) + place * _UNIT[period], period)
    if period is Period.DAY:
        return (date(int(pack), 1, 1) + place * ONE_DAY).isoformat()
    return f"{pack}-{place + 1:02}" if period is Period.MONTH else pack


def pack_range(first_key: str, end_key: str, period: Period) -> tuple[str, str]:
    """First and end key of packs that hold every key with ``first_key <= key < end_key``, whatever texts these are."""
    if period in _UNIT:
        return _first_day(first_key), _end_day(end_key)
    year = end_key[:4]
    return first_key[:4], year if end_key <= year + _LEAST_OF_YEAR[period] else year + _AFTER_ALL


def packs_between(first: str, end: str, series: Series) -> list[str] | None:
    """Keys of all packs there can be with ``first <= key < end``; None where these are not known, or too many."""
    keys: list[str] = []
    try:
        day = date.fromisoformat(first if series is Series.LOAD_CURVE else f"{first}-01-01")
        if not day.isoformat().startswith(first):  # a date in another notation
            return None
        while (key := day.isoformat()[: len(first)]) < end:
            if len(keys) == _MOST_NAMED:
                return None
            keys.append(key)
            day = day + ONE_DAY if series is Series.LOAD_CURVE else date(day.year + 1, 1, 1)
    except (ValueError, OverflowError):
        return None
    return keys


def _curve_place(key: str, period: Period) -> tuple[str, int]:
    if not _MINUTE_KEY.fullmatch(key):
        raise ValueError
    day = _local_day(key)
    since = datetime.fromisoformat(key) - local_midnight(day).astimezone(UTC)
    return day.isoformat(), since // _UNIT[period]


def _daily_place(key: str, period: Period) -> tuple[str, int]:
    year = key[:4]
    if period is Period.DAY:
        return year, (date.fromisoformat(key) - date(int(year), 1, 1)).days
    first = date.fromisoformat(f"{key}-01" if period is Period.MONTH else f"{key}-01-01")
    return year, first.month - 1


def _local_day(key: str) -> date:
    return datetime.fromisoformat(key).astimezone(PARIS).date()


def _first_day(first_key: str) -> str:
    if _MINUTE_KEY.match(first_key):
        try:
            return _local_day(first_key[:17]).isoformat()
        except (ValueError, OverflowError):
            pass
    return first_key[:10]  # the local day is that of the UTC date, or the next


def _end_day(end_key: str) -> str:
    try:
        if _MINUTE_KEY.match(end_key):
            last = datetime.fromisoformat(end_key[:17])
            if len(end_key) == 17:
                last -= _UNIT[Period.MINUTE]
            return (last.astimezone(PARIS).date() + ONE_DAY).isoformat()
        if _DATE.match(end_key):
            return (date.fromisoformat(end_key[:10]) + 2 * ONE_DAY).isoformat()
    except (ValueError, OverflowError):
        pass
    # No date that we know: up to the last day that a key of this year may lie in, or all there is.
    return f"{int(end_key[:4]) + 1:04}-01-02" if _YEAR.match(end_key) else _AFTER_ALL
