"""One day of one account, explained: the reason in a sentence first, then all that is known of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple, Protocol

from worker.accounts.explain_texts import LANGUAGES, say
from worker.domain.consent.accounts import Account
from worker.domain.consent.consents import ConsentProof
from worker.domain.fleet.outcomes import Call, read_calls, standing_failure
from worker.domain.measures.completeness import DayState, Ledger, Mark, civil_day, half_hours_in, half_hours_of
from worker.domain.measures.conservation import Discrepancy, check_days, check_totals
from worker.domain.measures.coverage import asked_next, find_gaps
from worker.domain.measures.documents import USUAL_STEP_MINUTES, Entry, key_range, to_entry, touched_window
from worker.domain.measures.holes import Hole, find_holes
from worker.domain.measures.readings import ONE_DAY, DateWindow, Period, Series
from worker.domain.reasons import AccountFacts, DayFacts, Reason, choose, decide
from worker.stores.measures.base import Measures
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.consents import ConsentTable
from worker.stores.registry.corrections import Correction, CorrectionTable
from worker.stores.registry.outcomes import SeriesOutcome
from worker.sync.history import History

_MINUTE: Final = timedelta(minutes=1)
# What a support person may want of a series' state; everything else there is bookkeeping.
_SHOWN_STATE: Final = ("state", "window", "run_id", "error", "last_success", "done", "total")


class TaskNotes(Protocol):
    """The part of SyncState that remembers the last runs."""

    def task_states(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, str]]: ...


class Stored(NamedTuple):
    """What there is of a day.  ``half_hours``: covered by the curve; a daily value covers its whole day."""

    milliwatt_hours: int | None
    half_hours: int
    gaps: list[tuple[datetime, datetime]]


@dataclass(frozen=True, slots=True)
class SeriesExplained:
    reason: Reason
    sentences: Mapping[str, str]
    mark: Mark
    asked_on: date | None
    asked_next: date | None
    hole: Hole | None
    stored: Stored
    calls: Sequence[Call]  # of windows that held the day, newest first
    outcome: SeriesOutcome | None
    state: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Explanation:
    """``sentences``: the reason to read aloud, by language.  ``findings``: None where nothing could be compared."""

    account: Account
    day: date
    reason: Reason
    sentences: Mapping[str, str]
    proof: ConsentProof | None
    series: Mapping[Series, SeriesExplained]
    corrections: Sequence[Correction]
    findings: Sequence[Discrepancy] | None


@dataclass(frozen=True)
class Explainer:
    registry: AccountRegistry
    consents: ConsentTable
    measures: Measures
    corrections: CorrectionTable
    state: TaskNotes
    history: History

    def explain(self, account: Account, day: date) -> Explanation:
        """Raises StoreUnavailable."""
        window, today = DateWindow(day, day + ONE_DAY), self.history.today()
        ledgers = {series: self.registry.completeness.ledger(account.id, series) for series in Series}
        hole = find_holes(ledgers[Series.DAILY], ledgers[Series.LOAD_CURVE]).get(day)
        outcomes = self.registry.outcomes(account.id)
        states = self.state.task_states([(account.id, series.value) for series in Series])
        entries = {period: self._read(account.id, period, _wider(window, period)) for period in Period}
        told = {
            series: self._explain_series(
                account, day, series, ledgers[series], hole, outcomes.get(series), noted, _stored(day, series, entries)
            )
            for series, noted in zip(Series, states, strict=True)
        }
        reason, of = choose({series: each.reason for series, each in told.items()})
        corrections = [*self.corrections_of(account.id, day)]
        return Explanation(
            account=account,
            day=day,
            reason=reason,
            sentences=_sentences(reason, of, day, today, account, told[_torn(of, told)]),
            proof=next(iter(self.consents.of(account.id)), None),
            series=told,
            corrections=corrections,
            findings=_audit(day, entries, bool(corrections)),
        )

    def corrections_of(self, account_id: str, day: date) -> Iterator[Correction]:
        """The day's own value first, then its steps in the order of time."""
        for series in Series:
            keys = key_range(DateWindow(day, day + ONE_DAY), series.inputs)
            yield from self.corrections.between(account_id, series.inputs, *keys)

    def _explain_series(
        self,
        account: Account,
        day: date,
        series: Series,
        ledger: Ledger,
        hole: Hole | None,
        outcome: SeriesOutcome | None,
        noted: Mapping[str, str],
        stored: Stored,
    ) -> SeriesExplained:
        today, mark = self.history.today(), ledger.of(day)
        calls = [call for call in read_calls(noted) if call.holds(day)]
        asked_on = None if mark.asked_at_age is None else day + mark.asked_at_age * ONE_DAY
        wanted = self.history.wanted(series)
        facts = DayFacts(
            mark=mark,
            hole=hole if series is Series.LOAD_CURVE else None,
            asked_next=asked_next(series, day, mark, today),
            failure=standing_failure(calls, day, asked_on, outcome.last_success_at if outcome else None),
            wanted=wanted is not None and wanted.start <= day,
        )
        reason = decide(day, today, facts, _facts_of(account))
        explained = SeriesExplained(
            reason, {}, mark, asked_on, facts.asked_next, facts.hole, stored, calls, outcome, _shown(noted)
        )
        return replace(explained, sentences=_sentences(reason, {series}, day, today, account, explained))

    def _read(self, account_id: str, period: Period, window: DateWindow) -> list[Entry]:
        return [to_entry(found) for found in self.measures[period].read(account_id, *key_range(window, period))]


