"""The packed layout: many values in one document.

A *pack* is the document of one account and one local day (load curve) or one year (daily values). It has one field for
each doctype. This is the pack of a day with two half-hours, the second of which was written later:

    {"format": 1,
     "minute": {"runs": [{"at": 0, "step": 30, "unit": 500, "values": [412, 397]}],
                "written": [[1, 1, "2024-10-28T07:31:02+00:00"],
                            [1, 2, "2024-10-29T07:30:40+00:00", "2024-10-28T07:31:02+00:00"]]}}

    format    The format of the pack. Any other format is refused.
    runs      Consecutive values with the same step and without a gap.
    at        Place of the first value: minutes or hours since local midnight, or days or months since 1 January.
    step      The distance from one value to the next, in the same unit as ``at``.
    unit      The milliwatt-hours by which each value is multiplied: 412 x 500 mWh are 206 Wh.
    written   One row for consecutive values with the same history: the number of these values, the pack's version and
              the time when they were last written, and, if it differs, the time when they were first written.

The store adds ``_id``, ``version`` and ``salt`` (``stores/measures/packed.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from math import gcd
from typing import Any, Final, NamedTuple

from worker.domain import documents
from worker.domain.completeness import civil_day
from worker.domain.series import Doctype, Period, Series
from worker.domain.windows import ONE_DAY, civil_date, local_midnight

FORMAT: Final = 1
Fields = Mapping[str, Any]


class UnknownPack(ValueError):
    """A pack is damaged or has an unknown format; the message says what to do."""


class PackedValue(NamedTuple):
    """The content of one document in a pack. ``version``: the pack's version when this value was written."""

    amount: int
    step: int | None = None
    created_at: str | None = None
    updated_at: str | None = None
    version: int = 0


ValuesByKey = dict[str, PackedValue]


def check_format(fields: Fields) -> None:
    """Raise UnknownPack unless this program knows the pack's format."""
    pack_format = fields.get("format")
    if pack_format != FORMAT:
        description = f"format {pack_format}" if isinstance(pack_format, int) else "an unknown format"
        raise UnknownPack(
            f"a packed document has {description}, but this version knows {FORMAT}: update Relève on this machine"
        )


def pack_values(values: Mapping[str, PackedValue], doctype: Doctype) -> dict[str, Any]:
    """Return the values of one doctype as JSON for a pack. Raises ValueError for a key of another doctype."""
    placed = sorted((place_of(key, doctype)[1], value) for key, value in values.items())
    marks = groupby((value.version, value.updated_at, value.created_at) for _, value in placed)
    return {
        "runs": [_to_run(run) for run in _runs(placed, doctype)],
        "written": [_to_mark(sum(1 for _ in equal_marks), *mark) for mark, equal_marks in marks],
    }


def unpack_values(fields: Fields, pack: str, doctype: Doctype) -> ValuesByKey:
    """Return all values of one doctype in a pack, in key order. Raises UnknownPack."""
    check_format(fields)
    packed = fields.get(doctype.value)
    if packed is None:
        return {}
    try:
        energies = [item for run in packed["runs"] for item in _from_run(run, pack, doctype)]
        marks = [mark for row in packed["written"] for mark in _from_mark(*row)]
        values = [
            (key, PackedValue(energy, step, created_at, updated_at, version))
            for (key, energy, step), (version, updated_at, created_at) in zip(energies, marks, strict=True)
        ]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UnknownPack("a packed document is damaged: restore it from a backup, or delete it") from None
    return dict(values)


def to_value(document: documents.Document, doctype: Doctype) -> PackedValue:
    """Return the value that stands for a document in a pack.

    Raises ValueError for a document that couldn't be restored unchanged from this value.
    """
    value = PackedValue(
        documents.to_amount(document["load"]),
        document.get("step"),
        document.get("created_at"),
        document.get("updated_at"),
    )
    account_id, key = documents.account_of(document), documents.key_of(document)
    place_of(key, doctype)
    without_revision = {name: field for name, field in document.items() if name != "_rev"}
    if from_value(account_id, key, doctype, value) != without_revision or value.step == _usual_step(doctype):
        raise ValueError("a document has fields that the packed layout can't hold")
    return value


def from_value(account_id: str, key: str, doctype: Doctype, value: PackedValue) -> documents.Document:
    """Return the document that a value of a pack stands for, as in the plain layout but without a revision."""
    told = {"created_at": value.created_at, "updated_at": value.updated_at, "step": value.step}
    return {
        "_id": f"{account_id}:{key}",
        "load": documents.to_kwh(value.amount),
        **documents.civil_fields(key, doctype),
        "source_account": account_id,
        **{name: field for name, field in told.items() if field is not None},
    }


def _usual_step(doctype: Doctype) -> int:
    return documents.USUAL_STEP_MINUTES if doctype.period is Period.MINUTE else 1


def _runs(placed: Iterable[tuple[int, PackedValue]], doctype: Doctype) -> Iterator[list[tuple[int, int, PackedValue]]]:
    """Yield runs of (place, step, value): consecutive values with the same step and without a gap."""
    run: list[tuple[int, int, PackedValue]] = []
    for place, value in placed:
        step = value.step or _usual_step(doctype)
        if run and (run[-1][0] + step, run[-1][1]) != (place, step):
            yield run
            run = []
        run.append((place, step, value))
    if run:
        yield run


