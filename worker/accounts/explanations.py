"""The explanation of one day of one account: the reason as a sentence, the stored values, calls and corrections.

For each series, the values stored for the civil day are compared with their totals and with the other series. The
sentences, for support people to read aloud, are in worker/locales/reasons.json.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from worker.accounts.account_days import AccountDays
from worker.domain.account import Account
from worker.domain.calls import AnswerClass, Call, calls_from_fields, last_failure
from worker.domain.completeness import (
    DayState,
    Hole,
    SeriesDay,
    civil_day,
    covered_time_by_day,
    find_all_holes,
    find_gaps,
    half_hours_in,
    half_hours_of,
    interval_days,
)
from worker.domain.consents import ConsentProof
from worker.domain.consistency import (
    Discrepancy,
    MonthComparison,
    check_days,
    check_peak_days,
    check_peaks,
    check_registers,
    check_totals,
    compare_months,
    compared_with,
)
from worker.domain.documents import ALL_KEYS, Entry, KeyRange, key_range, to_entry, touched_window
from worker.domain.messages import NIGHTLY
from worker.domain.reasons import DayFacts, Reason, choose_series_reason, reason_of
from worker.domain.series import Doctype, Granularity, Series, daily_of, with_days
from worker.domain.tariffs import DayEnergy, SequenceBreak, day_energies, find_breaks
from worker.domain.totals import Peak, state_on, to_peaks
from worker.domain.windows import ONE_DAY, DateWindow, civil_date, plan_look_back
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.redis.claims import ProgressStore
from worker.stores.registry.outcomes import SeriesOutcome
from worker.stores.registry.outputs import OutputState, list_outputs_of
from worker.stores.registry.supplier_answers import Correction
from worker.sync.history import History
from worker.texts import LANGUAGES, format_clock, format_day, has_text, translate

_MINUTE: Final = timedelta(minutes=1)
# The fields of a series' progress hash that help a support person. The other fields are bookkeeping.
_VISIBLE_FIELDS: Final = ("state", "window", "run_id", "error", "last_success", "done", "total")
EntriesByDoctype = Mapping[Doctype, Sequence[Entry]]


@dataclass(frozen=True, slots=True)
class StoredDay:
    """What is stored for a day of a series; ``amount`` is None if nothing is stored.

    ``amount`` depends on the kind of series: it is the day's energy, the day's maximum power, the index at the midnight
    that begins the day, the subscribed power in force, or the energy of the period that contains the day. Its unit is
    that of ``documents.Entry``. ``half_hours``: how many half-hours of the day the curve covers; a value for the whole
    day covers all of them, a state covers none. ``gaps``: the start and end of each part of the day that the curve
    doesn't cover.

    Each of the other fields is for one kind of series. ``registers``: the energy by tariff period. ``breaks``: where a
    new sequence of registers begins, so that ``registers`` is None. ``peak``: the maximum power compared with the
    subscribed power. ``state``: the newest row up to the day, or else the first row. ``gas``: the day or period, with
    the values from which its energy was converted. ``computed``: whether the daily value was computed from the curve.
    """

    amount: int | None
    half_hours: int = 0
    gaps: Sequence[tuple[datetime, datetime]] = ()
    registers: DayEnergy | None = None
    breaks: Sequence[SequenceBreak] = field(default=())
    peak: Peak | None = None
    state: Entry | None = None
    gas: Entry | None = None
    computed: bool = False


@dataclass(frozen=True, slots=True)
class SeriesExplanation(SeriesDay):
    """The explanation of one day of one series; ``sentences``: the reason by language."""

    reason: Reason
    sentences: Mapping[str, str]
    stored: StoredDay
    calls: Sequence[Call]  # The calls whose window contains the day, newest first.
    outcome: SeriesOutcome | None
    state: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of one day of one account, over all its series.

    ``sentences``: the reason to read aloud, by language. ``proof``: the newest proof of consent. ``discrepancies`` is
    None if nothing of the day is stored, so nothing could be compared. ``month``: the sum of the month's days compared
    with the energy that was published for the month; None if the two can't be compared. ``outputs``: the states of the
    outputs to which the account's changes are sent.
    """

    account: Account
    day: date
    reason: Reason
    sentences: Mapping[str, str]
    proof: ConsentProof | None
    series: Mapping[Series, SeriesExplanation]
    corrections: Sequence[Correction]
    discrepancies: Sequence[Discrepancy] | None
    month: MonthComparison | None = None
    outputs: Sequence[OutputState] = ()