def _facts_of(account: Account) -> AccountFacts:
    return AccountFacts(account.state, account.reason, account.consent_until)


def _sentences(
    reason: Reason, of: Collection[Series], day: date, today: date, account: Account, explained: SeriesExplained
) -> dict[str, str]:
    return {
        language: say(
            reason,
            of,
            day,
            language,
            today=today,
            asked_next=explained.asked_next,
            consent_until=account.consent_until,
            half_hours=(explained.mark.half_hours, half_hours_of(day)),
        )
        for language in LANGUAGES
    }


def _torn(of: Collection[Series], told: Mapping[Series, SeriesExplained]) -> Series:
    """Whose figures the sentence quotes."""
    return next((series for series in of if told[series].mark.state is DayState.PARTIAL), next(iter(of)))


def _shown(noted: Mapping[str, str]) -> dict[str, str]:
    return {name: noted[name] for name in _SHOWN_STATE if noted.get(name)}


def _wider(window: DateWindow, period: Period) -> DateWindow:
    """All that the day's totals are made of, and the days beside it, to which a shifted curve would reach."""
    if period is Period.MINUTE:
        return DateWindow(window.start - ONE_DAY, window.end + ONE_DAY)
    return window if period is Period.HOUR else touched_window(window, Series.DAILY)


def _stored(day: date, series: Series, entries: Mapping[Period, Sequence[Entry]]) -> Stored:
    if series is Series.DAILY:
        value = next((entry.milliwatt_hours for entry in entries[Period.DAY] if entry.key == day.isoformat()), None)
        return Stored(value, 0 if value is None else half_hours_of(day), [])
    steps = [entry for entry in entries[Period.MINUTE] if civil_day(entry.key) == day]
    minutes = sum(entry.step or USUAL_STEP_MINUTES for entry in steps)
    energy = sum(entry.milliwatt_hours for entry in steps) if steps else None
    return Stored(energy, half_hours_in(minutes * _MINUTE), find_gaps(day, steps))


def _audit(day: date, entries: Mapping[Period, Sequence[Entry]], corrected: bool) -> list[Discrepancy] | None:
    """What does not agree of the totals that the day goes into; None where nothing of the day is stored."""
    of_day = [entry for entry in entries[Period.DAY] if entry.key == day.isoformat()]
    steps = [entry for entry in entries[Period.MINUTE] if civil_day(entry.key) == day]
    if not of_day and not steps:
        return None
    findings = [
        *check_days(entries[Period.MINUTE], of_day, {day} if corrected else ()),
        *check_totals(steps, entries[Period.HOUR], Period.HOUR),
    ]
    for period, length in ((Period.MONTH, 7), (Period.YEAR, 4)):
        key = day.isoformat()[:length]
        days = [entry for entry in entries[Period.DAY] if entry.key[:length] == key]
        totals = [entry for entry in entries[period] if entry.key == key]
        findings += check_totals(days, totals, period)
    return findings
