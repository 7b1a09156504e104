"""The stored documents of accounts held against one another, and mended where they can be.

A curve is read a month at a time, so memory stays flat whatever the depth of its history.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain, islice
from typing import Any, Final, Protocol

from worker.domain.consent.accounts import Account
from worker.domain.measures.completeness import civil_day
from worker.domain.measures.conservation import Cause, Discrepancy, Law, check_days, check_totals
from worker.domain.measures.documents import Entry, key_range, to_entry
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import ONE_DAY, DateWindow, Period, Series
from worker.domain.measures.windows import MAX_WINDOW_DAYS, plan_repair, split_window
from worker.runtime.process import Runtime
from worker.stores.measures.base import Measures
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.corrections import CorrectionTable
from worker.sync.claims import ClaimPolicy
from worker.sync.window import WindowSync

_DAYS_AT_ONCE: Final = 31
_ALL: Final = DateWindow(date(2010, 1, 1), date(2100, 1, 1))  # wider than any meter's life


@dataclass(frozen=True, slots=True)
class AuditResult:
    """How many documents of an account were looked at, and what was found wrong."""

    account_id: str
    documents: int
    findings: Sequence[Discrepancy]


@dataclass
class Tally:
    """Of many accounts; ``findings`` by law and cause."""

    accounts: int = 0
    documents: int = 0
    accounts_at_fault: int = 0
    findings: Counter[tuple[Law, Cause]] = field(default_factory=Counter)

    def add(self, verdict: AuditResult) -> None:
        self.accounts += 1
        self.documents += verdict.documents
        self.accounts_at_fault += bool(verdict.findings)
        self.findings.update((finding.law, finding.cause) for finding in verdict.findings)

    def as_json(self) -> dict[str, Any]:
        return {
            "accounts": self.accounts,
            "documents": self.documents,
            "accounts_at_fault": self.accounts_at_fault,
            "findings": [
                {"law": law.value, "cause": cause.value, "number": number}
                for (law, cause), number in sorted(self.findings.items())
            ],
        }


@dataclass(frozen=True)
class Auditor:
    """``ask_again`` publishes a window of an account; it is told the windows whose readings are in doubt."""

    measures: Measures
    corrections: CorrectionTable
    walk: WindowSync
    dispatcher: ClaimPolicy
    ask_again: Callable[[WindowJob], None]

    def verify(self, account_id: str) -> AuditResult:
        """Raises StoreUnavailable."""
        days = self._read(account_id, Period.DAY, _ALL)
        months, years = (self._read(account_id, period, _ALL) for period in Series.DAILY.totals)
        findings = [*check_totals(days, months, Period.MONTH), *check_totals(days, years, Period.YEAR)]
        documents = len(days) + len(months) + len(years)
        for part in self._parts(account_id):
            steps, hours = (
                self._read(account_id, Period.MINUTE, _wider(part)),
                self._read(account_id, Period.HOUR, part),
            )
            within = _within(steps, part)
            documents += len(within) + len(hours)
            findings += check_totals(within, hours, Period.HOUR)
            of_part = [entry for entry in days if part.start.isoformat() <= entry.key < part.end.isoformat()]
            findings += check_days(steps, of_part, self._corrected(account_id, part))
        return AuditResult(account_id, documents, findings)

    def repair(self, verdict: AuditResult) -> tuple[int, int]:
        """Make wrong totals anew and ask again for readings in doubt; documents written, windows asked for."""
        written = asked = 0
        account_id = verdict.account_id
        for series, days in _stale(verdict.findings).items():
            for window in plan_repair(days, MAX_WINDOW_DAYS[series]):
                written += self.walk.recount(self.dispatcher.window_by_hand(account_id, series, window))
        doubtful = [date.fromisoformat(found.key) for found in verdict.findings if found.law is Law.DAY]
        for series in Series:
            for window in plan_repair(doubtful, MAX_WINDOW_DAYS[series]):
                self.ask_again(self.dispatcher.window_by_hand(account_id, series, window))
                asked += 1
        return written, asked

    def _parts(self, account_id: str) -> Iterator[DateWindow]:
        """The time of the curve in pieces, oldest first; nothing where there is no curve."""
        keys = key_range(_ALL, Period.HOUR)
        first = [self.measures[period].read(account_id, *keys, limit=1) for period in (Period.MINUTE, Period.HOUR)]
        starts = [civil_day(to_entry(found[0]).key) for found in first if found]
        if starts:
            end = self.dispatcher.today() + ONE_DAY
            if min(starts) < end:
                yield from split_window(DateWindow(min(starts), end), _DAYS_AT_ONCE)

    def _read(self, account_id: str, period: Period, window: DateWindow) -> list[Entry]:
        return [to_entry(found) for found in self.measures[period].read(account_id, *key_range(window, period))]

    def _corrected(self, account_id: str, part: DateWindow) -> set[date]:
        corrected = set()
        for series in Series:
            found = self.corrections.between(account_id, series.inputs, *key_range(part, series.inputs))
            days = (each.key if series is Series.DAILY else str(civil_day(each.key)) for each in found)
            corrected |= {date.fromisoformat(day) for day in days}
        return corrected


def _wider(window: DateWindow) -> DateWindow:
    """With the day before and after it, to which a shifted curve would reach."""
    return DateWindow(window.start - ONE_DAY, window.end + ONE_DAY)


def _within(steps: Sequence[Entry], window: DateWindow) -> list[Entry]:
    first_key, end_key = key_range(window, Period.MINUTE)
    return [entry for entry in steps if first_key <= entry.key < end_key]


def _stale(findings: Sequence[Discrepancy]) -> dict[Series, list[date]]:
    """A day of each total that can be made anew."""
    stale: dict[Series, list[date]] = {series: [] for series in Series}
    for found in findings:
        if not found.cause.curable:
            continue
        if found.law is Law.HOUR:
            stale[Series.LOAD_CURVE].append(civil_day(found.key))
        else:
            year, month = int(found.key[:4]), int(found.key[5:7] or 1)
            stale[Series.DAILY].append(date(year, month, 1))
    return stale


# The audit as doors use it: put together from the house, which accounts it takes, and what it found last.

_CURSOR: Final = "audit"
_KEPT_S: Final = 7 * 24 * 3600
_START: Final = "23456789abcdefghjkmnpqrstvwxyz"


class Remembering(Protocol):
    @property
    def state(self) -> ProgressStore: ...


def auditor_of(runtime: Runtime, ask_again: Callable[[WindowJob], None]) -> Auditor:
    return Auditor(runtime.measures, runtime.corrections, runtime.walk, runtime.dispatcher, ask_again)


def all_accounts(runtime: Runtime, after: str | None = None) -> Iterator[Account]:
    """Active or not, by id; removed ones left out."""
    while page := runtime.registry.page(after):
        yield from page
        after = page[-1].id


def sample_accounts(runtime: Runtime, number: int) -> Iterator[Account]:
    """So many accounts, one after the other from a place drawn by lot; each comes once."""
    start = "".join(secrets.choice(_START) for _ in range(4))
    before = (account for account in all_accounts(runtime) if account.id <= start)
    return islice(chain(all_accounts(runtime, start), before), number)


def keep_tally(runtime: Runtime, tally: Tally) -> None:
    """Kept for a week, for whoever asks how the last audit went."""
    told = {"at": runtime.now().isoformat(timespec="seconds"), **tally.as_json()}
    runtime.state.put_cursor(_CURSOR, json.dumps(told), _KEPT_S)


def last_tally(house: Remembering) -> tuple[datetime, dict[str, Any]] | None:
    """When the last audit was, and what it found; None where none is known."""
    if (text := house.state.get_cursor(_CURSOR)) is None:
        return None
    told = json.loads(text)
    return datetime.fromisoformat(told["at"]), told