@dataclass(frozen=True, kw_only=True)
class Explainer:
    """The service that collects what is known of a day, from the registry, the measure store and Redis."""

    measures: MeasureStore
    progress: ProgressStore
    history: History

    def explain(self, account: Account, day: date) -> Explanation:
        known = AccountDays(account, self.history)
        shown = _series_to_explain(known)
        holes = find_all_holes({series: known.ledger(series) for series in shown})
        entries = self._read(account, ranges_of_day(day, shown))
        explanations = {
            series: _explain_series(
                known,
                self.measures,
                day,
                series,
                self.progress.task_state(account.id, series),
                holes.get(series, {}).get(day),
                stored_of(series, day, entries),
            )
            for series in shown
        }
        reasons = {series: explanation.reason for series, explanation in explanations.items()}
        reason, reason_series = choose_series_reason(reasons)
        quoted = explanations[_partial_series(reason_series, explanations)]
        corrections = [*self._list_corrections(account.id, shown, day, entries)]
        return Explanation(
            account=account,
            day=day,
            reason=reason,
            sentences=_sentences_of(known, quoted, reason, reason_series),
            proof=next(iter(self.history.registry.consents.list_proofs(account.id)), None),
            series=explanations,
            corrections=corrections,
            discrepancies=find_discrepancies(day, shown, entries, bool(corrections)),
            month=compare_month(day, shown, entries),
            outputs=list_outputs_of(self.history.registry.database, account.id, account.tenant),
        )

    def explain_days(self, account: Account, series: Series, days: Collection[date]) -> dict[date, SeriesExplanation]:
        """Explain these days of a series of daily values, without reading their stored values."""
        known = AccountDays(account, self.history)
        state = self.progress.task_state(account.id, series)
        return {day: _explain_series(known, self.measures, day, series, state, None, StoredDay(None)) for day in days}

    def _read(self, account: Account, ranges: Mapping[Doctype, KeyRange]) -> EntriesByDoctype:
        stored = self.measures.read(account.id, ranges) if ranges else {}
        return {doctype: [to_entry(document) for document in documents] for doctype, documents in stored.items()}

    def list_corrections(self, account: Account, day: date) -> Iterator[Correction]:
        """Yield the day's corrections: of the daily value, of the curve in order of time, then of the other series.

        For a series of periods, yield the corrections of the period that contains the day.
        """
        known = _series_to_explain(AccountDays(account, self.history))
        entries = self._read(account, {series.inputs: ALL_KEYS for series in known if series.has_intervals})
        yield from self._list_corrections(account.id, known, day, entries)

    def _list_corrections(
        self, account_id: str, known: Collection[Series], day: date, entries: EntriesByDoctype
    ) -> Iterator[Correction]:
        for series in known:
            period = period_of(day, entries[series.inputs]) if series.has_intervals else None
            first = date.fromisoformat(period.key) if period else day
            keys = key_range(DateWindow(first, first + ONE_DAY), series.inputs)
            yield from self.history.registry.corrections.list_between(account_id, series.inputs, *keys)


def _series_to_explain(known: AccountDays) -> list[Series]:
    """Return the series to explain: the account's own series, with the daily values added in two cases.

    They are added if the account has no series at all, or if the supplier says that the meter has no daily values.
    """
    daily, shown = daily_of(supplier=known.account.supplier), with_days(known.series)
    return shown if daily in shown or (shown and daily not in known.ended) else [daily, *shown]


