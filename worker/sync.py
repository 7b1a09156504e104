"""The walk of one window: four steps and their composition; knows the order, does no work itself.

The order is the design.  Revisions of the totals are read before the inputs they are made of (A5); readings are
written before totals or in one document with them, totals before the mark that the window is done (W3).  So a
worker that dies anywhere costs a repeat, never a hole, and a repeat changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from worker.domain import batches
from worker.domain.accounts import Account, AccountState
from worker.domain.aggregation import keep_different, total_entries, total_key
from worker.domain.answers import Answer
from worker.domain.batches import Aggregated, Batch, Facts, Filtered, Origin, Report
from worker.domain.completeness import covered_by, pack_open
from worker.domain.documents import (
    Entry,
    key_of,
    key_range,
    period_key,
    to_document,
    to_entry,
    to_timestamp,
    touched_window,
)
from worker.domain.filtering import keep_changed
from worker.domain.inquiry import Inquiry
from worker.domain.parsing.enedis import parse
from worker.domain.readings import DateWindow, IntervalReading, Period, Series
from worker.domain.told import Told
from worker.domain.watch import NO_WATCH, Watch
from worker.errors import StoreUnavailable, UnknownAccount, UnknownUsagePoint, WorkerError
from worker.stores.consumption import Document, Measures, Together

MOST_RACES: Final = 20  # rounds of "decide anew" before the store counts as unwell


class Supplier(Protocol):
    """One method a series; the client's errors are already ours."""

    def daily_consumption(self, usage_point_id: str, window: DateWindow) -> Answer: ...

    def load_curve(self, usage_point_id: str, window: DateWindow) -> Answer: ...


class Accounts(Protocol):
    def get(self, account_id: str) -> Account: ...


class Progress(Protocol):
    def correcting(self, work: Aggregated, entries: Sequence[Entry]) -> None:
        """Note what these readings are about to replace; told again after a crash."""
        ...

    def finished(self, report: Report) -> None:
        """Mark the window done and tell how it went; last of all."""
        ...


class Witness(Protocol):
    """Sees each answer before it is read."""

    def answered(self, account_id: str, told: Told) -> None: ...


class NoWitness:
    def answered(self, account_id: str, told: Told) -> None:
        """Nobody looks, nothing is kept."""


NO_WITNESS: Final = NoWitness()


