"""The audit: the stored documents of accounts are compared with one another, and repaired where that is possible."""

from __future__ import annotations

import json
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain, islice
from typing import Any, Final

from worker.domain.account import Account
from worker.domain.completeness import DayState, civil_day
from worker.domain.consistency import Cause, Discrepancy, Law, MonthComparison, compared_with
from worker.domain.messages import WindowJob
from worker.domain.series import Series
from worker.domain.tariffs import SequenceBreak
from worker.domain.windows import ONE_DAY, DateWindow, plan_look_back, plan_repair
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.redis.claims import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.supplier_answers import CorrectionTable
from worker.sync.claims import WindowClaims
from worker.sync.measure_checks import MeasureChecks
from worker.sync.window import WindowSync

_TEXT_NAME: Final = "audit"
_SUMMARY_TTL_S: Final = 24 * 3600
_ID_LETTERS: Final = "23456789abcdefghjkmnpqrstvwxyz"


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The number of documents compared for an account, and the discrepancies in them.

    What follows is no discrepancy: ``breaks``, by series of registers, where a new sequence begins; ``deviations``,
    months whose days are not what was published for them; ``provisional``, by series, days that should be final by now.
    """

    account_id: str
    documents: int
    findings: Sequence[Discrepancy]
    breaks: Mapping[Series, Sequence[SequenceBreak]] = field(default_factory=dict)
    deviations: Sequence[MonthComparison] = ()
    provisional: Mapping[Series, Sequence[date]] = field(default_factory=dict)


@dataclass
class AuditSummary:
    """The results of many accounts; ``findings`` counts discrepancies by law and cause.

    ``deviations`` counts months whose days are not what was published for them; those accounts are not at fault.
    """

    accounts: int = 0
    documents: int = 0
    accounts_at_fault: int = 0
    findings: Counter[tuple[Law, Cause]] = field(default_factory=Counter)
    deviations: int = 0

    def add(self, result: AuditResult) -> None:
        """Add the result of one account."""
        self.accounts += 1
        self.documents += result.documents
        self.accounts_at_fault += bool(result.findings)
        self.deviations += len(result.deviations)
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
            **({"deviations": self.deviations} if self.deviations else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Auditor:
    """An auditor of single accounts.

    ``publish`` requests a window whose readings are doubtful again. ``rebuild_days`` marks the days of a series again.
    """

    measures: MeasureStore
    corrections: CorrectionTable
    window_sync: WindowSync
    claims: WindowClaims
    publish: Callable[[WindowJob], None]
    rebuild_days: Callable[[str, Series], object]

    def verify_account(self, account_id: str) -> AuditResult:
        """Compare all documents of the account with one another and with the registry. Raises StoreUnavailable."""
        registry = self.claims.registry
        known = registry.outcomes.known(account_id)
        checks = MeasureChecks(
            account_id=account_id,
            measures=self.measures,
            corrections=self.corrections,
            # The registry is read first: it calls a day stored only after its documents are.
            stored_days={series: self._days_called_stored(account_id, series) for series in known},
            set_aside={series: self._days_set_aside(account_id, series) for series in known if series.has_daily_limit},
            today=self.claims.history.today(),
            daily_limit_kwh=self.window_sync.daily_limit_kwh,
        )
        checks.run()
        return AuditResult(
            account_id, checks.documents, checks.findings, checks.breaks, checks.deviations, checks.provisional
        )

    def repair_account(self, result: AuditResult) -> tuple[int, int]:
        """Compute wrong totals again, and request doubtful and missing readings unless the account's consent is over.

        Only series that the account is asked for are requested. Returns the number of documents written and the number
        of windows requested.
        """
        written = requested = 0
        account_id, registry = result.account_id, self.claims.registry
        for series, days in _days_of_stale_totals(result.findings).items():
            for window in plan_repair(days, series.description.max_window_days):
                written += self.window_sync.recompute_totals(self.claims.to_job(account_id, series, window))
        for series in {finding.series: None for finding in result.findings if finding.law is Law.STEPS}:
            # Overlapping steps may have hidden a hole, which is asked for from now on.
            self.rebuild_days(account_id, series)
        today = self.claims.history.today()
        if registry.get(account_id).refusal_on(today):
            return written, requested
        asked = _days_in_doubt(result.findings)
        for series in registry.outcomes.collected(account_id):
            for window in _windows_to_ask(series, asked.get(series, ()), today):
                self.publish(self.claims.to_job(account_id, series, window))
                requested += 1
        return written, requested

    def _days_called_stored(self, account_id: str, series: Series) -> list[date]:
        """Return the days of which something is stored according to the registry, oldest first."""
        registry = self.claims.registry
        if days := registry.completeness.load_ledger(account_id, series).stored_days():
            return days
        outcome = registry.outcomes.load(account_id).get(series)
        return [outcome.last_day] if outcome and outcome.ever_stored and outcome.last_day else []

    def _days_set_aside(self, account_id: str, series: Series) -> list[date]:
        ledger = self.claims.registry.completeness.load_ledger(account_id, series)
        return [day for day, mark in ledger.days() if mark.state is DayState.SET_ASIDE]


def _days_of_stale_totals(findings: Sequence[Discrepancy]) -> dict[Series, list[date]]:
    """Return a day of each total that can be computed again, by series."""
    days: defaultdict[Series, list[date]] = defaultdict(list)
    for finding in findings:
        if not finding.cause.repairable:
            continue
        if finding.law is Law.HOUR:
            days[finding.series].append(civil_day(finding.key))
        elif finding.law is Law.STEPS:
            days[finding.series].append(date.fromisoformat(finding.key))
        else:
            year, month = int(finding.key[:4]), int(finding.key[5:7] or 1)
            days[finding.series].append(date(year, month, 1))
    return days


def _days_in_doubt(findings: Sequence[Discrepancy]) -> dict[Series, set[date]]:
    """Return the days to ask for again, by series: of a law between two series those of both."""
    days: defaultdict[Series, set[date]] = defaultdict(set)
    for finding in findings:
        if finding.law is Law.STORED:
            days[finding.series].update(DateWindow.parse(finding.key).dates())
        elif finding.law in (Law.LIMIT, Law.PEAK_DAY):
            days[finding.series].add(date.fromisoformat(finding.key))
        elif finding.law in (Law.DAY, Law.REGISTERS, Law.PEAK):
            day, other = date.fromisoformat(finding.key), compared_with(finding.series)
            # The energy of a day is between two midnights, the second of which is the next day's register.
            days[finding.series].update((day, day + ONE_DAY) if finding.law is Law.REGISTERS else (day,))
            if other is not None:
                days[other].add(day)
    return days


def _windows_to_ask(series: Series, days: Collection[date], today: date) -> list[DateWindow]:
    if days and series.is_state:
        return [plan_look_back(today, series)]  # An answer tells what holds when it is asked.
    return plan_repair((day for day in days if day < today), series.description.max_window_days)


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