def _explain_series(
    known: AccountDays,
    measures: MeasureStore,
    day: date,
    series: Series,
    state: Mapping[str, str],
    hole: Hole | None,
    stored: StoredDay,
) -> SeriesExplanation:
    account, today, ledger = known.account, known.history.today(), known.ledger(series)
    outcome = known.outcomes.get(series)
    row = SeriesDay(day, ledger.mark_of(day), known.asked_next(series, day, ledger.mark_of(day)), hole)
    calls = [call for call in _calls_of(series, state, outcome) if day in call.window]
    in_force = stored.state is not None and stored.state.key <= day.isoformat()
    if series.is_state:
        # Only the present state can be requested, so the day's state is lost if the first stored row is newer.
        wanted = in_force or stored.state is None
    else:
        wanted_window = known.history.wanted_window(series)
        wanted = wanted_window is not None and wanted_window.start <= day
    is_ended = series in known.ended
    facts = DayFacts(
        mark=row.mark,
        hole=hole,
        asked_next=row.asked_next,
        failure=last_failure(calls, day, row.asked_on, outcome.last_success_at if outcome else None),
        wanted=wanted,
        in_force=in_force,
        computed=stored.computed,
        later=any(other > day for other in ledger.stored_days()) if series.comes_late else None,
        of_periods=series.has_intervals,
        ended=is_ended,
        frequency=known.reading_frequency(measures) if is_ended and series.is_daily_energy else None,
    )
    reason = reason_of(day, today, facts, account)
    sentences = _sentences_of(known, row, reason, {series})
    visible = {name: state[name] for name in _VISIBLE_FIELDS if state.get(name)}
    asked_next = row.asked_next if _is_asked(account, row.asked_next) else None
    return SeriesExplanation(day, row.mark, asked_next, hole, reason, sentences, stored, calls, outcome, visible)


def _sentences_of(
    known: AccountDays, day: SeriesDay, reason: Reason, reason_series: Collection[Series]
) -> dict[str, str]:
    return format_sentences(
        reason,
        reason_series,
        day.day,
        now=known.now,
        asked_next=day.asked_next,
        consent_until=known.account.consent_until,
        half_hours=day.mark.half_hours,
    )


def _is_asked(account: Account, at: datetime | None) -> bool:
    """Return whether the account's state and consent allow a request at this time; False if ``at`` is None."""
    return at is not None and account.active and account.refusal_on(civil_date(at)) is None


def _calls_of(series: Series, state: Mapping[str, str], outcome: SeriesOutcome | None) -> list[Call]:
    """Return the known calls, newest first: those in the progress hash, and the last look-back from the registry."""
    calls = calls_from_fields(state)
    if outcome is not None and outcome.asked_at is not None and outcome.answer is not None:
        asked_on = civil_date(outcome.asked_at)
        last = Call(outcome.asked_at, plan_look_back(asked_on, series), AnswerClass(outcome.answer), NIGHTLY)
        # After a failed run, the progress hash already holds this call.
        if not any(call.answer is last.answer and abs(call.at - last.at) < _MINUTE for call in calls):
            calls = sorted([last, *calls], key=lambda call: call.at, reverse=True)
    return calls


def _partial_series(reason_series: Collection[Series], explanations: Mapping[Series, SeriesExplanation]) -> Series:
    """Return the series whose half-hours the sentence quotes: one whose day is partial, or else any series."""
    partial = (series for series in reason_series if explanations[series].mark.state is DayState.PARTIAL)
    return next(partial, next(iter(reason_series)))


