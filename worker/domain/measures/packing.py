"""Many values in one document: the codec of the packed layout.

A *pack* is the document of one local day or one year (``pack_keys``) with a *shelf* for each doctype in it.  A shelf
is JSON that people can read: ``runs`` of values that follow each other at one step, as whole multiples of a unit in
mWh, and ``written``, how many in a row were written when.  ``format`` says how to read it; one that this
program does not know is refused, never guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from math import gcd
from typing import Any, Final, NamedTuple

from worker.domain.measures.documents import (
    USUAL_STEP_MINUTES,
    Document,
    account_of,
    civil_fields,
    key_of,
    to_milliwatt_hours,
)
from worker.domain.measures.readings import Period
from worker.domain.pack_keys import key_at, place_of

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