@dataclass(frozen=True)
class WindowWalk:
    """The four steps over whatever suppliers and stores it is given; ``now`` gives zone-aware time."""

    accounts: Accounts
    supplier_of: Callable[[Account], Supplier]
    measures: Measures
    progress: Progress
    now: Callable[[], datetime]
    witness: Witness = NO_WITNESS
    watch: Watch = NO_WATCH

    def sync_window(self, origin: Origin) -> Report:
        """The four steps one after the other: the door used without the queue, and by most tests."""
        return self.store(self.aggregate(self.filter_known(self.fetch(origin))))

    def fetch(self, origin: Origin) -> Batch:
        """Ask the supplier for one window and read its answer.  Asking again gives the same readings.

        Raises TransientError (Held where nobody shall be asked now), AccountError or DataError.
        """
        self.watch.admit(origin)
        account = self._kept(origin["account_id"])
        if account.usage_point_id is None:
            raise UnknownUsagePoint("this account has no usage point yet: its owner must connect the meter")
        try:
            batch = self.read(origin, self._ask(account, account.usage_point_id, origin))
        except WorkerError as error:
            self.watch.failed(origin, error)
            raise
        facts = batch["facts"]
        self.watch.answered(origin, usable=bool(facts["fetched"]) or not facts["dropped"])
        return batch

    def _ask(self, account: Account, meter: str, origin: Origin) -> Told:
        series, supplier = batches.series_of(origin), self.supplier_of(account)
        method = supplier.daily_consumption if series is Series.DAILY else supplier.load_curve

        asked_at, window = self.now(), batches.window_of(origin)
        inquiry = Inquiry(lambda piece: method(meter, piece)).put(window)  # a partial shows it
        asked = DateWindow(window.start, inquiry.end or window.end)
        told = Told(series, asked_at, asked, inquiry.payloads, inquiry.floor)
        self.witness.answered(account.id, told)  # before it is read: what can't be read is worth the most
        return told

    def read(self, origin: Origin, told: Told) -> Batch:
        """What was told of one window, as readings.  Raises MalformedAnswer."""
        parsed = [parse(payload, told.series).within(piece) for piece, payload in told.pieces]
        readings = [reading for part in parsed for reading in part.readings]
        batch = Batch(
            **batches.origin_of(origin),
            readings=batches.pack_readings(readings),
            facts=Facts(
                fetched=len(readings),
                asked_at=told.asked_at.timestamp(),
                fetched_at=to_timestamp(told.asked_at),
                dropped=sum(part.dropped for part in parsed),
                differing=sum(part.differing for part in parsed),
                last_day=_last_day(readings),
                floor=told.floor.isoformat() if told.floor else None,
                open=[],
            ),
        )
        batch["end"] = told.window.end.isoformat()
        return batch

    def replay(self, origin: Origin, told: Told) -> Report:
        """As ``sync_window``, of an answer that was told before: nobody is asked.  Raises MalformedAnswer."""
        return self.store(self.aggregate(self.filter_known(self.read(origin, told))))

    def filter_known(self, batch: Batch) -> Filtered:
        """Compare with what is stored: the new and the changed readings remain.

        The revisions of the touched totals are read here, before the inputs, so that one reading of the
        inputs serves both the comparison and the totals.
        """
        entries = batches.unpack_as_entries(batch["readings"], batches.series_of(batch).inputs)
        return self._compare(batch, entries, batch["facts"])

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
        if created or updated:  # else nothing came after them; ``finished`` refuses the account too
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

    def recount(self, origin: Origin) -> int:
        """Make the window's totals anew of what is stored, asking nobody; documents written."""
        now = self.now()
        facts = Facts(
            fetched=0,
            asked_at=now.timestamp(),
            fetched_at=to_timestamp(now),
            dropped=0,
            differing=0,
            last_day=None,
            floor=None,
            open=[],
        )
        return sum(self._write_until_settled(self.aggregate(self._compare(origin, [], facts))))

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
        stored_totals, documents = self._stored(origin["account_id"], series, window)
        inputs = [to_entry(document) for document in documents]
        told_later = _told_later(documents, facts["fetched_at"], to_timestamp(self.now()))
        news = [entry for entry in entries if entry.key not in told_later]
        changed = keep_changed(news, {entry.key: entry for entry in inputs})
        replaced = {entry.key for entry in changed}
        rest = [entry for entry in inputs if entry.key not in replaced]
        covered = covered_by(series, [*changed, *_inputs_within(rest, series, window)])
        return Filtered(
            **batches.origin_of(origin),
            changed=batches.pack_entries(changed),
            unchanged=len(entries) - len(changed),
            stored_totals={period.value: batches.pack_entries(found) for period, found in stored_totals.items()},
            rest={period.value: _within(total_entries(rest, period), period, window) for period in series.totals},
            facts={**facts, "open": pack_open(window, covered)},
        )

    def _stored(
        self, account_id: str, series: Series, window: DateWindow
    ) -> tuple[dict[Period, list[Entry]], list[Document]]:
        """The totals that the window touches, and what they are made of: read after them, or at one moment (A5)."""
        wanted = {**dict.fromkeys(series.totals, window), series.inputs: touched_window(window, series)}
        if isinstance(self.measures, Together):
            ranges = {period: key_range(part, period) for period, part in wanted.items()}
            found = self.measures.read_together(account_id, ranges)
        else:
            found = {period: self._documents(account_id, period, part) for period, part in wanted.items()}
        totals = {period: [to_entry(document) for document in found[period]] for period in series.totals}
        return totals, found[series.inputs]

    def _documents(self, account_id: str, period: Period, window: DateWindow) -> list[Document]:
        return self.measures[period].read(account_id, *key_range(window, period))

    def _write_until_settled(self, work: Aggregated) -> tuple[int, int]:
        """Documents created and updated, over all rounds."""
        created = updated = 0
        written: set[str] = set()
        inputs = batches.series_of(work).inputs
        for _ in range(MOST_RACES):
            entries = dict(_in_writing_order(work))
            if corrected := [entry for entry in entries[inputs] if _corrects(entry)]:
                self.progress.correcting(work, corrected)
            lost = self._write(work, entries)
            for period, of_period in lost.items():
                won = [entry for entry in entries[period] if entry not in of_period]
                written |= {entry.key for entry in won} if period is inputs else set()
                created += sum(entry.revision is None for entry in won)
                updated += sum(entry.revision is not None for entry in won)
            if not any(lost.values()):
                return created, updated
            again = [Entry(entry.key, entry.milliwatt_hours, entry.step) for entry in lost[inputs]]
            work = self.aggregate(self._compare(work, again, work["facts"]), written)
        raise StoreUnavailable("other writers keep winning the race for these documents: try again later")

    def _write(self, work: Aggregated, entries: dict[Period, list[Entry]]) -> dict[Period, list[Entry]]:
        """Those that lost a race.  Readings are stamped with the time of their answer: the later answer holds."""
        if isinstance(self.measures, Together):
            documents = {period: self._to_documents(work, period, some) for period, some in entries.items()}
            told = self.measures.write_together(documents) if any(documents.values()) else {}
            return {period: _those_of(some, told.get(period, [])) for period, some in entries.items()}
        inputs = batches.series_of(work).inputs
        lost: dict[Period, list[Entry]] = {}
        for period, some in entries.items():
            if lost.get(inputs):  # these totals were made of readings that are not what is stored
                break
            written = self._to_documents(work, period, some)
            lost[period] = _those_of(some, self.measures[period].write(written) if written else [])
        return lost

    def _to_documents(self, work: Aggregated, period: Period, entries: Sequence[Entry]) -> list[Document]:
        is_input = period is batches.series_of(work).inputs
        at = datetime.fromisoformat(work["facts"]["fetched_at"]) if is_input else self.now()
        return [to_document(work["account_id"], period, entry, at) for entry in entries]


