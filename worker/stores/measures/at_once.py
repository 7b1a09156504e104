"""Whatever the measures can do: what is asked for and written of many windows goes in as few requests as they need.

Plain CouchDB is read window by window, for its keys are not known beforehand; it is written doctype by doctype.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from worker.domain.measures.packing import PERIODS, SERIES
from worker.domain.measures.readings import Period
from worker.stores.measures.base import (
    AtOnce,
    ByPeriod,
    Document,
    KeyRange,
    LazyDocuments,
    Measures,
    Together,
    Wanted,
)

Given = Mapping[Period, Sequence[Document]]


def read_each(measures: Measures, wanted: Sequence[Wanted]) -> list[LazyDocuments]:
    """What is stored of each, in their order: asked for at once, or when it is called."""
    if len(wanted) > 1 and isinstance(measures, AtOnce):
        return measures.read_at_once(wanted)
    return [partial(read_one, measures, *one) for one in wanted]


def read_one(measures: Measures, account_id: str, ranges: Mapping[Period, KeyRange]) -> ByPeriod:
    """Doctype after doctype as they are named, or all from one moment."""
    if isinstance(measures, Together):
        return measures.read_together(account_id, ranges)
    return {period: measures[period].read(account_id, *keys) for period, keys in ranges.items()}


def write_each(measures: Measures, given: Sequence[Given]) -> list[ByPeriod]:
    """Write doctype after doctype as they are named; give back, for each, those not written.

    A total whose readings lost their race is not written either.  None twice with the same ``_id`` in one doctype.
    """
    lost: list[ByPeriod] = [{period: [] for period in documents} for documents in given]
    periods = list(dict.fromkeys(period for documents in given for period in documents))
    if isinstance(measures, Together):
        for series in dict.fromkeys(SERIES[period] for period in periods):
            together = {period: _all_of(given, period) for period in periods if SERIES[period] is series}
            if any(together.values()):
                for period, beaten in measures.write_together(together).items():
                    _share_out(period, beaten, given, lost)
        return lost
    for period in periods:
        readings = PERIODS[SERIES[period]][0]
        overtaken = _all_of([made for made, some in zip(given, lost, strict=True) if some.get(readings)], period)
        rest = _all_of([made for made, some in zip(given, lost, strict=True) if not some.get(readings)], period)
        _share_out(period, [*overtaken, *(measures[period].write(rest) if rest else ())], given, lost)
    return lost


def _all_of(given: Sequence[Given], period: Period) -> list[Document]:
    return [document for documents in given for document in documents.get(period, ())]


def _share_out(period: Period, beaten: Sequence[Document], given: Sequence[Given], lost: Sequence[ByPeriod]) -> None:
    """Tell each what of its own was not written."""
    if names := {document["_id"] for document in beaten}:
        for documents, some in zip(given, lost, strict=True):
            some[period] = [document for document in documents.get(period, ()) if document["_id"] in names]
