"""The audit: the stored documents of accounts are compared with one another, and repaired where that is possible.

A load curve is read a month at a time, so that memory stays small however long the history is.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain, islice
from typing import Any, Final

from worker.domain.consent.accounts import Account
from worker.domain.measures.completeness import DayState, civil_day, civil_day_of
from worker.domain.measures.conservation import (
    STORED_LAWS,
    Cause,
    Discrepancy,
    Law,
    check_days,
    check_limit,
    check_overlaps,
    check_stored,
    check_totals,
)
from worker.domain.measures.documents import Document, Entry, KeyRange, key_range, to_entry
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import ONE_DAY, DateWindow
from worker.domain.measures.series import USUAL_SERIES, Doctype, Series
from worker.domain.measures.windows import plan_repair, split_window
from worker.stores.measures.base import ALL_KEYS, MeasureStore
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.answers.corrections import CorrectionTable
from worker.sync.claims import WindowClaims
from worker.sync.window import WindowSync

_DAYS_AT_ONCE: Final = 31
_TEXT_NAME: Final = "audit"
_SUMMARY_TTL_S: Final = 24 * 3600
_ID_LETTERS: Final = "23456789abcdefghjkmnpqrstvwxyz"


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The number of documents compared for an account, and the discrepancies in them."""

    account_id: str
    documents: int
    findings: Sequence[Discrepancy]


@dataclass
class AuditSummary:
    """The results of many accounts; ``findings`` counts discrepancies by law and cause."""

    accounts: int = 0
    documents: int = 0
    accounts_at_fault: int = 0
    findings: Counter[tuple[Law, Cause]] = field(default_factory=Counter)

    def add(self, result: AuditResult) -> None:
        """Add the result of one account."""
        self.accounts += 1
        self.documents += result.documents
        self.accounts_at_fault += bool(result.findings)
        self.findings.update((finding.law, finding.cause) for finding in result.findings)

    def as_json(self) -> dict[str, Any]:
        """Return the summary as JSON, findings in the order of law and cause."""
        return {
            "accounts": self.accounts,
            "documents": self.documents,
            "accounts_at_fault": self.accounts_at_fault,
            "findings": [
                {"law": law.value, "cause": cause.value, "number": number}
                for (law, cause), number in sorted(self.findings.items())
            ],
        }


@dataclass(frozen=True, kw_only=True)
class Auditor:
    """An auditor of single accounts.

    ``publish`` requests a window whose readings are doubtful again. ``rebuild_days`` marks the days of a series anew.
    """

    measures: MeasureStore
    corrections: CorrectionTable
    window_sync: WindowSync
    claims: WindowClaims
    publish: Callable[[WindowJob], None]
    rebuild_days: Callable[[str, Series], object]

    def verify_account(self, account_id: str) -> AuditResult:
        """Compare all documents of the account with one another and with the registry. Raises StoreUnavailable."""
        # The registry is read first: it calls a day stored only after its documents are.
        stored = {series: self._days_called_stored(account_id, series) for series in USUAL_SERIES}
        days, months, years = (self._read(account_id, doctype, ALL_KEYS) for doctype in Series.DAILY.doctypes)
        findings = [*check_stored(Law.DAYS_STORED, stored[Series.DAILY], {date.fromisoformat(day.key) for day in days})]
        findings += [*check_totals(days, months, Doctype.MONTH), *check_totals(days, years, Doctype.YEAR)]
        findings += check_limit(days, self._days_set_aside(account_id), self.window_sync.daily_limit_kwh)
        documents = len(days) + len(months) + len(years)
        curve_days = set[date]()
        for part in self._parts(account_id):
            with_neighbours = key_range(_with_neighbours(part), Doctype.MINUTE)
            step_documents = self._read_documents(account_id, Doctype.MINUTE, with_neighbours)
            steps = list(map(to_entry, step_documents))
            hours = self._read(account_id, Doctype.HOUR, key_range(part, Doctype.HOUR))
            steps_within = _steps_within(steps, part)
            documents += len(steps_within) + len(hours)
            curve_days.update(civil_day(entry.key) for entry in steps_within)
            findings += [overlap for overlap in check_overlaps(step_documents) if _is_day_of(overlap.key, part)]
            findings += check_totals(steps_within, hours, Doctype.HOUR)
            days_within = [entry for entry in days if _is_day_of(entry.key, part)]
            findings += check_days(steps, days_within, self._corrected_days(account_id, part))
        findings += check_stored(Law.CURVE_STORED, stored[Series.LOAD_CURVE], curve_days)
        return AuditResult(account_id, documents, findings)

    def repair_account(self, result: AuditResult) -> tuple[int, int]:
        """Compute wrong totals again, and request doubtful and missing readings unless the account's consent is over.

        Returns the number of documents written and the number of windows requested.
        """
        written = requested = 0
        account_id = result.account_id
        for series, days in _days_of_stale_totals(result.findings).items():
            for window in plan_repair(days, series.description.max_window_days):
                written += self.window_sync.recompute_totals(self.claims.to_job(account_id, series, window))
        if any(finding.law is Law.STEPS for finding in result.findings):
            # Overlapping steps may have hidden a hole, which is asked for from now on.
            self.rebuild_days(account_id, Series.LOAD_CURVE)
        if self.claims.registry.get(account_id).refusal_on(self.claims.history.today()):
            return written, requested
        for series, laws in {Series.DAILY: (Law.DAY, Law.LIMIT), Series.LOAD_CURVE: (Law.DAY,)}.items():
            wrong_days = [date.fromisoformat(finding.key) for finding in result.findings if finding.law in laws]
            missing = (finding for finding in result.findings if STORED_LAWS.get(finding.law) is series)
            wrong_days += [day for finding in missing for day in DateWindow.parse(finding.key).dates()]
            for window in plan_repair(wrong_days, series.description.max_window_days):
                self.publish(self.claims.to_job(account_id, series, window))
                requested += 1
        return written, requested

    def _parts(self, account_id: str) -> Iterator[DateWindow]:
        """Yield the days with a load curve in parts, oldest first; nothing where there is no curve."""
        pages = self.measures.read(account_id, dict.fromkeys(Series.LOAD_CURVE.doctypes, ALL_KEYS), limit=1).values()
        starts = [civil_day(to_entry(page[0]).key) for page in pages if page]
        if starts:
            end = self.claims.history.today() + ONE_DAY
            if min(starts) < end:
                yield from split_window(DateWindow(min(starts), end), _DAYS_AT_ONCE)

    def _read(self, account_id: str, doctype: Doctype, keys: KeyRange) -> list[Entry]:
        return [to_entry(document) for document in self._read_documents(account_id, doctype, keys)]

    def _read_documents(self, account_id: str, doctype: Doctype, keys: KeyRange) -> list[Document]:
        return self.measures.read(account_id, {doctype: keys})[doctype]

    def _days_called_stored(self, account_id: str, series: Series) -> list[date]:
        """Return the days of which something is stored according to the registry, oldest first."""
        registry = self.claims.registry
        if days := registry.completeness.load_ledger(account_id, series).stored_days():
            return days
        outcome = registry.outcomes.load(account_id).get(series)
        return [outcome.last_day] if outcome and outcome.ever_stored and outcome.last_day else []

    def _days_set_aside(self, account_id: str) -> list[date]:
        ledger = self.claims.registry.completeness.load_ledger(account_id, Series.DAILY)
        return [day for day, mark in ledger.days() if mark.state is DayState.SET_ASIDE]

    def _corrected_days(self, account_id: str, part: DateWindow) -> set[date]:
        return {
            civil_day_of(correction.key, series)
            for series in USUAL_SERIES
            for correction in self.corrections.list_between(account_id, series.inputs, *key_range(part, series.inputs))
        }


