"""The walk of one window: four steps and their composition; knows the order, does no work itself.

The order is the design.  Revisions of the totals are read before the inputs they are made of (A5); readings
are written before totals, totals before the mark that says the window is done (W3).  So a worker that dies
anywhere costs a repeat, never a hole, and a repeat changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, Protocol

from worker.domain import batches
from worker.domain.accounts import Account, AccountState
from worker.domain.aggregation import keep_different, total_entries, total_key
from worker.domain.answers import Answer
from worker.domain.batches import Aggregated, Batch, Facts, Filtered, Origin, Report
from worker.domain.documents import (
    Entry,
    key_of,
    key_range,
    period_key,
    to_document,
    to_entries,
    to_entry,
    to_timestamp,
    touched_window,
)
from worker.domain.filtering import keep_changed
from worker.domain.inquiry import Inquiry
from worker.domain.parsing.enedis import parse
from worker.domain.readings import DateWindow, IntervalReading, Period, Series
from worker.errors import StoreUnavailable, UnknownAccount, UnknownUsagePoint
from worker.stores.consumption import Measures

MOST_RACES: Final = 20  # rounds of "decide anew" before the store counts as unwell


class Supplier(Protocol):
    """One method a series; the client's errors are already ours."""

    def daily_consumption(self, usage_point_id: str, window: DateWindow) -> Answer: ...

    def load_curve(self, usage_point_id: str, window: DateWindow) -> Answer: ...


class Accounts(Protocol):
    def get(self, account_id: str) -> Account: ...


class Progress(Protocol):
    def finished(self, report: Report) -> None:
        """Mark the window done and tell how it went; last of all."""
        ...


