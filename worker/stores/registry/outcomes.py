"""The outcomes of accounts' series, the times when the series are due again, and the counts of freshness.

Outcomes and times are in the table ``series_outcomes``; ``series_switches.py`` decides which rows exist. When a run
reports, its row changes by these rules. The verdict (code, message, run id) is the newest run's: a late report of an
older run doesn't replace it. The facts are the latest success, the latest stored day, and whether anything was ever
stored; for them, the order of the reports doesn't matter. The marks of days form a ledger for each account and series.
New marks are merged into it. The ledger is in the registry and not in the measure store, because a day's mark must
change in the same transaction as the outcome. The caller sets the times at which the row is due again (``due.py``).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import compress
from typing import Any, NamedTuple, TypedDict

from sqlalchemy import Connection, Row, bindparam, case, func, select, text, update

from worker.domain.account import AccountEvent, AccountState
from worker.domain.comparison import Answered, FinishedAnswer, RecentAnswers
from worker.domain.completeness import (
    BEFORE,
    COMPARED_SERIES,
    MIN_EMPTY_DAYS_AFTER_CURVE,
    DayLedger,
    DayMark,
    DayState,
    MissingCurve,
    find_missing_curve,
)
from worker.domain.schedule import NIGHTS_WITHOUT_CURVE
from worker.domain.series import Series, SeriesSwitch
from worker.domain.transitions import WrongState
from worker.domain.windows import DateWindow, HistoryDays
from worker.errors import StoreUnavailable
from worker.stores.database import SqlTable, build_upsert, note_for_commit
from worker.stores.registry import account_rows, series_switches
from worker.stores.registry.due import may_be_asked_on
from worker.stores.registry.series_switches import SeriesChoice
from worker.stores.registry.tables import ACCOUNTS, ACTIVE, FRESHNESS, NEVER, NO_DAY, SERIES_OUTCOMES

# This matches a meter number (14 digits), and any long word, which may be a token.
_SECRET = re.compile(r"(?<!\d)\d{14}(?!\d)|[\w+/=-]{32,}")
_MAX_MESSAGE_LENGTH = 500
_MAX_TRIES = 10
_C = SERIES_OUTCOMES.c
_ACTIVE = text(ACTIVE)
_ROW = (_C.account_id == bindparam("p_account"), _C.series == bindparam("p_series"))
# These statements are built only once, because building a statement costs more than running it.
_OF_ACCOUNT = (ACCOUNTS.c.state.label("account_state"), ACCOUNTS.c.data_from, ACCOUNTS.c.activated_on)
_WITH_ACCOUNT = select(SERIES_OUTCOMES, *_OF_ACCOUNT).join(ACCOUNTS, ACCOUNTS.c.id == _C.account_id)
_LOCKED = _WITH_ACCOUNT.where(*_ROW).with_for_update(of=SERIES_OUTCOMES)
_DAYS = select(_C.days).where(*_ROW)
_ANSWERED = select(_C.answered).where(*_ROW)
_UPDATE = update(SERIES_OUTCOMES).where(*_ROW)


class DueChanges(TypedDict, total=False):
    """Columns that say when a row is due again. A column that isn't given stays unchanged."""

    asked_at: datetime
    last_answer: str
    again_at: datetime | None
    failures: int
    next_ask: date
    history_due_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """The outcome of one run of a series.

    ``code``: None after a success, and empty if one of our own stores failed. A success clears the account's pending
    refusals; an empty code doesn't change the verdict. ``message``: it is stored unencrypted, so everything that looks
    like a secret is cut out of it. ``days``: the marks of the requested days. ``floor``: the first day for which the
    supplier has data, if the run has found this day. ``wanted``: after a success, all days of the history; the history
    continues as long as some of them are missing. ``due_changes``: when the series is due again. ``confirms``: whether
    the supplier has answered for this meter; a ``new`` account then becomes ready. ``activated_on``: the first day of
    the meter's contract, according to the answer.
    """

    code: str | None
    message: str = ""
    last_day: date | None = None
    stored: bool = False
    days: Mapping[date, DayMark] = field(default_factory=dict)
    floor: date | None = None
    wanted: DateWindow | None = None
    due_changes: DueChanges = field(default_factory=DueChanges)
    answer: FinishedAnswer | None = None
    confirms: bool = False
    activated_on: date | None = None