def _those_of(entries: Sequence[Entry], documents: Iterable[Document]) -> list[Entry]:
    keys = {key_of(document) for document in documents}
    return [entry for entry in entries if entry.key in keys]


def _in_writing_order(work: Aggregated) -> Iterator[tuple[Period, list[Entry]]]:
    """Readings before totals (W3)."""
    series = batches.series_of(work)
    yield series.inputs, batches.unpack_entries(work["changed"])
    for period in series.totals:
        yield period, batches.unpack_entries(work["totals"][period.value])


def _told_later(documents: Iterable[Document], fetched_at: str, now: str) -> set[str]:
    """Keys of readings from a later answer than ours: a message that comes late must not undo a correction.

    A stamp that lies in the future is another clock's, set wrong then or ours now, and proves nothing.
    """
    return {key_of(document) for document in documents if fetched_at < document["updated_at"] <= now}


def _corrects(entry: Entry) -> bool:
    return entry.was is not None and entry.was != entry.milliwatt_hours


def _inputs_within(entries: Iterable[Entry], series: Series, window: DateWindow) -> list[Entry]:
    first_key, end_key = key_range(window, series.inputs)
    return [entry for entry in entries if first_key <= entry.key < end_key]


def _last_day(readings: Sequence[IntervalReading]) -> str | None:
    return max((period_key(reading.start, Period.DAY) for reading in readings), default=None)


def _sum_up(rest: dict[str, int], added: dict[str, int]) -> dict[str, int]:
    return {key: rest.get(key, 0) + added.get(key, 0) for key in {**rest, **added}}


def _within(sums: dict[str, int], period: Period, window: DateWindow) -> dict[str, int]:
    first_key, end_key = key_range(window, period)
    return {key: energy for key, energy in sums.items() if first_key <= key < end_key}
