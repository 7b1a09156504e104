"""The refresh of one window in four steps, with the order of all reads and writes.

1. ``fetch`` asks the supplier and parses its answer. It reads and writes no measures. Observers get the answer before
   it is parsed, because an answer that can't be parsed is the one that is needed later.
2. ``filter_known`` reads the stored totals of the window, then the readings that they are made of, and keeps the
   readings that are new or changed. Totals come first because of their revisions: if another run writes between the
   two reads, our write of the total is refused and the total is computed again. In the other order, a total computed
   from old readings would replace a newer one.
3. ``aggregate`` computes the touched totals. It reads and writes nothing.
4. ``store`` writes the values that are going to be replaced to the table of corrections, then the readings, then the
   totals, and last the mark that the window is done. Corrections come first because after a crash nobody knows the
   replaced value. Readings come before totals because the next run can compute a missing total, but not a missing
   reading. The mark comes last because a window without it is fetched again. Documents that lost a race against
   another run repeat step 2 without a new call to the supplier.

A worker may therefore be killed at any moment: the window is refreshed again, nothing is missing, and whatever was
stored already stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from worker.domain.consent.accounts import Account, AccountState
from worker.domain.fleet.incidents import NO_INCIDENTS, IncidentGate
from worker.domain.measures import messages
from worker.domain.measures.answers import Answer, RawAnswer
from worker.domain.measures.documents import Entry, key_range, to_timestamp, touched_window
from worker.domain.measures.messages import AnswerFacts, Changes, Fetched, WindowJob, WindowResult, Writes
from worker.domain.measures.readings import DateWindow, Series
from worker.domain.measures.splitting import SplitFetch
from worker.domain.parsing.enedis import parse
from worker.errors import StoreUnavailable, UnknownAccount, UnknownUsagePoint, WorkerError
from worker.stores.measures.base import MeasureStore, ReadRequest
from worker.stores.registry.accounts import AccountRegistry
from worker.sync.window_changes import (
    compare_with_stored,
    compute_writes,
    entries_in_write_order,
    facts_without_answer,
    is_correction,
    last_day,
    split_written,
    to_documents,
)

MAX_RACES: Final = 20  # Lost races for one window, before the store counts as unavailable.


class SupplierClient(Protocol):
    """The one call to a supplier."""

    def measures(self, series: Series, usage_point_id: str, window: DateWindow) -> Answer:
        """Fetch one window of a series. Raises WorkerError."""
        ...


class Recorder(Protocol):
    """A recorder of corrections and results.

    For each window, ``record_corrections`` is called before its readings are written, and ``record_result`` after all
    its documents are written. After a crash both are called again for the same window.
    """

    def record_corrections(self, writes: Writes, entries: Sequence[Entry]) -> None:
        """Record the values that these readings are going to replace."""
        ...

    def record_result(self, result: WindowResult) -> None:
        """Mark the window as done and record its result; this is the last step."""
        ...


# Called with the account's id and each answer, before it is parsed.
AnswerObserver = Callable[[str, RawAnswer], None]


def no_observer(account_id: str, answer: RawAnswer) -> None:
    """Observe nothing."""


@dataclass(frozen=True, kw_only=True)
class WindowSync:
    """The four steps of a window; ``now`` returns the time with its zone."""

    accounts: AccountRegistry
    supplier_of: Callable[[Account], SupplierClient]
    measures: MeasureStore
    recorder: Recorder
    now: Callable[[], datetime]
    observe: AnswerObserver = no_observer
    incidents: IncidentGate = NO_INCIDENTS

    def sync_window(self, job: WindowJob) -> WindowResult:
        """Run the four steps in this process, without the queue."""
        return self.store(self.aggregate(self.filter_known(self.fetch(job))))

    def fetch(self, job: WindowJob) -> Fetched:
        """Ask the supplier for one window and parse its answer; safe to repeat.

        Raises TransientError (IncidentOpen while an incident holds the series), AccountError or DataError.
        """
        self.incidents.raise_if_held(job)
        account = self._get_account(job["account_id"])
        if account.usage_point_id is None:
            raise UnknownUsagePoint("this account has no usage point yet: its owner must connect the meter")
        try:
            fetched = self.parse_answer(job, self._fetch_answer(account, account.usage_point_id, job))
        except WorkerError as error:
            self.incidents.record_failure(job, error)
            raise
        facts = fetched["facts"]
        self.incidents.record_answer(job, usable=bool(facts["fetched"]) or not facts["dropped"])
        return fetched

    def _fetch_answer(self, account: Account, meter: str, job: WindowJob) -> RawAnswer:
        series, supplier = messages.series_of(job), self.supplier_of(account)
        asked_at, window = self.now(), messages.window_of(job)
        # A lambda, because the ``repr`` of a partial would show the meter's number.
        split = SplitFetch(lambda piece: supplier.measures(series, meter, piece)).fetch(window)
        answered_window = DateWindow(window.start, split.end or window.end)
        answer = RawAnswer(series, asked_at, answered_window, split.payloads, split.floor)
        self.observe(account.id, answer)
        return answer

    def parse_answer(self, job: WindowJob, answer: RawAnswer) -> Fetched:
        """Return the readings in the answer. Raises MalformedAnswer."""
        parsed = [parse(payload, answer.series).clip_to(piece) for piece, payload in answer.pieces]
        readings = [reading for part in parsed for reading in part.readings]
        fetched = Fetched(
            **messages.job_of(job),
            readings=messages.pack_readings(readings),
            facts=AnswerFacts(
                fetched=len(readings),
                asked_at=answer.asked_at.timestamp(),
                fetched_at=to_timestamp(answer.asked_at),
                dropped=sum(part.dropped for part in parsed),
                differing=sum(part.differing for part in parsed),
                last_day=last_day(readings),
                floor=answer.floor.isoformat() if answer.floor else None,
                open=[],
            ),
        )
        # The supplier may have refused the last day, which then stays to be asked for.
        fetched["end"] = answer.window.end.isoformat()
        return fetched

    def replay(self, job: WindowJob, answer: RawAnswer) -> WindowResult:
        """Do ``sync_window`` with a stored answer instead of a call to the supplier. Raises MalformedAnswer."""
        return self.store(self.aggregate(self.filter_known(self.parse_answer(job, answer))))

    def filter_known(self, fetched: Fetched) -> Changes:
        """Keep the readings that are new or changed; the same read of the stored ones serves comparison and totals."""
        entries = messages.unpack_as_entries(fetched["readings"], messages.series_of(fetched).inputs)
        return self._compare(fetched, entries, fetched["facts"])

    def aggregate(self, changes: Changes, written_keys: Collection[str] = ()) -> Writes:
        """Compute the touched totals; keep those that differ from the store, or whose readings changed. Does no I/O.

        ``written_keys``: keys of readings that this run has written already.
        """
        return compute_writes(changes, written_keys)

    def store(self, writes: Writes) -> WindowResult:
        """Write readings, then totals, again after a lost race, and record the result. Raises UnknownAccount."""
        self._raise_if_removed(writes)
        created, updated = self._write_until_settled(writes)
        if created or updated:
            # The account may have been removed during the writes, and its measures erased before them.
            self._raise_if_removed(writes)
        result = WindowResult(
            **messages.job_of(writes),
            created=created,
            updated=updated,
            unchanged=writes["unchanged"],
            facts=writes["facts"],
        )
        self.recorder.record_result(result)
        return result

    def recompute_totals(self, job: WindowJob) -> int:
        """Compute the window's totals from the stored readings, without a call, and return the documents written."""
        facts = facts_without_answer(self.now())
        return sum(self._write_until_settled(self.aggregate(self._compare(job, [], facts))))

    def _get_account(self, account_id: str) -> Account:
        """Return the account. Raises UnknownAccount if it was removed, so that a late task asks nothing for it."""
        account = self.accounts.get(account_id)
        if account.state is AccountState.DELETED:
            raise UnknownAccount(f"account {account_id} was removed")
        return account

    def _raise_if_removed(self, job: WindowJob) -> None:
        """Raise UnknownAccount if the account was removed, and erase what was written after its erasure."""
        account_id = job["account_id"]
        if self.accounts.get(account_id).state is AccountState.DELETED:
            self.measures.erase(account_id)
            raise UnknownAccount(f"account {account_id} was removed")

    def _compare(self, job: WindowJob, entries: Sequence[Entry], facts: AnswerFacts) -> Changes:
        documents = self.measures.read(*self._ranges_to_read(job))
        return compare_with_stored(job, entries, facts, documents, self.now())

    def _ranges_to_read(self, job: WindowJob) -> ReadRequest:
        """Return the ranges of the touched totals, then those of their readings: the store reads in this order."""
        series, window = messages.series_of(job), messages.window_of(job)
        windows = {**dict.fromkeys(series.totals, window), series.inputs: touched_window(window, series)}
        return job["account_id"], {period: key_range(part, period) for period, part in windows.items()}

    def _write_until_settled(self, writes: Writes) -> tuple[int, int]:
        """Record the corrections, then write readings, then totals, until no document loses a race.

        Returns the numbers of documents created and updated.
        """
        created = updated = 0
        written_keys: set[str] = set()
        inputs = messages.series_of(writes).inputs
        for _ in range(MAX_RACES):
            entries = dict(entries_in_write_order(writes))
            if corrections := [entry for entry in entries[inputs] if is_correction(entry)]:
                self.recorder.record_corrections(writes, corrections)
            won, lost = split_written(entries, self.measures.write(to_documents(writes, entries, self.now())))
            written_keys |= {entry.key for entry in won[inputs]}
            created += sum(entry.revision is None for entries in won.values() for entry in entries)
            updated += sum(entry.revision is not None for entries in won.values() for entry in entries)
            if not any(lost.values()):
                return created, updated
            # Without their revisions, because the other run has replaced these.
            entries_again = [Entry(entry.key, entry.milliwatt_hours, entry.step) for entry in lost[inputs]]
            writes = self.aggregate(self._compare(writes, entries_again, writes["facts"]), written_keys)
        raise StoreUnavailable("other writers keep winning the race for these documents: try again later")
