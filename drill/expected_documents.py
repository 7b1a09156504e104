"""The documents that a store must have for a meter, computed independently of the worker, and a store's differences.

Demo, drill and tests compare with these figures, which are computed from the simulator's values by separate code,
because the worker's sums must not judge themselves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final, Self

import requests

from worker.domain.documents import ALL_KEYS, Document
from worker.domain.series import Doctype, Granularity, Period, Series, curve_of, daily_of, of_supplier
from worker.domain.windows import ONE_DAY, DateWindow
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.registry import Registry

# For each kind of document its load in kWh by its key, like {Doctype.HOUR: {"2024-07-10T14:00Z": 0.412}}.
Loads = dict[Doctype, dict[str, float]]
# For each kind of document its further fields by its key.
Details = dict[Doctype, dict[str, Mapping[str, Any]]]
_DECIMALS: Final = {Period.MINUTE: 6, Period.HOUR: 4, Period.DAY: 3, Period.MONTH: 4, Period.YEAR: 4}
_KEY_LENGTHS: Final = {Period.DAY: 10, Period.MONTH: 7, Period.YEAR: 4}
_KEY_FORMATS: Final = {Period.MINUTE: "%Y-%m-%dT%H:%MZ", Period.HOUR: "%Y-%m-%dT%H:00Z"}
# The field of the simulator's values that is a document's load, and the factor to thousandths of the load's unit.
_LOAD_FIELDS: Final = {
    Granularity.INSTANT: ("va", 1),
    Granularity.REGISTER: ("total", 1),
    Granularity.STATE: ("subscribed_kva", 1000),
}
_GAS_LOAD: Final = ("load", 1000)  # The values of gas have the names and units of the documents.
_CIVIL: Final = ("year", "month", "day", "hour", "minute", "fold")
_TIMEOUT_S: Final = 60.0
_STATES_DAYS: Final = 366  # How many days ago a state may have been requested.
# Counts of documents that differ from the truth. ``lost``: readings that aren't stored. ``doubled``: documents beyond
# the first of one moment. ``wrong``: readings with another value, or never measured. ``wrong_totals``: totals that are
# missing, wrong or without readings. ``wrong_zeros``: stored zeros that were not measured.
Differences = Counter[str]
DIFFERENCES: Final = ("lost", "doubled", "wrong", "wrong_totals", "wrong_zeros")


@dataclass(frozen=True)
class Truth:
    """Ground truth: the values that a meter measured.

    ``daily``: Wh by day. ``curve``: for each step its start in UTC as ISO text, its minutes and its mean power in W.
    ``further``: the values of further series, in the simulator's form (docs/reference/simulator.md).
    """

    daily: Mapping[str, float]
    curve: Sequence[Sequence[Any]]
    further: Mapping[Series, Any] = field(default_factory=dict)

    @classmethod
    def fetch(
        cls,
        simulator: str,
        usage_point: str,
        daily: DateWindow,
        curve: DateWindow,
        further: Mapping[Series, DateWindow] | None = None,
    ) -> Self:
        """Return the meter's values from the simulator at this URL. Raises the errors of requests.

        ``further``: the days of each further series.
        """
        return cls(
            _fetch_truth(simulator, usage_point, daily_of(), daily),
            _fetch_truth(simulator, usage_point, curve_of(daily_of()), curve),
            {series: _fetch_truth(simulator, usage_point, series, days) for series, days in (further or {}).items()},
        )

    def expected_loads(self) -> Loads:
        """Return the load of every reading and total in a correct store; for a state, that of every day."""
        sums: dict[Doctype, defaultdict[str, Decimal]] = {doctype: defaultdict(Decimal) for doctype in Doctype}
        for series, values in {daily_of(): self.daily, curve_of(daily_of()): self.curve, **self.further}.items():
            for doctype, key, thousandths in _parts(series, values):
                sums[doctype][key] += thousandths
        return {doctype: {key: _load(value, doctype) for key, value in of.items()} for doctype, of in sums.items()}

    def expected_details(self) -> Details:
        """Return the expected further fields of documents."""
        details: Details = {}
        for series, values in self.further.items():
            if not series.is_state and series.inputs.details:
                # Values of a register without periods have no calendar.
                details[series.inputs] = {
                    day: {name: value[name] for name in series.inputs.detail_names if value.get(name) not in (None, {})}
                    for day, value in values.items()
                }
        return details


def _parts(series: Series, values: Any) -> Iterator[tuple[Doctype, str, Decimal]]:
    """Yield the contribution of each simulator value to each document, in thousandths of the unit of its load."""
    granularity = series.description.granularity
    if series.has_steps:
        for start, minutes, watts in values:
            begin, energy = datetime.fromisoformat(start), Decimal(str(watts)) * minutes / 60
            yield from ((doctype, f"{begin:{_KEY_FORMATS[doctype.period]}}", energy) for doctype in series.doctypes)
        return
    for day, value in values.items():
        name, factor = _GAS_LOAD if series.is_gas else _LOAD_FIELDS.get(granularity, (None, 1))
        number = Decimal(str(value if name is None else value[name])) * factor
        yield from ((doctype, day[: _KEY_LENGTHS[doctype.period]], number) for doctype in series.doctypes)


def read_account(
    stores: Stores, sync: Sync, simulator: str, usage_point: str, account_id: str
) -> tuple[Loads, dict[Doctype, list[Document]]]:
    """Return the expected loads of an account's history, and all its documents in the store."""
    return fetch_truth(stores.registry, sync, simulator, usage_point, account_id).expected_loads(), read_stored(
        stores.measures, account_id
    )


