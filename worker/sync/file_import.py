"""The import of files, whose readings go through the same steps as the readings of an answer.

A file counts as an answer that was requested when the file was made (``told_at``). So values from later answers stay,
and the file fills the gaps. Stored values are replaced only under the rules for overlaps (K5) and impossible values
(K7). A file is stored in parts of bounded size, and each part is recorded when it is done. So after an import was
killed, it can simply be run again.

``FileAccounts`` finds the account of the file's meter, or adds an account for a new meter of a home.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Final

from worker.accounts.asserted_accounts import AccountAssertion
from worker.domain import messages
from worker.domain.account import Account, AccountState
from worker.domain.comparison import FinishedAnswer, RecentAnswers, ranges_to_read
from worker.domain.completeness import GIVE_UP_AGE, DayLedger, DayMark, DayState, civil_day_of, half_hours_in
from worker.domain.consistency import beyond
from worker.domain.documents import MILLIWATT_HOURS_PER_WH, Entry, entry_of, find_clusters, to_entry
from worker.domain.files.cells import FileFault, FileRefused, FileSeries
from worker.domain.messages import WindowJob, WindowResult, Writes
from worker.domain.series import Granularity, Quantity, Series, grid_operator_of, of_supplier
from worker.domain.tariffs import day_energies
from worker.domain.windows import ONE_DAY, DateWindow, IntervalReading, civil_date
from worker.errors import FilesOnly, MeterElsewhere
from worker.logs import fields
from worker.stores.registry import Registry
from worker.stores.registry.outcomes import OutcomeTable
from worker.sync.results import ResultRecorder
from worker.sync.window import WindowSync

log = logging.getLogger("releve.import")
_MINUTE: Final = timedelta(minutes=1)
_ENERGIES: Final = (Quantity.ENERGY, Quantity.POWER, Quantity.GAS)
VOUCHER: Final = "file import"


@dataclass(frozen=True, slots=True)
class FileComparison:
    """A series of a file, compared with what is stored.

    A day of the file is *different* if one of its values differs from the stored value. Any other day is *new* if one
    of its values lies in a time without stored values. All other days are *same*. ``amount``: the file's energy in
    milliwatt-hours (for registers, the energy of the days between readings); None if the series is not an energy.
    ``left_out``: the number of values in the future, before the first day that may be read, or too large for any meter.
    """

    file: FileSeries
    first: date | None
    last: date | None
    days_new: int
    days_same: int
    days_different: int
    amount: int | None
    left_out: int

    @property
    def unusable(self) -> int:
        """How many of the file's values can't be stored."""
        return self.file.dropped + self.left_out

    @property
    def watt_hours(self) -> int | float | None:
        if self.amount is None:
            return None
        whole, rest = divmod(self.amount, MILLIWATT_HOURS_PER_WH)
        return self.amount / MILLIWATT_HOURS_PER_WH if rest else whole


@dataclass
class ImportCounts:
    """The numbers of documents in an import. ``left_out``: values not stored because a later answer has priority."""

    created: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    left_out: int = 0

    def add(self, result: WindowResult) -> None:
        self.created += result["created"]
        self.updated += result["updated"]
        self.removed += result["removed"]
        self.unchanged += result["unchanged"]
        self.left_out += result["left_out"]


@dataclass(frozen=True, kw_only=True)
class FileImporter:
    """Stores the readings of files; the caller has checked which meter they belong to."""

    window_sync: WindowSync
    results: ResultRecorder
    outcomes: OutcomeTable

    def compare(self, file: FileSeries, account_id: str | None, data_from: date | None = None) -> FileComparison:
        """Compare a file with what is stored, and write nothing; without an account everything is new."""
        series, entries, energies, possible = file.series, list[Entry](), 0, 0
        days: set[date] = set()
        new: set[date] = set()
        different: set[date] = set()
        contracts = self.window_sync.read_contracts(account_id, series) if account_id else ()
        for window, readings in self._parts(file, data_from):
            part = self._possible(series, readings, contracts)
            possible += len(part)
            stored = self._stored(account_id, series, window) if account_id else []
            entries += part if _has_registers(series) else ()
            energies += sum(entry.amount for entry in part)
            for newcomers, known in ((one.newcomers, one.stored) for one in find_clusters(part, stored)):
                told = {civil_day_of(entry.key, series) for entry in newcomers}
                days |= told
                if newcomers and not known:
                    new |= told
                elif newcomers and not _tell_the_same(newcomers, known):
                    different |= told
        return FileComparison(
            file=file,
            first=min(days, default=None),
            last=max(days, default=None),
            days_new=len(new - different),
            days_same=len(days - new - different),
            days_different=len(different),
            amount=_energy_of(series, entries, energies),
            left_out=len(file.readings) - possible,
        )

    def store(
        self,
        file: FileSeries,
        account_id: str,
        data_from: date | None = None,
        on_part: Callable[[int], object] = lambda days: None,
    ) -> ImportCounts:
        """Store the readings of a file; safe to repeat, also after it was interrupted.

        ``on_part`` is called with the number of days of each finished part. Raises UnknownAccount or TransientError;
        parts that were finished before the error stay stored.
        """
        now, counts = self.window_sync.now(), ImportCounts()
        run_id = messages.new_file_run_id(now)
        for window, readings in self._parts(file, data_from):
            days = frozenset(reading.start.date() for reading in readings)
            recorder = _FileRecorder(self.results, self.outcomes, days, self.window_sync.now)
            sync = replace(self.window_sync, recorder=recorder)
            job = messages.to_job(account_id, file.series, window, run_id, None)
            fetched = sync.receive(job, readings, min(file.told_at, now))
            counts.add(sync.store(sync.aggregate(sync.filter_known(fetched))))
            on_part(len(days))
        log.info(
            "file imported",
            extra=fields(
                account_id=account_id,
                series=file.series.value,
                run=run_id,
                format=file.format,
                created=counts.created,
                updated=counts.updated,
                removed=counts.removed,
                unchanged=counts.unchanged,
                left_out=counts.left_out,
            ),
        )
        return counts

    def _parts(
        self, file: FileSeries, data_from: date | None
    ) -> Iterator[tuple[DateWindow, Sequence[IntervalReading]]]:
        """Yield the readings in parts, oldest first: months of a curve, years of daily values.

        Readings in the future are dropped, and so are those before ``data_from``, which belong to another person.
        """
        now, has_steps = self.window_sync.now(), file.series.has_steps

        def part_of(reading: IntervalReading) -> tuple[int, int]:
            return reading.start.year, reading.start.month if has_steps else 0

        for _, group in groupby(file.readings, key=part_of):
            if readings := [reading for reading in group if _may_be_read(reading, data_from, now)]:
                yield DateWindow(readings[0].start.date(), readings[-1].start.date() + ONE_DAY), readings

    def _possible(self, series: Series, readings: Sequence[IntervalReading], contracts: Sequence[Entry]) -> list[Entry]:
        entries = [entry_of(reading, series.inputs) for reading in readings]
        impossible = beyond(series, entries, self.window_sync.daily_limit_kwh, contracts)
        return [entry for entry in entries if entry.key not in impossible]

    def _stored(self, account_id: str, series: Series, window: DateWindow) -> list[Entry]:
        job = messages.to_job(account_id, series, window, "", None)
        ranges = {series.inputs: ranges_to_read(job)[series.inputs]}
        stored = map(to_entry, self.window_sync.measures.read(account_id, ranges)[series.inputs])
        return [entry for entry in stored if not entry.is_computed]


@dataclass(frozen=True)
class _FileRecorder:
    """Records the corrections and day marks of a part of a file.

    For a file nothing was requested, so what is due stays due; only days that the file completes are no longer due.
    ``days``: the days for which the file has a value. The window's other days keep their marks, because the supplier
    may have values for them.
    """

    results: ResultRecorder
    outcomes: OutcomeTable
    days: frozenset[date]
    now: Callable[[], datetime]

    def recent_answers(self, job: WindowJob) -> RecentAnswers:
        return self.results.recent_answers(job)

    def record_corrections(self, writes: Writes, entries: Sequence[Entry]) -> None:
        self.results.record_corrections(writes, entries)

    def withdraw_corrections(self, job: WindowJob, stored: Mapping[str, int]) -> None:
        self.results.withdraw_corrections(job, stored)

    def record_result(self, result: WindowResult) -> None:
        account_id, series, facts = result["account_id"], messages.series_of(result), result["facts"]
        # If a later answer differs from the file, the answer has priority. So no day needs to be requested again
        # because of a value that the file replaced, or that was left out.
        finished = replace(FinishedAnswer.of(result), overwrote=False, late_days=frozenset())
        # A day with a value that was set aside is marked only if other values of it are stored: with what these cover.
        told = [day for day in sorted(self.days) if str(day) not in facts["set_aside"] or facts["open"].get(str(day))]
        today = civil_date(self.now())
        self.outcomes.record_file(
            account_id,
            series,
            result["run_id"],
            self.now(),
            last_day=date.fromisoformat(facts["last_day"]) if facts["last_day"] else None,
            to_marks=lambda known: {
                day: _mark_of(day, known, facts["open"].get(str(day)), day in finished.changed_days)
                for day in told
                if day < today
            },
            answer=finished,
        )


def describe_counts(new: int, same: int, different: int) -> str:
    """Return the numbers of days as the subject of an audit entry: ``365new-0same-2different``."""
    return f"{new}new-{same}same-{different}different"


def _may_be_read(reading: IntervalReading, data_from: date | None, now: datetime) -> bool:
    return reading.start < now and (data_from is None or reading.start.date() >= data_from)


def _tell_the_same(some: Sequence[Entry], others: Sequence[Entry]) -> bool:
    by_key = {entry.key: entry for entry in others}
    return len(some) == len(others) and all(
        entry.key in by_key and entry.has_value_of(by_key[entry.key]) for entry in some
    )


def _has_registers(series: Series) -> bool:
    return series.description.granularity is Granularity.REGISTER


def _energy_of(series: Series, entries: Sequence[Entry], total: int) -> int | None:
    """Return the energy in a file in milliwatt-hours; None if the series is not an energy."""
    if _has_registers(series):
        return MILLIWATT_HOURS_PER_WH * sum(day.total for day in day_energies(entries))
    return total if series.description.quantity in _ENERGIES else None


def _mark_of(day: date, known: DayLedger, minutes: int | None, changed: bool) -> DayMark:
    """Return the mark of a day for which a file has a value. ``minutes``: the stored part; None for the whole day."""
    before = known.mark_of(day)
    if minutes is None:
        stays = before.state is DayState.AGAIN or (before.complete and not changed)
        return before if stays else DayMark(DayState.FILE)
    # A day that was given up (ABSENT) must not be requested again because a file fills a part of it. A PARTIAL day
    # without ``asked_at_age`` would be requested with the history, so it gets the highest age here.
    asked_at_age = GIVE_UP_AGE if before.state is DayState.ABSENT else before.asked_at_age
    return DayMark(DayState.PARTIAL, half_hours_in(minutes * _MINUTE), asked_at_age)


@dataclass(frozen=True, kw_only=True)
class FileAccounts:
    """Finds, checks and adds the accounts that files belong to.

    ``suppliers``: the supplier of a new account, by the grid operator of the file's series.
    """

    registry: Registry
    assertion: AccountAssertion
    suppliers: dict[str, str]

    def check(self, file: FileSeries, account: Account, meter: str | None = None) -> None:
        """Raise FileRefused if the account is closed or deleted, or if the file is of another meter or another energy.

        ``meter``: the meter's number, given by a person. If neither the file nor ``meter`` gives a number, the meter
        isn't checked, because a person has chosen the account.
        """
        if account.state in (AccountState.CLOSED, AccountState.DELETED):
            raise FileRefused(
                f"{file.file}: nothing is stored, because account {account.id} is {account.state}", FileFault.CLOSED
            )
        if file.series not in of_supplier(account.supplier):
            of_file = "gas" if file.series.description.supplier == "grdf" else "electricity"
            raise FileRefused(
                f"{file.file}: it is about {of_file}, which is not what account {account.id} is about",
                FileFault.OTHER_ENERGY,
            )
        number = number_of(file, meter)
        if number is not None and number != account.usage_point_id:
            raise FileRefused(
                f"{file.file}: it is of meter {mask(number)}, but account {account.id} is of "
                f"{account.last_digits or 'none'}",
                FileFault.OTHER_METER,
            )

    def find(self, file: FileSeries, meter: str | None = None, tenant: str | None = None) -> Account | None:
        """Return the account of the file's meter; None if the meter has no account.

        Raises FileRefused if the meter's number is unknown.
        """
        number = require_number(file, meter)
        operator = file.series.description.supplier
        accounts = self.registry.accounts.find_by_meter(number, tenant=tenant)
        return next((account for account in accounts if grid_operator_of(account.supplier) == operator), None)

    def add(self, file: FileSeries, meter: str | None = None) -> Account:
        """Add an account for a new meter and return it; nothing is requested for the account before it gets a token.

        Raises FileRefused, and MeterErased if the meter's data were erased.
        """
        operator = file.series.description.supplier
        assertion = replace(self.assertion, supplier=self.suppliers[operator])
        try:
            return replace(assertion, waits_under=FilesOnly.code).add(require_number(file, meter), VOUCHER)[0]
        except MeterElsewhere as error:
            raise FileRefused(f"{file.file}: {error}") from None


def number_of(file: FileSeries, meter: str | None) -> str | None:
    """Return the number in the file, else ``meter``; None if neither is given. Raises FileRefused if the two differ."""
    number = file.usage_point
    if number is not None and number.isdecimal():
        number = number.zfill(14)  # Spreadsheets drop leading zeros.
    if number is not None and meter is not None and number != meter:
        raise FileRefused(f"{file.file}: it is of meter {mask(number)}, not of {mask(meter)}")
    return number or meter


def require_number(file: FileSeries, meter: str | None) -> str:
    """Return the number of the file's meter. Raises FileRefused if it is unknown."""
    number = number_of(file, meter)
    if number is None:
        raise FileRefused(f"{file.file}: it does not name its meter: give --usage-point or --account")
    return number


def mask(number: str) -> str:
    """Return the last four digits of a meter's number, the only part that is ever shown: ``…0011``."""
    return f"…{number[-4:]}"
