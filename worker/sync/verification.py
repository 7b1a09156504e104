"""The audit: an account's stored documents are compared with one another, and repaired where that is possible.

The documents are compared series by series, and also with the registry. Curves are read a month at a time, so that
memory stays small however long the history is.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import chain, islice
from typing import Any, Final

from worker.accounts.prices import find_option, load_choices, load_colours
from worker.domain.account import Account
from worker.domain.completeness import DayState, civil_day, civil_day_of, covered_time_by_day, interval_days
from worker.domain.consistency import (
    Cause,
    Discrepancy,
    Law,
    MonthComparison,
    check_computed,
    check_days,
    check_limit,
    check_overlaps,
    check_peak_days,
    check_peaks,
    check_registers,
    check_stored,
    check_totals,
    compared_with,
    find_deviations,
    find_differences,
    overdue_days,
)
from worker.domain.documents import ALL_KEYS, Document, Entry, KeyRange, key_range, to_entry
from worker.domain.messages import WindowJob
from worker.domain.prices import Colour
from worker.domain.prices.choices import RegulatedChoice, TariffChoices, terms_by_day
from worker.domain.series import (
    Doctype,
    Granularity,
    Series,
    contract_series,
    daily_of,
    find_curve,
    of_supplier,
    registers_of,
    with_days,
)
from worker.domain.tariffs import SequenceBreak, day_energies, find_breaks
from worker.domain.totals import days_of_curve
from worker.domain.windows import ONE_DAY, DateWindow, plan_look_back, plan_repair, split_window, to_windows
from worker.errors import OperatorFault
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.redis.claims import ProgressStore
from worker.stores.registry.accounts import AccountTable
from worker.stores.registry.outcomes import SeriesOutcome
from worker.stores.registry.supplier_answers import CorrectionTable
from worker.sync.claims import WindowClaims
from worker.sync.history import rebuild_days
from worker.sync.window import WindowSync

_DAYS_AT_ONCE: Final = 31
_SUMMARY_NAME: Final = "audit"
_SUMMARY_TTL_S: Final = 24 * 3600
_ID_LETTERS: Final = "23456789abcdefghjkmnpqrstvwxyz"


@dataclass(slots=True)
class AuditResult:
    """The result of the audit of one account: the number of documents compared, and the discrepancies found.

    The other fields hold notes, which are no faults and are not repaired. ``breaks``: for each series of registers,
    where one sequence of readings ends and the next begins. ``deviations``: months whose days and billed periods differ
    too much. ``provisional``: by series, days that should be final by now. ``differences``: by series of registers,
    days on which the registers and the curve give different energies by tariff period.
    """

    account_id: str
    documents: int = 0
    findings: list[Discrepancy] = field(default_factory=list)
    breaks: dict[Series, list[SequenceBreak]] = field(default_factory=dict)
    deviations: list[MonthComparison] = field(default_factory=list)
    provisional: dict[Series, list[date]] = field(default_factory=dict)
    differences: dict[Series, list[date]] = field(default_factory=dict)


@dataclass
class AuditSummary:
    """The results of many accounts; ``findings`` counts discrepancies by law and cause.

    ``deviations`` counts months whose days and billed periods differ too much; this is no fault of an account.
    """

    accounts: int = 0
    documents: int = 0
    accounts_at_fault: int = 0
    findings: Counter[tuple[Law, Cause]] = field(default_factory=Counter)
    deviations: int = 0

    def add(self, result: AuditResult) -> None:
        self.accounts += 1
        self.documents += result.documents
        self.accounts_at_fault += bool(result.findings)
        self.deviations += len(result.deviations)
        self.findings.update((finding.law, finding.cause) for finding in result.findings)

    def as_json(self) -> dict[str, Any]:
        return {
            "accounts": self.accounts,
            "documents": self.documents,
            "accounts_at_fault": self.accounts_at_fault,
            "findings": [
                {"law": law.value, "cause": cause.value, "number": number}
                for (law, cause), number in sorted(self.findings.items())
            ],
            **({"deviations": self.deviations} if self.deviations else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Auditor:
    """Audits single accounts.

    ``publish``: enqueues a window with doubtful readings, so that it is requested again.
    """

    window_sync: WindowSync
    claims: WindowClaims
    publish: Callable[[WindowJob], None]

    def verify_account(self, account_id: str) -> AuditResult:
        """Compare all documents of the account with one another and with the registry."""
        registry = self.claims.registry
        known, history = with_days(registry.outcomes.known(account_id)), self.claims.history
        # The registry is read first, because it marks a day as stored only after the day's documents are written.
        ledgers, outcomes = registry.completeness.load_ledgers(account_id), registry.outcomes.load(account_id)
        checks = MeasureChecks(
            result=AuditResult(account_id),
            measures=self.window_sync.measures,
            corrections=registry.corrections,
            stored_days={
                series: ledgers[account_id, series].stored_days() or _last_day(outcomes.get(series)) for series in known
            },
            set_aside={
                series: [day for day, mark in ledgers[account_id, series].days() if mark.state is DayState.SET_ASIDE]
                for series in known
            },
            today=history.today(),
            daily_limit_kwh=self.window_sync.daily_limit_kwh,
            without_daily={
                series: set(history.days_without_daily(account_id, series)) for series in known if find_curve(series)
            },
        )
        if registers_of() in known:
            with suppress(OperatorFault):
                checks.hours = load_choices(registry, registry.accounts.get(account_id)) or TariffChoices()
            checks.colours = load_colours(registry)
        checks.run()
        return checks.result

    def repair_account(self, result: AuditResult) -> tuple[int, int]:
        """Recompute wrong totals, and request doubtful and missing readings unless the account's consent is over.

        Only series collected for the account are requested. Returns the number of documents written and the number of
        windows requested.
        """
        written = requested = 0
        account_id, registry = result.account_id, self.claims.registry
        for series, days in _days_to_compute(result.findings, daily_values=False).items():
            for window in plan_repair(days, series.description.max_window_days):
                written += self.window_sync.recompute_totals(self.claims.to_job(account_id, series, window))
        for series, days in _days_to_compute(result.findings, daily_values=True).items():
            for window in (part for run in to_windows(days) for part in split_window(run, _DAYS_AT_ONCE)):
                written += self.window_sync.compute_days(self.claims.to_job(account_id, series, window))
        today = self.claims.history.today()
        for series in {finding.series: None for finding in result.findings if finding.law is Law.STEPS}:
            # Overlapping steps may have hidden a gap. The rebuilt ledger shows the gap, so it is requested.
            rebuild_days(self.window_sync.measures, registry.completeness, account_id, series, today)
        if registry.accounts.get(account_id).refusal_on(today):
            return written, requested
        asked = _days_in_doubt(result.findings)
        for series in registry.outcomes.collected(account_id):
            for window in _windows_to_ask(series, asked.get(series, ()), today):
                self.publish(self.claims.to_job(account_id, series, window))
                requested += 1
        return written, requested


def _last_day(outcome: SeriesOutcome | None) -> dict[date, timedelta]:
    """Return the last stored day, with stored time 0: any part of it may be stored. Empty if no day is known."""
    return {outcome.last_day: timedelta()} if outcome and outcome.ever_stored and outcome.last_day else {}


def _days_to_compute(findings: Sequence[Discrepancy], *, daily_values: bool) -> dict[Series, list[date]]:
    """Return, by series, the days whose value must be computed from the curve, or a day of each total to recompute."""
    days: defaultdict[Series, list[date]] = defaultdict(list)
    for finding in findings:
        if finding.cause.repairable and (finding.law is Law.DAY) is daily_values:
            key = f"{finding.key}-01-01"[:10]  # The key of a month or year gives its first day.
            day = civil_day(finding.key) if finding.law is Law.HOUR else date.fromisoformat(key)
            days[finding.series].append(day)
    return days


def _days_in_doubt(findings: Sequence[Discrepancy]) -> dict[Series, set[date]]:
    """Return the days to request again, by series; if the broken law compares two series, the day in both."""
    days: defaultdict[Series, set[date]] = defaultdict(set)
    for finding in findings:
        if finding.cause.repairable:
            continue
        if finding.law is Law.STORED:
            days[finding.series].update(DateWindow.parse(finding.key).dates())
        elif finding.law in (Law.LIMIT, Law.PEAK_DAY):
            days[finding.series].add(civil_day(finding.key) if "T" in finding.key else date.fromisoformat(finding.key))
        elif finding.law in (Law.DAY, Law.REGISTERS, Law.PEAK):
            day, other = date.fromisoformat(finding.key), compared_with(finding.series)
            # A day's energy is the difference of the registers at two midnights; the second midnight is that of the
            # next day.
            days[finding.series].update((day, day + ONE_DAY) if finding.law is Law.REGISTERS else (day,))
            if other is not None:
                days[other].add(day)
    return days


def _windows_to_ask(series: Series, days: Collection[date], today: date) -> list[DateWindow]:
    if days and series.is_state:
        return [plan_look_back(today, series)]  # An answer reports the state at the time of the request.
    return plan_repair((day for day in days if day < today), series.description.max_window_days)


@dataclass(kw_only=True)
class MeasureChecks:
    """The comparison of one account; ``run`` fills the ``result``.

    ``stored_days``: by series, the days for which something is stored according to the registry, each with the time
    that must at least be stored. ``without_daily``: by series of daily values, the days computed from the curve because
    no daily value can come. ``set_aside``: by series, the days whose impossible value was set aside. ``today``: the
    last day for which a curve is read. ``hours``: the off-peak hours that the household gave; None if they can't be
    decrypted or aren't needed, so that no periods are compared. ``colours``: the colours of Tempo.
    """

    result: AuditResult
    measures: MeasureStore
    corrections: CorrectionTable
    stored_days: Mapping[Series, Mapping[date, timedelta]]
    set_aside: Mapping[Series, Collection[date]]
    today: date
    daily_limit_kwh: float
    without_daily: Mapping[Series, Collection[date]] = field(default_factory=dict)
    hours: TariffChoices | None = None
    colours: Mapping[date, Colour] = field(default_factory=dict)
    _rows: dict[Series, list[Entry]] = field(default_factory=dict)

    def run(self) -> None:
        for series in self.stored_days:
            if series.has_steps:
                self._check_curve(series)
                continue
            rows = self._rows_of(series)
            self.result.documents += len(rows)
            self._check_stored(series, _days_of(series, rows))
            if series.is_daily_energy:
                self._check_daily(series, rows)
            elif series.has_intervals:
                self._check_periods(series, rows)
            elif series.description.granularity is Granularity.REGISTER:
                self._check_registers(series, rows)
            elif series.description.granularity is Granularity.INSTANT:
                self.result.findings += check_peak_days(series, rows)

    def _check_stored(self, series: Series, days: Collection[date]) -> None:
        self.result.findings += check_stored(series, self.stored_days[series], days)

    def _check_daily(self, series: Series, days: Sequence[Entry]) -> None:
        for doctype in series.totals:
            totals = self._read(doctype, ALL_KEYS)
            self.result.documents += len(totals)
            self.result.findings += check_totals(days, totals, doctype)
        self._check_limit(series, days, self.set_aside.get(series, ()))
        if overdue := overdue_days(series, days, self.today):
            self.result.provisional[series] = overdue

    def _check_limit(self, series: Series, readings: Sequence[Entry], set_aside: Iterable[date] = ()) -> None:
        contract = contract_series(series.description.supplier)
        contracts = self._rows_of(contract) if contract in self.stored_days else ()
        self.result.findings += check_limit(series, readings, set_aside, self.daily_limit_kwh, contracts)

    def _check_periods(self, series: Series, periods: Sequence[Entry]) -> None:
        """Check that no two periods overlap; compare the periods with the daily values, month by month."""
        self.result.findings += check_overlaps(series, self._read_documents(series.inputs, ALL_KEYS))
        supplier = series.description.supplier
        for daily in of_supplier(supplier, self.stored_days):
            if daily.is_daily_energy:
                self.result.deviations += find_deviations(self._rows_of(daily), periods)

    def _check_registers(self, series: Series, rows: Sequence[Entry]) -> None:
        if breaks := list(find_breaks(rows)):
            self.result.breaks[series] = breaks
        daily = compared_with(series)
        if not rows or daily is None:
            return
        window = DateWindow(date.fromisoformat(rows[0].key), date.fromisoformat(rows[-1].key) + ONE_DAY)
        corrected = self._corrected_days((daily, series), window)
        self.result.findings += check_registers(series, day_energies(rows), self._rows_of(daily), corrected)

    def _check_curve(self, series: Series) -> None:
        daily, covered = compared_with(series), dict[date, timedelta]()
        days = self._rows_of(daily) if daily else []
        peaks = {peak: self._rows_of(peak) for peak in self.stored_days if _is_peak_of(peak, series)}
        for part in self._parts(series):
            # With the days before and after the part, a curve that is shifted by one step is recognized.
            wider = DateWindow(part.start - ONE_DAY, part.end + ONE_DAY)
            step_documents = self._read_documents(series.inputs, key_range(wider, series.inputs))
            steps = list(map(to_entry, step_documents))
            steps_within = _steps_within(steps, part, series)
            self.result.documents += len(steps_within)
            covered |= covered_time_by_day(series, steps_within)
            self.result.findings += [one for one in check_overlaps(series, step_documents) if _is_day_of(one.key, part)]
            for doctype in series.totals:
                totals = self._read(doctype, key_range(part, doctype))
                self.result.documents += len(totals)
                self.result.findings += check_totals(steps_within, totals, doctype)
            family = [one for one in (daily, series, *peaks) if one]
            corrected = self._corrected_days(family, part)
            self.result.findings += check_days(series, steps, _of_part(days, part), corrected)
            if daily:
                computed = {day: made for day, made in days_of_curve(series, steps).items() if day in part.dates()}
                wanted = self.without_daily.get(daily, ())
                self.result.findings += check_computed(daily, computed, wanted, _of_part(days, part))
            self._check_limit(series, steps_within)
            if daily is daily_of() and self.hours:
                self._compare_periods(part, steps, self.hours)
            for peak, rows in peaks.items():
                self.result.findings += check_peaks(peak, _of_part(rows, part), steps_within, corrected)
        self._check_limit(series, (), self.set_aside.get(series, ()))
        said = self.stored_days[series]
        self._check_stored(series, {day for day, time in covered.items() if time >= said.get(day, timedelta())})

    def _compare_periods(self, part: DateWindow, steps: Sequence[Entry], hours: TariffChoices) -> None:
        """Compare registers and curve of days whose registers are those of an option, whatever the tariff is."""
        rows = _of_part(self._rows_of(registers_of()), DateWindow(part.start, part.end + ONE_DAY))
        options = [(date.fromisoformat(row.key), option) for row in rows if (option := find_option(row))]
        choices = replace(hours, electricity=tuple(RegulatedChoice(*one, power=0) for one in options))
        contracts = self._rows_of(contract_series()) if contract_series() in self.stored_days else ()
        terms = terms_by_day(part, [choices], {}, contracts)
        if days := list(find_differences(terms, rows, steps, self.colours)):
            self.result.differences.setdefault(registers_of(), []).extend(days)

    def _parts(self, series: Series) -> Iterator[DateWindow]:
        """Yield windows from the oldest stored step to today, oldest first; nothing if no curve is stored."""
        pages = self.measures.read(self.result.account_id, dict.fromkeys(series.doctypes, ALL_KEYS), limit=1).values()
        starts = [civil_day(to_entry(page[0]).key) for page in pages if page]
        end = self.today + ONE_DAY
        if starts and min(starts) < end:
            yield from split_window(DateWindow(min(starts), end), _DAYS_AT_ONCE)

    def _rows_of(self, series: Series) -> list[Entry]:
        """Return all rows of a series without steps: a few hundred a year."""
        if series not in self._rows:
            self._rows[series] = self._read(series.inputs, ALL_KEYS)
        return self._rows[series]

    def _read(self, doctype: Doctype, keys: KeyRange) -> list[Entry]:
        return [to_entry(document) for document in self._read_documents(doctype, keys)]

    def _read_documents(self, doctype: Doctype, keys: KeyRange) -> list[Document]:
        return self.measures.read(self.result.account_id, {doctype: keys})[doctype]

    def _corrected_days(self, family: Collection[Series], window: DateWindow) -> set[date]:
        """Return the days of the window for which the supplier has changed a reading of a series in ``family``."""
        return {
            civil_day_of(correction.key, series)
            for series in family
            for correction in self.corrections.list_between(
                self.result.account_id, series.inputs, *key_range(window, series.inputs)
            )
        }


def _days_of(series: Series, rows: Sequence[Entry]) -> set[date]:
    """Return the days for which the rows have values from the supplier or a file.

    Billed periods give all their days. Days that Relève computed from the curve are left out.
    """
    if series.has_intervals:
        return {day for row in rows for day in interval_days(row).dates()}
    return {date.fromisoformat(row.key) for row in rows if not row.is_computed}


def _is_peak_of(series: Series, curve: Series) -> bool:
    return series.description.granularity is Granularity.INSTANT and compared_with(series) is curve


def _is_day_of(key: str, window: DateWindow) -> bool:
    return window.start.isoformat() <= key < window.end.isoformat()


def _of_part(rows: Sequence[Entry], window: DateWindow) -> list[Entry]:
    return [entry for entry in rows if _is_day_of(entry.key, window)]


def _steps_within(steps: Sequence[Entry], window: DateWindow, series: Series) -> list[Entry]:
    first_key, end_key = key_range(window, series.inputs)
    return [entry for entry in steps if first_key <= entry.key < end_key]


def sample_accounts(accounts: AccountTable, number: int) -> Iterator[Account]:
    """Yield up to ``number`` accounts in the order of their ids, starting at a random id; no account comes twice."""
    start = "".join(secrets.choice(_ID_LETTERS) for _ in range(4))
    before = (account for account in accounts.iterate() if account.id <= start)
    return islice(chain(accounts.iterate(start), before), number)


def save_audit_summary(progress: ProgressStore, audit: AuditSummary, now: datetime) -> None:
    """Store the summary of an audit for a day; the next audit replaces the summary."""
    summary = {"at": now.isoformat(timespec="seconds"), **audit.as_json()}
    progress.put_text(_SUMMARY_NAME, json.dumps(summary), _SUMMARY_TTL_S)


def load_audit_summary(progress: ProgressStore) -> tuple[datetime, dict[str, Any]] | None:
    """Return the time and the summary of the last audit; None if no audit ran within the last day."""
    if (text := progress.get_text(_SUMMARY_NAME)) is None:
        return None
    summary = json.loads(text)
    return datetime.fromisoformat(summary["at"]), summary
