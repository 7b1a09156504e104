"""Reads and writes of one window, in the order that keeps totals right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.domain.measures.packing import PERIODS, SERIES
from worker.domain.measures.readings import Period
from worker.stores.measures.base import ByPeriod, Document, KeyRange, Measures, Together

DocumentsToWrite = Mapping[Period, Sequence[Document]]


def read_one(measures: Measures, account_id: str, ranges: Mapping[Period, KeyRange]) -> ByPeriod:
    """Read doctype after doctype in their order, or all from one moment."""
    if isinstance(measures, Together):
        return measures.read_together(account_id, ranges)
    return {period: measures[period].read(account_id, *keys) for period, keys in ranges.items()}


def write_one(measures: Measures, documents: DocumentsToWrite) -> ByPeriod:
    """Write doctype after doctype in their order and return the documents not written.

    A total whose readings lost their race is not written either.
    """
    if isinstance(measures, Together):
        return measures.write_together(documents) if any(documents.values()) else {period: [] for period in documents}
    lost: ByPeriod = {}
    for period, rows in documents.items():
        is_stale = lost.get(PERIODS[SERIES[period]][0])
        lost[period] = list(rows) if is_stale else measures[period].write(rows) if rows else []
    return lost