def _with_neighbours(window: DateWindow) -> DateWindow:
    """Return the window with the day before and the day after it, to recognize a curve shifted by one step."""
    return DateWindow(window.start - ONE_DAY, window.end + ONE_DAY)


def _is_day_of(key: str, window: DateWindow) -> bool:
    return window.start.isoformat() <= key < window.end.isoformat()


def _steps_within(steps: Sequence[Entry], window: DateWindow) -> list[Entry]:
    first_key, end_key = key_range(window, Doctype.MINUTE)
    return [entry for entry in steps if first_key <= entry.key < end_key]


def _days_of_stale_totals(findings: Sequence[Discrepancy]) -> dict[Series, list[date]]:
    """Return a day of each total that can be computed again."""
    days: dict[Series, list[date]] = {series: [] for series in USUAL_SERIES}
    for finding in findings:
        if not finding.cause.repairable:
            continue
        if finding.law is Law.HOUR:
            days[Series.LOAD_CURVE].append(civil_day(finding.key))
        elif finding.law is Law.STEPS:
            days[Series.LOAD_CURVE].append(date.fromisoformat(finding.key))
        else:
            year, month = int(finding.key[:4]), int(finding.key[5:7] or 1)
            days[Series.DAILY].append(date(year, month, 1))
    return days


def all_accounts(registry: AccountRegistry, after: str | None = None) -> Iterator[Account]:
    """Yield all accounts that are not erased, active or not, by id."""
    while page := registry.page(after):
        yield from page
        after = page[-1].id


def sample_accounts(registry: AccountRegistry, number: int) -> Iterator[Account]:
    """Yield ``number`` accounts in the order of their ids, from a random id on; none comes twice."""
    start = "".join(secrets.choice(_ID_LETTERS) for _ in range(4))
    before = (account for account in all_accounts(registry) if account.id <= start)
    return islice(chain(all_accounts(registry, start), before), number)


def save_audit_summary(progress: ProgressStore, audit: AuditSummary, now: datetime) -> None:
    """Store the summary of an audit for a day, until the next one."""
    summary = {"at": now.isoformat(timespec="seconds"), **audit.as_json()}
    progress.put_text(_TEXT_NAME, json.dumps(summary), _SUMMARY_TTL_S)


def load_audit_summary(progress: ProgressStore) -> tuple[datetime, dict[str, Any]] | None:
    """Return the time and the summary of the last audit; None if there was none within a day."""
    if (text := progress.get_text(_TEXT_NAME)) is None:
        return None
    summary = json.loads(text)
    return datetime.fromisoformat(summary["at"]), summary