def ranges_of_day(day: date, known: Iterable[Series]) -> dict[Doctype, KeyRange]:
    """Return the keys to read to explain a day of these series, including the readings behind the day's totals."""
    ranges: dict[Doctype, KeyRange] = {}
    for series in known:
        other = compared_with(series)
        for one in (series, other) if other else (series,):
            ranges |= {doctype: _range_of(day, one, doctype) for doctype in one.doctypes}
    return ranges


def _range_of(day: date, series: Series, doctype: Doctype) -> KeyRange:
    window = DateWindow(day, day + ONE_DAY)
    if series.is_state or series.has_intervals:
        return ALL_KEYS  # There is one row per change or period; the row for this day may have begun long before.
    if series.description.granularity is Granularity.REGISTER:
        window = DateWindow(day, day + 2 * ONE_DAY)
    elif series.has_steps and doctype is series.inputs:
        # The days before and after show whether the curve is shifted.
        window = DateWindow(day - ONE_DAY, day + 2 * ONE_DAY)
    elif not series.has_steps:
        window = touched_window(window, series)
    return key_range(window, doctype)


def stored_of(series: Series, day: date, entries: EntriesByDoctype) -> StoredDay:
    """Return what is stored for the day. ``entries``: as read for ``ranges_of_day``, by doctype and in key order."""
    rows = entries[series.inputs]
    if series.has_steps:
        steps = [entry for entry in rows if civil_day(entry.key) == day]
        covered = covered_time_by_day(series, rows).get(day, timedelta())
        energy = sum(entry.amount for entry in steps) if steps else None
        return StoredDay(energy, half_hours_in(covered), find_gaps(day, rows))
    of_day = next((entry for entry in rows if entry.key == day.isoformat()), None)
    amount, half_hours = (of_day.amount, half_hours_of(day)) if of_day else (None, 0)
    match series.description.granularity:
        case Granularity.STATE:
            state = state_on(day, rows)
            return StoredDay(state.amount if state else None, state=state)
        case Granularity.REGISTER:
            energy_of_day = next((energy for energy in day_energies(rows) if energy.day == day), None)
            return StoredDay(amount, half_hours, registers=energy_of_day, breaks=list(find_breaks(rows)))
        case Granularity.INTERVAL:
            period = period_of(day, rows)
            covered_half_hours = half_hours_of(day) if period else 0
            return StoredDay(period.amount if period else None, covered_half_hours, gas=period)
        case Granularity.INSTANT:
            contracts = [entry for doctype, states in entries.items() if doctype.series.is_state for entry in states]
            peak = next(iter(to_peaks([of_day], contracts)), None) if of_day else None
            return StoredDay(amount, half_hours, peak=peak)
        case _:
            gas = of_day if of_day and of_day.details else None
            return StoredDay(amount, half_hours, gas=gas, computed=of_day is not None and of_day.is_computed)


def period_of(day: date, rows: Iterable[Entry]) -> Entry | None:
    """Return the stored period that contains a day, or None."""
    return next((row for row in rows if interval_days(row).start <= day < interval_days(row).end), None)


def compare_month(day: date, known: Iterable[Series], entries: EntriesByDoctype) -> MonthComparison | None:
    """Compare the sum of a month's days with the month's published energy; None unless both cover the whole month."""
    daily = next((series for series in known if series.is_daily_energy), None)
    published = next((series for series in known if series.has_intervals), None)
    if daily is None or published is None:
        return None
    month = day.isoformat()[:7]
    days = [entry for entry in entries[daily.inputs] if entry.key.startswith(month)]
    return next((one for one in compare_months(days, entries[published.inputs]) if one.key == month), None)


def find_discrepancies(
    day: date, known: Sequence[Series], entries: EntriesByDoctype, corrected: bool
) -> list[Discrepancy] | None:
    """Return where the day's documents disagree; None if nothing is stored that could be compared."""
    comparable = [series for series in known if series.totals or compared_with(series)]
    if all(stored_of(series, day, entries).amount is None for series in comparable):
        return None
    corrected_days = {day} if corrected else set()
    between = [finding for series in comparable for finding in _between(series, day, entries, corrected_days)]
    hours_first = sorted(comparable, key=lambda series: not series.has_steps)
    return between + [finding for series in hours_first for finding in _in_totals(series, day, entries)]