@dataclass(frozen=True, slots=True)
class SeriesOutcome:
    """The last outcome of a series, and when it is due again.

    ``code`` is None after a success, and empty if one of our own stores failed. ``last_day``: the last local day with a
    stored reading. ``asked_at``: when the last look-back (a request for the latest days) ended; None before the first.
    ``answer``: the class of the last look-back's answer. ``again_at``: when the series is tried again after a failure.
    ``history_due_at``: when the history continues; None if it is loaded. ``failures``: how many look-backs in a row
    have failed. ``every``: the series is requested every so many nights. This is 1, except for a curve that the
    supplier doesn't collect. ``repair_on``: when an open day (``DayMark.open``) is next due.
    """

    run_id: str
    code: str | None
    message: str
    last_success_at: datetime | None
    last_day: date | None
    ever_stored: bool
    updated_at: datetime
    asked_at: datetime | None
    answer: str | None
    again_at: datetime | None
    history_due_at: datetime | None
    failures: int
    every: int
    last_complete: date | None
    repair_on: date | None


class HourFreshness(NamedTuple):
    """The number of active accounts at an hour, and how many of them have complete readings of yesterday."""

    hour: datetime
    series: Series
    active: int
    complete: int

    @property
    def share(self) -> float | None:
        """The share of active accounts whose readings are complete; None if no account is active."""
        return self.complete / self.active if self.active else None