@dataclass(frozen=True)
class WindowWalk:
    """The four steps over whatever suppliers and stores it is given; ``now`` gives zone-aware time."""

    accounts: Accounts
    supplier_of: Callable[[Account], Supplier]
    measures: Measures
    progress: Progress
    now: Callable[[], datetime]

    def sync_window(self, origin: Origin) -> Report:
        """The four steps one after the other: the door used without the queue, and by most tests."""
        return self.store(self.aggregate(self.filter_known(self.fetch(origin))))

    def fetch(self, origin: Origin) -> Batch:
        """Ask the supplier for one window and read its answer.  Asking again gives the same readings.

        Raises TransientError, AccountError or DataError.
        """
        account = self._kept(origin["account_id"])
        meter = account.usage_point_id
        if meter is None:
            raise UnknownUsagePoint("this account has no usage point yet: its owner must connect the meter")
        series, supplier = batches.series_of(origin), self.supplier_of(account)
        method = supplier.daily_consumption if series is Series.DAILY else supplier.load_curve

        asked_at = self.now()
        inquiry = Inquiry(lambda window: method(meter, window)).put(batches.window_of(origin))  # a partial shows it
        parsed = [parse(payload, series).within(piece) for piece, payload in inquiry.payloads]
        readings = [reading for part in parsed for reading in part.readings]
        batch = Batch(
            **batches.origin_of(origin),
            readings=batches.pack_readings(readings),
            facts=Facts(
                fetched=len(readings),
                asked_at=asked_at.timestamp(),
                fetched_at=to_timestamp(asked_at),
                dropped=sum(part.dropped for part in parsed),
                differing=sum(part.differing for part in parsed),
                last_day=_last_day(readings),
                floor=inquiry.floor.isoformat() if inquiry.floor else None,
            ),
        )
        if inquiry.end is not None:
            batch["end"] = inquiry.end.isoformat()
        return batch

    def filter_known(self, batch: Batch) -> Filtered:
        """Compare with what is stored: the new and the changed readings remain.

        The revisions of the touched totals are read here, before the inputs, so that one reading of the
        inputs serves both the comparison and the totals.
        """
        readings = batches.unpack_readings(batch["readings"])
        return self._compare(batch, to_entries(readings, batches.series_of(batch).inputs), batch["facts"])

    def aggregate(self, filtered: Filtered, written: Collection[str] = ()) -> Aggregated:
        """Make every touched total anew; those that differ, or whose inputs do, remain.  Reads nothing.

        ``written``: keys of inputs that this walk has changed in the store already.
        """
        changed = batches.unpack_entries(filtered["changed"])
        changed_keys = {*written, *(entry.key for entry in changed)}
        totals: dict[str, list[list[Any]]] = {}
        unchanged = filtered["unchanged"]
        for period in batches.series_of(filtered).totals:
            sums = _sum_up(filtered["rest"][period.value], total_entries(changed, period))
            stored = batches.unpack_entries(filtered["stored_totals"][period.value])
            touched = {total_key(key, period) for key in changed_keys}
            different = keep_different(sums, {entry.key: entry for entry in stored}, period, touched)
            totals[period.value] = batches.pack_entries(different)
            unchanged += len(sums) - len(different)
        return Aggregated(
            **batches.origin_of(filtered),
            changed=filtered["changed"],
            totals=totals,
            unchanged=unchanged,
            facts=filtered["facts"],
        )

    def store(self, aggregated: Aggregated) -> Report:
        """Write readings, then totals; decide anew what lost a race; then mark the window done."""
        self._refuse_removed(aggregated)
        created, updated = self._write_until_settled(aggregated)
        self._refuse_removed(aggregated)
        report = Report(
            **batches.origin_of(aggregated),
            created=created,
            updated=updated,
            unchanged=aggregated["unchanged"],
            facts=aggregated["facts"],
        )
        self.progress.finished(report)
        return report

    def _kept(self, account_id: str) -> Account:
        """The account, unless it was removed meanwhile: a late task must not bring its measures back."""
        account = self.accounts.get(account_id)
        if account.state is AccountState.DELETED:
            raise UnknownAccount(f"account {account_id} was removed")
        return account

    def _refuse_removed(self, origin: Origin) -> None:
        """Raise UnknownAccount for a removed account, and leave nothing of what came after its measures were erased."""
        account_id, series = origin["account_id"], batches.series_of(origin)
        if self.accounts.get(account_id).state is AccountState.DELETED:
            for period in (series.inputs, *series.totals):
                self.measures[period].erase(account_id)
            raise UnknownAccount(f"account {account_id} was removed")

    def _compare(self, origin: Origin, entries: Sequence[Entry], facts: Facts) -> Filtered:
        series, window = batches.series_of(origin), batches.window_of(origin)
        read = partial(self._read, origin["account_id"])
        stored_totals = {period: read(period, window) for period in series.totals}  # before the inputs: A5
        inputs = read(series.inputs, touched_window(window, series))
        changed = keep_changed(entries, {entry.key: entry for entry in inputs})
        replaced = {entry.key for entry in changed}
        rest = [entry for entry in inputs if entry.key not in replaced]
        return Filtered(
            **batches.origin_of(origin),
            changed=batches.pack_entries(changed),
            unchanged=len(entries) - len(changed),
            stored_totals={period.value: batches.pack_entries(found) for period, found in stored_totals.items()},
            rest={period.value: _within(total_entries(rest, period), period, window) for period in series.totals},
            facts=facts,
        )

    def _read(self, account_id: str, period: Period, window: DateWindow) -> list[Entry]:
        return [to_entry(found) for found in self.measures[period].read(account_id, *key_range(window, period))]

    def _write_until_settled(self, work: Aggregated) -> tuple[int, int]:
        """Documents created and updated, over all rounds."""
        created = updated = 0
        written: set[str] = set()
        inputs = batches.series_of(work).inputs
        for _ in range(MOST_RACES):
            lost: dict[Period, list[Entry]] = {}
            for period, entries in _in_writing_order(work):
                if lost.get(inputs):  # these totals were made of readings that are not what is stored
                    break
                lost[period] = self._write(work["account_id"], period, entries)
                won = [entry for entry in entries if entry not in lost[period]]
                written |= {entry.key for entry in won} if period is inputs else set()
                created += sum(entry.revision is None for entry in won)
                updated += sum(entry.revision is not None for entry in won)
            if not any(lost.values()):
                return created, updated
            work = self.aggregate(self._compare(work, self._still_news(work, lost[inputs]), work["facts"]), written)
        raise StoreUnavailable("other writers keep winning the race for these documents: try again later")

    def _still_news(self, work: Aggregated, lost: Sequence[Entry]) -> list[Entry]:
        """What lost a race, less what others wrote after our answer came: a late message must not undo a correction."""
        if not lost:
            return []
        series, window = batches.series_of(work), batches.window_of(work)
        stored = self.measures[series.inputs].read(work["account_id"], *key_range(window, series.inputs))
        newer = {key_of(document) for document in stored if document["updated_at"] > work["facts"]["fetched_at"]}
        return [Entry(entry.key, entry.milliwatt_hours, entry.step) for entry in lost if entry.key not in newer]

    def _write(self, account_id: str, period: Period, entries: Sequence[Entry]) -> list[Entry]:
        """Those that lost a race."""
        if not entries:
            return []
        now = self.now()
        documents = [to_document(account_id, period, entry, now) for entry in entries]
        lost = {key_of(document) for document in self.measures[period].write(documents)}
        return [entry for entry in entries if entry.key in lost]


def _in_writing_order(work: Aggregated) -> Iterator[tuple[Period, list[Entry]]]:
    """Readings before totals (W3)."""
    series = batches.series_of(work)
    yield series.inputs, batches.unpack_entries(work["changed"])
    for period in series.totals:
        yield period, batches.unpack_entries(work["totals"][period.value])


def _last_day(readings: Sequence[IntervalReading]) -> str | None:
    return max((period_key(reading.start, Period.DAY) for reading in readings), default=None)


def _sum_up(rest: dict[str, int], added: dict[str, int]) -> dict[str, int]:
    return {key: rest.get(key, 0) + added.get(key, 0) for key in {**rest, **added}}


def _within(sums: dict[str, int], period: Period, window: DateWindow) -> dict[str, int]:
    first_key, end_key = key_range(window, period)
    return {key: energy for key, energy in sums.items() if first_key <= key < end_key}