def _between(series: Series, day: date, entries: EntriesByDoctype, corrected: set[date]) -> list[Discrepancy]:
    rows, other = entries[series.inputs], compared_with(series)
    if other is None:
        return []
    others = entries[other.inputs]
    if series.has_steps:
        return list(check_days(series, rows, _of_day(others, day), corrected))
    if series.description.granularity is Granularity.REGISTER:
        energies = [energy for energy in day_energies(rows) if energy.day == day]
        return list(check_registers(series, energies, others, corrected))
    peaks = _of_day(rows, day)
    return [*check_peak_days(series, peaks), *check_peaks(series, peaks, others, corrected)]


def _in_totals(series: Series, day: date, entries: EntriesByDoctype) -> list[Discrepancy]:
    """Return the totals that disagree with their readings.

    For a series of steps, the totals of the day's hours are checked; for any other series, the totals of the month and
    the year in which the day lies.
    """
    discrepancies: list[Discrepancy] = []
    for doctype in series.totals:
        if series.has_steps:
            steps = [entry for entry in entries[series.inputs] if civil_day(entry.key) == day]
            discrepancies += check_totals(steps, entries[doctype], doctype)
            continue
        first_key, end_key = key_range(DateWindow(day, day + ONE_DAY), doctype)
        days = [entry for entry in entries[series.inputs] if first_key <= entry.key[: len(first_key)] < end_key]
        totals = [entry for entry in entries[doctype] if first_key <= entry.key < end_key]
        discrepancies += check_totals(days, totals, doctype)
    return discrepancies


def _of_day(rows: Iterable[Entry], day: date) -> list[Entry]:
    return [entry for entry in rows if entry.key == day.isoformat()]


def format_sentences(
    reason: Reason,
    reason_series: Collection[Series],
    day: date,
    *,
    now: datetime,
    asked_next: datetime | None = None,
    consent_until: date | None = None,
    half_hours: int = 0,
) -> dict[str, str]:
    """Return the reason in each language, as a sentence that a support person can read aloud.

    ``reason_series``: the series that the reason concerns. ``half_hours``: how many half-hours of the day are stored.
    In the texts, ``{thing}`` is always the grammatical object, so no verb or participle has to agree with it.
    """
    supplier = next(iter(reason_series)).description.supplier
    series = next(iter(reason_series)).value if len(reason_series) == 1 else "any"
    return {
        language: translate(
            _key_of(reason, series, supplier),
            language,
            supplier=translate(f"supplier.{supplier}", language),
            of_supplier=translate(f"supplier.{supplier}.of", language),
            thing=translate(f"series.{series}.object", language),
            day=format_day(day, language),
            again=_format_next_request(asked_next, now, language),
            until=format_day(consent_until, language) if consent_until else "?",
            slots=half_hours,
            of=half_hours_of(day),
        )
        for language in LANGUAGES
    }


def _key_of(reason: Reason, series: str, supplier: str) -> str:
    """Return the key of a reason's sentence: the series' own, else the supplier's own, else the general one."""
    key = f"reason.{reason.value}"
    return next((own for own in (f"{key}.{series}", f"{key}.{supplier}") if has_text(own)), key)


def _format_next_request(asked_next: datetime | None, now: datetime, language: str) -> str:
    if asked_next is None:
        return translate("reason.again.undated", language)
    if asked_next < now + _MINUTE:
        return translate("reason.again.now", language)
    key = "today" if civil_date(asked_next) == civil_date(now) else "later"
    day, clock = format_day(civil_date(asked_next), language), format_clock(asked_next, language)
    return translate(f"reason.again.{key}", language, day=day, time=clock)