class OutcomeTable(SeriesChoice):
    """The table ``series_outcomes``: the outcome of each series of each account."""

    def record(self, account_id: str, series: str, run_id: str, now: datetime, told: RunOutcome) -> HistoryDays:
        """Record the outcome of one run of a series, and return the days of its history.

        Run ids sort by time. If this run is older than the recorded one, code, message and run id stay as they are.
        Raises UnknownAccount, also for a removed account.
        """
        with self._database.writing() as connection:
            if told.activated_on is not None:
                account_rows.lock(connection, account_id)  # Accounts are locked before their series.
            row = lock_row(connection, account_id, series)
            if row is None:
                account_rows.lock(connection, account_id)  # Raises UnknownAccount if the account is removed or missing.
                return HistoryDays(Series(series), told.wanted, ())
            values: dict[str, Any] = {
                "updated_at": max(row.updated_at, now),
                "last_day": max(row.last_day, told.last_day or NO_DAY),
                "ever_stored": row.ever_stored or told.stored,
            }
            ledger = _known_days(row, told.wanted)
            if told.days:
                ledger, answered = _add_days(row, ledger, told)
                values |= answered | ledger_columns(connection, account_id, row.series, ledger)
            history = _history_of(row, told.wanted, ledger, answered=told.code is None)
            values |= told.due_changes
            if told.wanted is not None:
                goes_on_at = values.get("history_due_at", row.history_due_at) or now
                values["history_due_at"] = None if history.loaded else goes_on_at
            # A run may report several times, so the recorded run may replace its own verdict. An empty code means that
            # one of our stores failed, which is no verdict.
            if run_id >= row.run_id and told.code != "":
                values |= {"run_id": run_id, "last_code": told.code, "last_message": _to_showable(told.message)}
                if told.activated_on is not None:
                    account_rows.update_account(connection, account_id, {"activated_on": told.activated_on})
            if told.code is None:
                values["last_success_at"] = max(row.last_success_at or now, now)
                account_rows.delete_pending_refusals(connection, account_id)  # The success shows that they were wrong.
            update_row(connection, account_id, series, values)
        if told.confirms and row.account_state is AccountState.NEW:
            # This needs a second transaction: accounts are locked before their series, and the transaction above has
            # locked the series. After a crash between the two, this window is recorded again, or the next window
            # confirms the account.
            with suppress(WrongState), self._database.writing() as connection:  # The account's state may have changed.
                account_rows.apply(connection, account_id, AccountEvent.ANSWERED, now)
        return history

    def record_file(
        self,
        account_id: str,
        series: Series,
        run_id: str,
        now: datetime,
        *,
        last_day: date | None,
        to_marks: Callable[[DayLedger], Mapping[date, DayMark]],
        answer: FinishedAnswer,
    ) -> None:
        """Record that a part of a file is stored. A file isn't a supplier's answer, so verdict and due times stay.

        ``to_marks`` takes the ledger, and returns the marks of the file's days. A series that was never collected for
        the account has no row; its row is inserted, because the row shows that the series has stored readings. Raises
        UnknownAccount, also for a removed account.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id)  # Accounts are locked before their series.
            row = lock_row(connection, account_id, series)
            if row is None:
                series_switches.insert_unasked(connection, account_id, series, now)
                row = lock_row(connection, account_id, series)
            if row is None:
                raise AssertionError("unreachable")
            known = DayLedger.parse(row.days)
            ledger, answered = _add_answer(row, known.with_file(to_marks(known)), answer, RecentAnswers.with_part)
            values = {
                "answered": answered,
                "run_id": row.run_id or run_id,  # A row without a run id does not count as an outcome.
                "updated_at": max(row.updated_at, now),
                "last_day": max(row.last_day, last_day or NO_DAY),
                "ever_stored": True,
                **ledger_columns(connection, account_id, series, ledger),
            }
            update_row(connection, account_id, series, values)

    def make_due(self, account_id: str, series: Series, now: datetime) -> None:
        """Make a series due now, with its history if that isn't loaded. The series of an inactive account isn't run."""
        history_due_at = case((_C.history_due_at.is_not(None), now))
        values = {"again_at": now, "failures": 0, "history_due_at": history_due_at}
        with self._database.writing() as connection:
            update_row(connection, account_id, series, values)

    def set_history_due(self, account_id: str, known: HistoryDays, at: datetime | None) -> bool:
        """Set when a history continues (None: it is loaded); return whether the row was changed.

        Nothing is changed if the history was made due, or its days have changed, since ``known`` was read.
        """
        with self._database.writing() as connection:
            row = lock_row(connection, account_id, known.series)
            is_known = row is not None and _load_history(row, known.wanted) == known
            if is_known:
                update_row(connection, account_id, known.series, {"history_due_at": at})
        return is_known

    def recent_answers(self, account_id: str, series: Series) -> RecentAnswers:
        return RecentAnswers.parse(self._database.scalar(_ANSWERED, _key(account_id, series)) or "")

    def end(self, account_id: str, series: Series, run_id: str, message: str, now: datetime) -> bool:
        """End a series because the supplier answered that it doesn't offer it; return whether the answer is accepted.

        The answer isn't accepted if the series has no row, or has stored readings: the supplier has offered it before.
        An older run's answer is accepted, too, but it ends nothing.
        """
        with self._database.writing() as connection:
            row = lock_row(connection, account_id, series)
            if row is None or row.ever_stored:
                return False
            if run_id >= row.run_id:  # An older run says nothing about a series that was switched on later.
                series_switches.end_series(connection, account_id, series, _to_showable(message), now)
                update_row(connection, account_id, series, {"run_id": run_id})
            return True

    def end_lacking(self, account_id: str, series: Series, message: str, now: datetime) -> bool:
        """End a series that the meter's contract excludes; return whether this call has ended the series.

        A series doesn't end if it has stored readings, or if its switch for this account isn't ``fleet``.
        """
        with self._database.writing() as connection:
            row = lock_row(connection, account_id, series)
            if row is None or row.ever_stored or row.switch is not SeriesSwitch.FLEET:
                return False
            series_switches.end_series(connection, account_id, series, _to_showable(message), now)
            return True

    def load(self, account_id: str) -> dict[Series, SeriesOutcome]:
        """Return the last outcome of each series that has an outcome, by series."""
        # A row is not an outcome until a window has ended for its series.
        query = select(SERIES_OUTCOMES).where(_C.account_id == account_id, _C.run_id != "")
        return {row.series: _to_outcome(row) for row in self._database.fetch(query)}


class CompletenessTable(SqlTable):
    """The ledgers of days, which are a column of ``series_outcomes``."""

    def change(self, account_id: str, series: Series, to_ledger: Callable[[DayLedger], DayLedger]) -> bool:
        """Replace a ledger with the result of ``to_ledger``; return whether the ledger has changed.

        If another process changes the ledger meanwhile, ``to_ledger`` is called again with the changed ledger. Raises
        UnknownAccount and StoreUnavailable.
        """
        for _ in range(_MAX_TRIES):
            known = self.load_ledger(account_id, series)
            if str(ledger := to_ledger(known)) == str(known):
                return False
            if self.replace_if_unchanged(account_id, series, known, ledger):
                return True
        raise StoreUnavailable(f"other processes are changing the days of account {account_id}: try again later")

    def replace_if_unchanged(self, account_id: str, series: Series, known: DayLedger, ledger: DayLedger) -> bool:
        """Replace the whole ledger if it is still equal to ``known`` (compare-and-set); return whether it was replaced.

        If the history is loaded, it is made due for a check, because there may now be days that were never requested.
        Raises UnknownAccount.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, shared=True)
            row = lock_row(connection, account_id, series)
            if row is None or row.days != str(known):
                return False
            columns = ledger_columns(connection, account_id, series, ledger)
            columns["history_due_at"] = row.history_due_at or row.updated_at
            update_row(connection, account_id, series, columns)
            note_for_commit(connection, [(account_id, series)])
            return True

    def load_ledger(self, account_id: str, series: Series) -> DayLedger:
        """Return the ledger of an account and series; an empty ledger if there is no row."""
        return DayLedger.parse(self._database.scalar(_DAYS, _key(account_id, series)) or "")

    def load_ledgers(self, *account_ids: str) -> Mapping[tuple[str, Series], DayLedger]:
        """Return the ledgers of these accounts, by account and series; a missing ledger is returned as an empty one."""
        query = select(_C.account_id, _C.series, _C.days).where(_C.account_id.in_(account_ids))
        ledgers = {(row.account_id, row.series): DayLedger.parse(row.days) for row in self._database.fetch(query)}
        return defaultdict(DayLedger, ledgers)

    def list_updated_since(self, moment: datetime) -> list[tuple[str, Series]]:
        """Return the accounts and series whose row was updated since ``moment``."""
        query = select(_C.account_id, _C.series).where(_C.updated_at >= moment)
        return [(row.account_id, row.series) for row in self._database.fetch(query)]

    def load_histories(self, account_id: str, wanted: Mapping[Series, DateWindow | None]) -> dict[Series, HistoryDays]:
        """Return the state of an account's histories, by series; ``wanted``: all days of each history."""
        rows = {row.series: row for row in self._database.fetch(_WITH_ACCOUNT.where(_C.account_id == account_id))}
        return {
            series: _load_history(row, days) if (row := rows.get(series)) is not None else HistoryDays(series, days, ())
            for series, days in wanted.items()
        }

    def find_missing_curve(self, account_id: str) -> MissingCurve | None:
        """Return since when an account's load curve is missing; None if it is collected, or if nothing is known."""
        ledgers = self.load_ledgers(account_id)
        return find_missing_curve(*(ledgers[account_id, series] for series in COMPARED_SERIES))

    def count_due(self, today: date) -> dict[Series, int]:
        """Return by series how many active accounts have open days that are due; series without any are left out.

        Load curves that the supplier doesn't collect don't count.
        """
        query = (
            select(_C.series, func.count())
            .where(_ACTIVE, may_be_asked_on(today), _C.next_ask.is_not(None), _C.next_ask <= today, _C.every == 1)
            .group_by(_C.series)
        )
        return dict(self._database.fetch(query))

    def count_active(self) -> dict[Series, int]:
        """Return for how many active accounts each series is collected; series without any are left out."""
        return dict(self._database.fetch(select(_C.series, func.count()).where(_ACTIVE).group_by(_C.series)))

    def find_stored(self, among: Collection[Series]) -> set[Series]:
        """Return the series in ``among`` that are collected for an active account with stored readings of this series.

        Other accounts' readings don't count, because the supplier could not be asked for them again.
        """
        rows = select(_C.series).where(_ACTIVE, _C.last_day > NO_DAY)  # One look-up in the index per series.
        stored = [rows.where(_C.series == one).exists() for one in among]
        with self._database.reading() as connection:
            return set(compress(among, connection.execute(select(*stored)).one())) if stored else set()

    def count_complete(self, days: Mapping[Series, date]) -> dict[Series, tuple[int, int]]:
        """Return by series how many accounts are active, and for how many of them its day or a later one is complete.

        For the load curve, an account doesn't count if days were requested but none was ever complete: the collection
        of its curve isn't switched on at the supplier.
        """
        # Few accounts of a healthy fleet lag, so those are counted, in an index; the others are complete.
        rows, active = select(func.count()).where(_ACTIVE), self.count_active()
        counts = {}
        for series, day in days.items():
            known, kinds = active.get(series, 0), (_C.last_complete < day, _C.last_complete.is_(None))
            lagging = sum(self._database.scalar(rows.where(_C.series == series, kind)) for kind in kinds)
            counts[series] = known - self.count_idle(series), max(0, known - lagging)
        return counts

    def count_idle(self, series: Series) -> int:
        """Return of how many active accounts days were requested and none was ever complete; 0 unless it's optional."""
        if not series.description.optional:
            return 0
        is_idle = _ACTIVE, _C.series == series, _C.last_complete.is_(None), _C.days != ""
        return int(self._database.scalar(select(func.count()).where(*is_idle)))

    # The freshness of the fleet, hour by hour.

    def save_freshness(self, freshness: HourFreshness) -> None:
        """Save the counts of an hour; they replace the counts that were saved earlier for the same hour."""
        self._database.change(build_upsert(self._database.dialect, FRESHNESS, freshness._asdict()))

    def list_freshness_since(self, moment: datetime) -> list[HourFreshness]:
        """Return the saved counts of the hours from ``moment`` on, the oldest first."""
        query = select(FRESHNESS).where(FRESHNESS.c.hour >= moment).order_by(FRESHNESS.c.hour, FRESHNESS.c.series)
        return [HourFreshness(*row) for row in self._database.fetch(query)]

    def delete_freshness_before(self, moment: datetime) -> int:
        """Delete the saved counts of the hours before ``moment``, and return how many rows were deleted."""
        return self._database.change(FRESHNESS.delete().where(FRESHNESS.c.hour < moment))