def read_stored(measures: MeasureStore, account_id: str) -> dict[Doctype, list[Document]]:
    """Return all documents that the store has of an account."""
    return measures.read(account_id, dict.fromkeys(Doctype, ALL_KEYS))


def fetch_truth(registry: Registry, sync: Sync, simulator: str, usage_point: str, account_id: str) -> Truth:
    """Return the simulator's values of an account's history, for all its collected series."""
    supplier, known = registry.accounts.get(account_id).supplier, registry.outcomes.known(account_id)
    windows = {series: sync.history.wanted_window(series) for series in of_supplier(supplier)}
    daily, curve = (windows.pop(series, None) for series in (daily_of(), curve_of(daily_of())))
    further = {series: _reach_back(series, days) for series, days in windows.items() if days and series in known}
    if supplier != daily_of().description.supplier:
        return Truth(
            {}, [], {series: _fetch_truth(simulator, usage_point, series, of) for series, of in further.items()}
        )
    if daily is None or curve is None:
        raise ValueError("the settings ask for no history of both series")
    return Truth.fetch(simulator, usage_point, daily, curve, further)


def _reach_back(series: Series, window: DateWindow) -> DateWindow:
    """Return the days of a series' history; for a state, those on which it may have been requested."""
    if not series.is_state:
        return window
    return DateWindow(window.end - _STATES_DAYS * ONE_DAY, window.end)


def find_differences(truth: Loads, stored: Mapping[Doctype, Sequence[Mapping[str, Any]]]) -> Differences:
    """Count the differences of an account's stored documents from the expected loads."""
    differences = Differences()
    for doctype in Doctype:
        compare = _compare_states if doctype.series.is_state else _compare_period
        differences += compare(doctype, truth[doctype], stored[doctype])
    return differences


def count_wrong_details(expected: Details, stored: Mapping[Doctype, Sequence[Mapping[str, Any]]]) -> int:
    """Return how many documents have other further fields than expected; instants are compared without their offset.

    The supplier sends instants without it, so it is unknown in the repeated autumn hour.
    """
    wrong = 0
    for doctype, by_key in expected.items():
        documents = {document["_id"].partition(":")[2]: document for document in stored[doctype]}
        for key, details in by_key.items():
            told = documents.get(key, {})
            wrong += any(_without_offset(told.get(name)) != _without_offset(value) for name, value in details.items())
    return wrong


def _without_offset(value: Any) -> Any:
    return value[:19] if isinstance(value, str) else value


def loads_by_key(documents: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the documents' loads in kWh by their keys."""
    return {document["_id"].partition(":")[2]: document["load"] for document in documents}


def count_repeats(documents: Sequence[Mapping[str, Any]]) -> int:
    """Return how many documents there are beyond the first of each local time."""
    return len(documents) - len({tuple(document.get(name) for name in _CIVIL) for document in documents})


def _compare_period(
    doctype: Doctype, truth: Mapping[str, float], documents: Sequence[Mapping[str, Any]]
) -> Differences:
    stored = loads_by_key(documents)
    different = {key for key, load in stored.items() if truth.get(key) != load}
    zeros = sum(stored[key] == 0 for key in different)
    missing, values = len(truth.keys() - stored.keys()), len(different) - zeros
    doubled = count_repeats(documents)
    if doctype is doctype.series.inputs:
        return Differences(lost=missing, doubled=doubled, wrong=values, wrong_zeros=zeros)
    return Differences(doubled=doubled, wrong_totals=missing + values, wrong_zeros=zeros)


def _compare_states(
    doctype: Doctype, truth: Mapping[str, float], documents: Sequence[Mapping[str, Any]]
) -> Differences:
    """Compare the rows of a state, which is stored only when it changes, with the true state of each day."""
    stored = loads_by_key(documents)
    newest = stored[max(stored)] if stored else None
    return Differences(
        lost=int(bool(truth) and truth[max(truth)] != newest),
        doubled=count_repeats(documents),
        wrong=sum(truth.get(day) != load for day, load in stored.items()),
    )


def _load(thousandths: Decimal, doctype: Doctype) -> float:
    places = Decimal(1).scaleb(-_DECIMALS[doctype.period])
    return float((thousandths / 1000).quantize(places, ROUND_HALF_UP))


def _fetch_truth(simulator: str, usage_point: str, series: Series, window: DateWindow) -> Any:
    query = {"start": window.start.isoformat(), "end": window.end.isoformat(), "series": series.value}
    answer = requests.get(f"{simulator}/__sim__/truth/{usage_point}", params=query, timeout=_TIMEOUT_S)
    answer.raise_for_status()
    return answer.json()[series]