def _to_run(run: list[tuple[int, int, PackedValue]]) -> dict[str, Any]:
    (place, step, _), energies = run[0], [value.amount for _, _, value in run]
    unit = gcd(documents.MILLIWATT_HOURS_PER_WH, *energies)  # The largest divisor of 1 Wh that divides all energies.
    return {"at": place, "step": step, "unit": unit, "values": [energy // unit for energy in energies]}


def _from_run(run: Fields, pack: str, doctype: Doctype) -> Iterator[tuple[str, int, int | None]]:
    place, step, unit = run["at"], run["step"], run["unit"]
    stored_step = None if step == _usual_step(doctype) else int(step)
    for number, multiple in enumerate(run["values"]):
        yield key_at(pack, place + number * step, doctype), int(multiple * unit), stored_step


def _to_mark(count: int, version: int, updated_at: str | None, created_at: str | None) -> list[Any]:
    """Return a row of ``written``; ``created_at`` is left out if it equals ``updated_at``."""
    return [count, version, updated_at] if created_at == updated_at else [count, version, updated_at, created_at]


def _from_mark(
    count: int, version: int, updated_at: str | None, *created_at: str | None
) -> list[tuple[int, str | None, str | None]]:
    return [(version, updated_at, created_at[0] if created_at else updated_at)] * count


# -- Keys of packs and places in them


PACKED_SERIES: Final = tuple(series for series in Series if series.packs)
UNPACKED_DOCTYPES: Final = tuple(doctype for doctype in Doctype if not doctype.series.packs)
_UNIT: Final = {Period.MINUTE: timedelta(minutes=1), Period.HOUR: timedelta(hours=1)}
_FIRST_KEY_OF_YEAR: Final = {Period.DAY: "-01-01", Period.MONTH: "-01", Period.YEAR: ""}
_MINUTE_KEY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}Z")
_LAST_SORTED: Final = "~"  # It sorts after all digits and letters.


@lru_cache(maxsize=65_536)  # All accounts have the same keys in one night.
def place_of(key: str, doctype: Doctype) -> tuple[str, int]:
    """Return the key of the pack that contains a document's key, and the document's place in the pack.

    Raises ValueError for a text that isn't a key of this doctype.
    """
    try:
        pack, place = _curve_place(key, doctype) if doctype.period in _UNIT else _daily_place(key, doctype)
        if key_at(pack, place, doctype) == key:
            return pack, place
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"no key of a {doctype.period}")


@lru_cache(maxsize=65_536)
def key_at(pack: str, place: int, doctype: Doctype) -> str:
    """Return the document's key at a place of a pack, the reverse of ``place_of``.

    Raises ValueError or OverflowError if there is no such key.
    """
    if doctype.period in _UNIT:
        return documents.period_key(
            local_midnight(date.fromisoformat(pack)).astimezone(UTC) + place * _UNIT[doctype.period], doctype
        )
    if doctype.period is Period.DAY:
        return (date(int(pack), 1, 1) + place * ONE_DAY).isoformat()
    return f"{pack}-{place + 1:02}" if doctype.period is Period.MONTH else pack


def pack_range(first_key: str, end_key: str, doctype: Doctype) -> tuple[str, str]:
    """Return the range of pack keys, end excluded, that covers every document key with ``first_key <= key < end_key``.

    Both arguments may be any texts, not only keys of documents.
    """
    if doctype.period in _UNIT:
        return _first_day(first_key), _end_day(end_key)
    year = end_key[:4]
    return first_key[:4], year if end_key <= year + _FIRST_KEY_OF_YEAR[doctype.period] else year + _LAST_SORTED


def _curve_place(key: str, doctype: Doctype) -> tuple[str, int]:
    if not _MINUTE_KEY.fullmatch(key):
        raise ValueError
    day = civil_day(key)
    since = datetime.fromisoformat(key) - local_midnight(day).astimezone(UTC)
    return day.isoformat(), since // _UNIT[doctype.period]


def _daily_place(key: str, doctype: Doctype) -> tuple[str, int]:
    year = key[:4]
    if doctype.period is Period.DAY:
        return year, (date.fromisoformat(key) - date(int(year), 1, 1)).days
    first = date.fromisoformat(f"{key}-01" if doctype.period is Period.MONTH else f"{key}-01-01")
    return year, first.month - 1


def _first_day(first_key: str) -> str:
    if _MINUTE_KEY.match(first_key):
        return civil_day(first_key[:17]).isoformat()
    # No local date is earlier than its UTC date, so no pack before this date has a key from ``first_key`` on.
    return first_key[:10]


def _end_day(end_key: str) -> str:
    if not _MINUTE_KEY.fullmatch(end_key):
        return _LAST_SORTED
    last = datetime.fromisoformat(end_key) - _UNIT[Period.MINUTE]
    return (civil_date(last) + ONE_DAY).isoformat()