def _known_days(row: Row[Any], wanted: DateWindow | None) -> DayLedger:
    """Return the ledger of a row. If version 0.2.0 loaded the history, the mark BEFORE is added at the history's start.

    Version 0.2.0 kept the start of a history only in Redis, so the stored ledger lacks the mark. A curve doesn't get
    the mark: the depth of its history is a setting, and if the depth is increased, the additional days must be loaded.
    """
    ledger, has_fixed_depth = DayLedger.parse(row.days), row.series.description.history_days is not None
    if wanted is None or ledger.start is None or row.history_due_at is not None or not has_fixed_depth:
        return ledger
    begins_late = max(wanted.start, _first_day(row)) < ledger.start and ledger.marks[0] != BEFORE
    return ledger.with_floor(ledger.start) if begins_late else ledger


def _load_history(row: Row[Any], wanted: DateWindow | None) -> HistoryDays:
    return _history_of(row, wanted, _known_days(row, wanted), answered=row.last_success_at is not None)


def _history_of(row: Row[Any], wanted: DateWindow | None, ledger: DayLedger, *, answered: bool) -> HistoryDays:
    """Return the days of a row's history.

    ``answered``: whether a run has succeeded. One success loads the whole history of a state (``Series.is_state``).
    """
    if wanted is not None and row.series.is_state:
        return HistoryDays(row.series, wanted, [wanted] if answered else [], row.history_due_at)
    return HistoryDays(row.series, wanted, ledger.asked_windows(_first_day(row)), row.history_due_at)


