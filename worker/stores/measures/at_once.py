"""Reads and writes of many windows in as few requests as the measure stores allow.

Plain CouchDB is read window by window, because its keys are not known beforehand, and written doctype by doctype.
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
    ReadRequest,
    Together,
)

DocumentsToWrite = Mapping[Period, Sequence[Document]]


def read_each(measures: Measures, requests: Sequence[ReadRequest]) -> list[LazyDocuments]:
    """Read the documents of each request, in their order, at once or when the result is called."""
    if len(requests) > 1 and isinstance(measures, AtOnce):
        return measures.read_at_once(requests)
    return [partial(read_one, measures, *request) for request in requests]


def read_one(measures: Measures, account_id: str, ranges: Mapping[Period, KeyRange]) -> ByPeriod:
    """Read doctype after doctype in their order, or all from one moment."""
    if isinstance(measures, Together):
        return measures.read_together(account_id, ranges)
    return {period: measures[period].read(account_id, *keys) for period, keys in ranges.items()}


def write_each(measures: Measures, windows: Sequence[DocumentsToWrite]) -> list[ByPeriod]:
    """Write the windows doctype after doctype in their order and return the documents not written of each.

    A total whose readings lost their race is not written either.  The documents of a doctype have different ids.
    """
    lost: list[ByPeriod] = [{period: [] for period in documents} for documents in windows]
    periods = list(dict.fromkeys(period for documents in windows for period in documents))
    if isinstance(measures, Together):
        for series in dict.fromkeys(SERIES[period] for period in periods):
            together = {period: _all_of(windows, period) for period in periods if SERIES[period] is series}
            if any(together.values()):
                for period, losers in measures.write_together(together).items():
                    _assign_losers(period, losers, windows, lost)
        return lost
    for period in periods:
        readings = PERIODS[SERIES[period]][0]
        pairs = list(zip(windows, lost, strict=True))
        not_written = _all_of([documents for documents, losers in pairs if losers.get(readings)], period)
        rest = _all_of([documents for documents, losers in pairs if not losers.get(readings)], period)
        _assign_losers(period, [*not_written, *(measures[period].write(rest) if rest else ())], windows, lost)
    return lost


def _all_of(windows: Sequence[DocumentsToWrite], period: Period) -> list[Document]:
    return [document for documents in windows for document in documents.get(period, ())]


def _assign_losers(
    period: Period, losers: Sequence[Document], windows: Sequence[DocumentsToWrite], lost: Sequence[ByPeriod]
) -> None:
    """Add each window's own documents among the losers to its entry in ``lost``."""
    if ids := {document["_id"] for document in losers}:
        for documents, entry in zip(windows, lost, strict=True):
            entry[period] = [document for document in documents.get(period, ()) if document["_id"] in ids]