def _first_day(row: Row[Any]) -> date:
    """Return the first day that is worth requesting; ``date.min`` if no limit is known."""
    return max(row.data_from or date.min, row.activated_on or date.min)


def _add_days(row: Row[Any], known: DayLedger, told: RunOutcome) -> tuple[DayLedger, dict[str, str]]:
    """Return the ledger with the days of a run added, and the column ``answered`` if the run has an answer.

    A day whose readings came from a file keeps its mark if the answer is complete for this day and changes nothing.
    """
    days, answer = dict(told.days), told.answer
    if answer:
        for day, mark in told.days.items():
            if mark.complete and day not in answer.changed_days and known.mark_of(day).state is DayState.FILE:
                days[day] = known.mark_of(day)
    ledger = known.with_marks(days)
    if told.floor is not None:
        ledger = ledger.with_floor(told.floor)
    if answer is None:
        return ledger, {}
    ledger, answered = _add_answer(row, ledger, answer)
    return ledger, {"answered": answered}


def _add_answer(
    row: Row[Any],
    ledger: DayLedger,
    answer: FinishedAnswer,
    add: Callable[[RecentAnswers, Answered], RecentAnswers] = RecentAnswers.with_answer,
) -> tuple[DayLedger, str]:
    """Return the ledger, and the text of the row's answers with one more answer.

    In the ledger, the days that ``RecentAnswers.days_in_doubt`` returns are due again.
    """
    recent = RecentAnswers.parse(row.answered or "")
    return ledger.ask_again(recent.days_in_doubt(answer)), str(add(recent, answer.answer))


def lock_row(connection: Connection, account_id: str, series: str) -> Row[Any] | None:
    """Return the row, which stays locked until the transaction ends; None if there is none."""
    return connection.execute(_LOCKED, _key(account_id, series)).one_or_none()


def update_row(connection: Connection, account_id: str, series: str, values: Mapping[str, Any]) -> None:
    connection.execute(_UPDATE.values(**values), _key(account_id, series))


def ledger_columns(connection: Connection, account_id: str, series: Series, ledger: DayLedger) -> dict[str, Any]:
    """Return the columns whose values are computed from a ledger of days."""
    every, daily_series = 1, series.description.adds_up_to
    if series.has_steps and daily_series is not None and _may_lack_curve(ledger):
        daily = connection.execute(_DAYS, _key(account_id, daily_series)).scalar()
        if find_missing_curve(DayLedger.parse(daily or ""), ledger) is not None:
            every = NIGHTS_WITHOUT_CURVE
    return {
        "days": str(ledger),
        "next_ask": ledger.next_ask(series),
        "last_complete": ledger.last_complete(),
        "every": every,
    }


def _to_outcome(row: Row[Any]) -> SeriesOutcome:
    return SeriesOutcome(
        run_id=row.run_id,
        code=row.last_code,
        message=row.last_message,
        last_success_at=row.last_success_at,
        last_day=None if row.last_day == NO_DAY else row.last_day,
        ever_stored=row.ever_stored,
        updated_at=row.updated_at,
        asked_at=None if row.asked_at == NEVER else row.asked_at,
        answer=row.last_answer,
        again_at=row.again_at,
        history_due_at=row.history_due_at,
        failures=row.failures,
        every=row.every,
        last_complete=row.last_complete,
        repair_on=row.next_ask,
    )


def _key(account_id: str, series: str) -> dict[str, str]:
    return {"p_account": account_id, "p_series": series}


def _may_lack_curve(ledger: DayLedger) -> bool:
    """Return whether none of the newest days is complete. Only then may the curve be missing."""
    newest = max((day for day, _ in ledger.days()), default=None)
    last = ledger.last_complete()
    return newest is not None and (last is None or last < newest - timedelta(days=MIN_EMPTY_DAYS_AFTER_CURVE - 1))


def _to_showable(message: str) -> str:
    """Return a message, perhaps a supplier's, as one printable line without anything that looks like a secret."""
    printable = "".join(character if character.isprintable() else " " for character in message)
    return _SECRET.sub("…", " ".join(printable.split()))[:_MAX_MESSAGE_LENGTH]
