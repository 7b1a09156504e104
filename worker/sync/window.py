"""The four steps that refresh one window, and the order of all reads and writes.

1. ``fetch`` asks the supplier and parses its answer. It reads and writes no measures. Observers get the answer before
   it is parsed, because an answer that can't be parsed is the one that is needed later.
2. ``filter_known`` reads the window's stored totals, then the readings behind them. It keeps the readings that are new
   or changed, that no later answer contradicts (``comparison``), and that a meter can deliver; the contract is read
   only if a new value is high. Totals are read first because of their revisions: if another run writes between the two
   reads, our write of the total is refused and the total is recomputed. In the other order, a total computed from old
   readings would replace a newer one.
3. ``aggregate`` computes the affected totals. It reads and writes nothing.
4. ``store`` writes the values about to be replaced to the table of corrections, then the readings, then the totals, and
   finally the mark that the window is done. Corrections come first because after a crash the replaced value would be
   lost; the corrections of a lost write are withdrawn. New steps are written before the steps they replace are removed,
   so that no time is without a reading. Readings come before totals because the next run can compute a missing total,
   but not a missing reading. The mark comes last because a window without it is fetched again. Documents that lost a
   race against another run repeat step 2 without a new call to the supplier. The outbox (``stores.registry.outputs``)
   is told which part is about to be written and, after the mark, that it was written. So if a window is killed in
   between and its refresh then finds no change, outputs still get the part.

After the mark, ``store`` also computes from the curve the days for which no supplier will report a value. If a worker
is killed before this, the message of step 4 stays in the queue, and what is already written stays.

A worker may therefore be killed at any moment: the window is refreshed again, nothing is missing, and what was already
stored stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Protocol

from worker.clients.http_calls import one_large_reader
from worker.clients.supplier import SupplierClient
from worker.clients.supplier_session import SplitFetch
from worker.domain import messages
from worker.domain.account import Account, AccountState
from worker.domain.answers import RawAnswer
from worker.domain.comparison import Known, RecentAnswers, compare, depend_on_contract, ranges_to_read
from worker.domain.completeness import civil_day_of, last_day_of
from worker.domain.consistency import beyond
from worker.domain.documents import (
    ALL_KEYS,
    DAILY_LIMIT_KWH,
    REMOVED,
    Entry,
    entry_of,
    keep_last,
    keep_latest_periods,
    key_of,
    key_range,
    shift_key,
    to_document,
    to_entry,
    to_timestamp,
)
from worker.domain.messages import AnswerFacts, ChangedPart, Changes, Fetched, WindowJob, WindowResult, Writes
from worker.domain.parsing import parse
from worker.domain.series import Doctype, Series, contract_series, curve_of
from worker.domain.totals import activation_in, days_of_curve, keep_different, lacking_in, total_entries, total_key
from worker.domain.windows import DateWindow, IntervalReading, civil_date
from worker.errors import StoreUnavailable, UnknownAccount, UnknownUsagePoint, WorkerError
from worker.stores.measures.measure_store import DocumentsByDoctype, MeasureStore
from worker.stores.registry.accounts import AccountTable
from worker.stores.registry.outputs import OutboxTable
from worker.sync.incidents import Incidents

_AN_HOUR: Final = timedelta(hours=1)
MAX_RACES: Final = 20  # Lost races for one window before the store counts as unavailable.
_CHANGING: Final = "other processes are changing these documents: try again later"


class Recorder(Protocol):
    """Records corrections and results, and knows earlier results.

    For each window, ``record_corrections`` is called before its readings are written, and ``record_result`` after all
    its documents are written. After a crash both are called again for the same window.
    """

    def recent_answers(self, job: WindowJob) -> RecentAnswers:
        """Return the answers that were recently recorded for the job's account and series."""
        ...

    def record_corrections(self, writes: Writes, entries: Sequence[Entry]) -> None:
        """Record the values that these readings will replace. For a new reading, REMOVED stands for the old value."""
        ...

    def withdraw_corrections(self, job: WindowJob, stored: Mapping[str, int]) -> None:
        """Delete the corrections of readings whose write was lost; ``stored``: what is now stored for each reading."""
        ...

    def record_result(self, result: WindowResult) -> None:
        """Mark the window as done and record its result; this is the last step."""
        ...


# Called with each part of a series that is about to be written.
NotePart = Callable[[ChangedPart], None]
# Called with the account's id and each answer, before it is parsed.
AnswerObserver = Callable[[str, RawAnswer], None]


@dataclass(frozen=True, kw_only=True)
class WindowSync:
    """The four steps of a window; ``now`` returns a time with a zone.

    ``daily_limit_kwh``: bounds values that no contract bounds (rule K7). ``outbox``: records what must be sent to
    outputs. ``days_to_compute``: yields, for a stored window, the windows whose daily values are computed from the
    curve. ``tell_alerts``: compares the days of a stored window with the limits that the household set.
    """

    accounts: AccountTable
    supplier_of: Callable[[Account], SupplierClient]
    measures: MeasureStore
    recorder: Recorder
    now: Callable[[], datetime]
    observe: AnswerObserver = lambda account_id, answer: None
    incidents: Incidents | None = None
    daily_limit_kwh: float = DAILY_LIMIT_KWH
    outbox: OutboxTable | None = None
    days_to_compute: Callable[[WindowJob], Iterable[WindowJob]] = lambda stored: ()
    tell_alerts: Callable[[Writes], None] = lambda writes: None

    def sync_window(self, job: WindowJob) -> WindowResult:
        """Run the four steps in this process, without the queue."""
        return self.store(self.aggregate(self.filter_known(self.fetch(job))))

    @one_large_reader()
    def fetch(self, job: WindowJob) -> Fetched:
        """Ask the supplier for one window and parse its answer; safe to repeat.

        Raises TransientError (IncidentOpen while an incident holds the series), AccountError or DataError.
        """
        if self.incidents:
            self.incidents.hold_back(job)
        account = self.accounts.get(job["account_id"])
        if refusal := account.refusal_on(civil_date(self.now())):
            # A late task requests nothing for an account that was removed or whose consent is over.
            raise refusal
        if account.usage_point_id is None:
            raise UnknownUsagePoint("this account has no meter yet: its holder must connect one")
        try:
            fetched = self.parse_answer(job, self._fetch_answer(account, account.usage_point_id, job))
        except WorkerError as error:
            if self.incidents:
                self.incidents.record_failure(job, error)
            raise
        facts = fetched["facts"]
        if self.incidents:
            self.incidents.record_answer(job, usable=bool(facts["fetched"]) or not facts["dropped"])
        return fetched

    def _fetch_answer(self, account: Account, meter: str, job: WindowJob) -> RawAnswer:
        series, asked_at, window = messages.series_of(job), self.now(), messages.window_of(job)
        # A state is requested even if it began before the account's first day, because the answer says what holds
        # today.
        data_from = None if series.is_state else account.first_day
        # ``supplier_of`` checks the consent. It is called for each piece, so nothing is requested after the consent's
        # last day, even if the fetch goes on past midnight. A lambda is used because a partial's ``repr`` would show
        # the meter's number.
        split = SplitFetch(lambda piece: self.supplier_of(account).ask(series, meter, piece), data_from).fetch(window)
        answered_window = DateWindow(window.start, split.end)
        answer = RawAnswer(series, asked_at, answered_window, split.payloads, split.floor)
        self.observe(account.id, answer)
        return answer

    def parse_answer(self, job: WindowJob, answer: RawAnswer) -> Fetched:
        """Return the readings in the answer. Raises MalformedAnswer."""
        periods = answer.series.has_intervals
        parsed = [
            parse(payload, answer.series, piece).clip_to(piece, reaching_in=periods) for piece, payload in answer.pieces
        ]
        readings = [reading for part in parsed for reading in part.readings]
        left_out = sum(part.left_out for part in parsed)
        if len(parsed) > 1 and (answer.series.has_steps or periods):
            # The last step of a piece may extend into the next piece, and a period comes with every piece that it
            # touches. What is dropped counts as left out.
            left_out += len(readings)
            readings = keep_latest_periods(readings) if periods else keep_last(readings)
            left_out -= len(readings)
        fetched = self.receive(
            job,
            readings,
            answer.asked_at,
            dropped=sum(part.dropped for part in parsed),
            differing=sum(part.differing for part in parsed),
            left_out=left_out,
            floor=answer.floor,
        )
        # If the supplier refused the last day, the window ends before it, so that day remains to be requested.
        fetched["end"] = answer.window.end.isoformat()
        return fetched

    def receive(
        self,
        job: WindowJob,
        readings: Sequence[IntervalReading],
        told_at: datetime,
        *,
        dropped: int = 0,
        differing: int = 0,
        left_out: int = 0,
        floor: date | None = None,
    ) -> Fetched:
        """Return the readings of an answer or a file in the form for ``filter_known``, without impossible daily values.

        ``told_at``: when the answer was requested, or the file was made. If two answers differ, the later answer has
        priority.
        """
        series = messages.series_of(job)
        entries = sorted((entry_of(reading, series.inputs) for reading in readings), key=lambda entry: entry.key)
        # These values travel in ``set_aside`` instead of the readings, because a worker of the previous version would
        # store all readings that it gets. ``compare`` puts back the values that the contract allows.
        set_aside = beyond(series, entries, self.daily_limit_kwh) if series.has_daily_limit else {}
        entries = [entry for entry in entries if entry.key not in set_aside]
        return Fetched(
            **messages.job_of(job),
            readings=[entry.reading for entry in entries],
            facts=AnswerFacts(
                fetched=len(entries),
                asked_at=told_at.timestamp(),
                fetched_at=to_timestamp(told_at),
                dropped=dropped,
                differing=differing,
                left_out=left_out,
                set_aside=set_aside,
                last_day=max((str(last_day_of(entry, series)) for entry in entries), default=None),
                floor=floor.isoformat() if floor else None,
                activated_on=activation_in(entries, series, civil_date(told_at)),
                lacks=[lacking.value for lacking in lacking_in(entries, series)],
                open={},
            ),
        )

    def replay(self, job: WindowJob, answer: RawAnswer) -> WindowResult:
        """Run the steps with a stored answer instead of a call to the supplier. Raises MalformedAnswer."""
        return self.store(self.aggregate(self.filter_known(self.parse_answer(job, answer))))

    def filter_known(self, fetched: Fetched) -> Changes:
        """Keep the readings that are new or changed; one read of the store serves both comparison and totals."""
        return self._compare(fetched, messages.to_entries(fetched["readings"]), fetched["facts"])

    def aggregate(self, changes: Changes, written_keys: Collection[str] = ()) -> Writes:
        """Compute the affected totals; keep those that differ from the store, or whose readings changed. Does no I/O.

        ``written_keys``: keys of readings that this run has already written.
        """
        changed = messages.to_entries(changes["changed"])
        changed_keys = {*written_keys, *(entry.key for entry in changed)}
        totals: dict[str, Sequence[messages.Row]] = {}
        unchanged = changes["unchanged"]
        series, window = messages.series_of(changes), messages.window_of(changes)
        replaced = messages.to_entries(changes["replaced"])
        removals: dict[str, Sequence[messages.Row]] = {series.inputs.value: replaced}
        # Steps that replace steps with other bounds give their totals no new revision: of two runs that write the same
        # time, one loses the store's compare-and-set on the steps themselves, and compares its answer again.
        changed_keys -= set(changes["reshaped"])
        for doctype in series.totals:
            sums = Counter(changes["rest"][doctype.value])
            sums.update(total_entries(changed, doctype))
            stored = {entry.key: entry for entry in messages.to_entries(changes["stored_totals"][doctype.value])}
            different = keep_different(sums, stored, doctype, {total_key(key, doctype) for key in changed_keys})
            totals[doctype.value] = different
            removals[doctype.value] = [stored[key] for key in sorted(stored.keys() - sums.keys())]
            # A curve is read with an hour before and after the window; the totals of these hours aren't counted.
            first_key, end_key = key_range(window, doctype)
            changed_here = {entry.key for entry in different}
            unchanged += sum(first_key <= key < end_key and key not in changed_here for key in sums)
        return Writes(
            **messages.job_of(changes),
            changed=changed,
            totals=totals,
            removals=removals,
            reshaped=changes["reshaped"],
            answer=changes["answer"],
            left_out=changes["left_out"],
            seen=changes["seen"],
            late_days=changes["late_days"],
            unchanged=unchanged,
            facts=changes["facts"],
        )

    def store(self, writes: Writes) -> WindowResult:
        """Write readings, then totals, repeating after a lost race, and record the result. Raises UnknownAccount."""
        self._raise_if_removed(writes)
        with self._noting(writes) as note:
            return self._store(writes, note)

    def _store(self, writes: Writes, note: NotePart) -> WindowResult:
        series = messages.series_of(writes)
        counts, last, written_keys = self._write_until_settled(writes, note)
        if counts.total():
            # The account may have been removed during the writes, and its measures erased before the last write.
            self._raise_if_removed(writes)
        result = WindowResult(
            **messages.job_of(writes),
            created=counts["created"],
            updated=counts["updated"],
            removed=counts["removed"],
            unchanged=writes["unchanged"],
            left_out=writes["left_out"],
            seen=writes["seen"],
            late_days=sorted({*writes["late_days"], *last["late_days"]}),
            changed_days=sorted({civil_day_of(key, series).isoformat() for key in written_keys}),
            facts=writes["facts"],
        )
        self.recorder.record_result(result)
        for computed in self.days_to_compute(result):
            self.compute_days(computed)
        self.tell_alerts(writes)
        return result

    def compute_days(self, job: WindowJob) -> int:
        """Compute a window of daily values from the curve, and return the number of documents written.

        A day that the steps don't cover completely gets no value, and a day that the supplier reported keeps the
        reported value. The computation repeats until nothing changes, because another run may have changed the curve
        meanwhile.
        """
        curve, window = curve_of(messages.series_of(job)), messages.window_of(job)
        first_key, end_key = key_range(window, curve.inputs)
        keys = (shift_key(first_key, -_AN_HOUR), end_key)
        written = 0
        for _ in range(MAX_RACES):
            documents = self.measures.read(job["account_id"], {curve.inputs: keys})[curve.inputs]
            days = days_of_curve(curve, map(to_entry, documents))
            if not (count := self._rewrite(job, [days[day] for day in window.dates() if day in days])):
                return written
            written += count
        raise StoreUnavailable(_CHANGING)

    def recompute_totals(self, job: WindowJob) -> int:
        """Recompute the window's totals from the stored readings; return the number of documents written."""
        return self._rewrite(job, ())

    def _rewrite(self, job: WindowJob, computed: Iterable[Entry]) -> int:
        series, now = messages.series_of(job), self.now()
        fetched = self.parse_answer(job, RawAnswer(series, now, messages.window_of(job), []))
        fetched["readings"] = [entry.reading for entry in computed]
        with self._noting(job) as note:
            written = self._write_until_settled(self.aggregate(self.filter_known(fetched)), note)[0].total()
        if written:
            self._raise_if_removed(job)
        return written

    def _noting(self, job: WindowJob) -> AbstractContextManager[NotePart]:
        if self.outbox is None:
            return nullcontext(lambda part: None)
        return self.outbox.noting(job["account_id"], messages.series_of(job))

    def _raise_if_removed(self, job: WindowJob) -> None:
        """Raise UnknownAccount if the account was removed, and erase what was written after its erasure."""
        account_id = job["account_id"]
        if self.accounts.get(account_id).state is AccountState.DELETED:
            self.measures.erase(account_id)
            raise UnknownAccount(f"account {account_id} was removed")

    def _compare(
        self, job: WindowJob, entries: Sequence[Entry], facts: AnswerFacts, lost: Collection[str] = ()
    ) -> Changes:
        """Compare the entries with the store. ``lost``: the keys whose write has just been lost."""
        # The answers are read before the documents. In the other order, an answer recorded between the two reads would
        # count as seen, although its documents were not read.
        known = Known(self.recorder.recent_answers(job), self.measures.read(job["account_id"], ranges_to_read(job)))
        if lost:
            amounts = {
                entry.key: entry.amount for entry in map(to_entry, known.documents[messages.series_of(job).inputs])
            }
            self.recorder.withdraw_corrections(job, {key: amounts.get(key, REMOVED) for key in lost})
        told = job, entries, facts, known, self.now(), self.daily_limit_kwh
        changes = compare(*told)
        if depend_on_contract(changes, self.daily_limit_kwh):
            return compare(*told, self.read_contracts(job["account_id"], messages.series_of(job)))
        return changes

    def read_contracts(self, account_id: str, series: Series) -> list[Entry]:
        """Return the stored rows of the contract of the account's meter, in key order."""
        doctype = contract_series(series.description.supplier).inputs
        return [to_entry(document) for document in self.measures.read(account_id, {doctype: ALL_KEYS})[doctype]]

    def _write_until_settled(self, writes: Writes, note: NotePart) -> tuple[Counter[str], Writes, set[str]]:
        """Note what changes, record the corrections, then write readings, then totals, until no document loses a race.

        New readings are written before old ones are removed. Returns the numbers of documents created, updated and
        removed, the last set of writes, and the keys of the readings written.
        """
        counts: Counter[str] = Counter()
        written_keys: set[str] = set()
        series = messages.series_of(writes)
        inputs = series.inputs
        first = writes
        for _ in range(MAX_RACES):
            if part := messages.changed_part(writes):
                note(part)
            entries = dict(entries_in_write_order(writes))
            removals = {doctype: messages.to_entries(writes["removals"][doctype.value]) for doctype in entries}
            replacing = [
                entry._replace(amount=REMOVED) if entry.key in writes["reshaped"] else entry
                for entry in entries[inputs]
                if entry.replaced_amount is not None
            ]
            # If a state's row is removed, another row reports the same state, so nothing was corrected.
            if not series.is_state:
                gone = removals[inputs]
                replacing += [entry._replace(amount=REMOVED, replaced_amount=entry.amount) for entry in gone]
                # A new reading may have been removed earlier; then the table of corrections records that it is back.
                # Days that Relève computed from the curve aren't recorded.
                told = [entry for entry in entries[inputs] if not entry.is_computed]
                new = [one for one in told if one.replaced_amount is None or one.key in writes["reshaped"]]
                replacing += [entry._replace(replaced_amount=REMOVED) for entry in new]
            if corrections := [entry for entry in replacing if entry.replaced_amount != entry.amount]:
                self.recorder.record_corrections(writes, corrections)
            now = self.now()
            lost = self.measures.write(to_documents(writes, entries, now), to_documents(writes, removals, now))
            lost_keys = {doctype: set(map(key_of, documents)) for doctype, documents in lost.items()}
            won = [entry for doctype, rows in entries.items() for entry in rows if entry.key not in lost_keys[doctype]]
            counts["created"] += sum(entry.revision is None for entry in won)
            counts["updated"] += sum(entry.revision is not None for entry in won)
            counts["removed"] += sum(
                entry.key not in lost_keys[doctype] for doctype, rows in removals.items() for entry in rows
            )
            written_keys |= {entry.key for entry in entries[inputs]} - lost_keys[inputs]
            if not any(lost_keys.values()):
                return counts, writes, written_keys
            # All entries of the answer are compared again, not only the lost ones: steps with new bounds are consistent
            # only together. The entries get no revisions, because the known revisions are out of date.
            entries_again = messages.to_entries(first["answer"]) or [
                Entry(*entry.reading) for entry in messages.to_entries(first["changed"])
            ]
            changes = self._compare(writes, entries_again, writes["facts"], lost_keys[inputs])
            writes = self.aggregate(changes, written_keys)
        raise StoreUnavailable(_CHANGING)


# -- Without I/O, between the reads and the writes


def entries_in_write_order(writes: Writes) -> Iterator[tuple[Doctype, list[Entry]]]:
    """Yield the entries of each doctype, readings before the totals computed from them."""
    series = messages.series_of(writes)
    yield series.inputs, messages.to_entries(writes["changed"])
    for doctype in series.totals:
        yield doctype, messages.to_entries(writes["totals"][doctype.value])


def to_documents(writes: Writes, entries: Mapping[Doctype, Sequence[Entry]], now: datetime) -> DocumentsByDoctype:
    """Return the documents of the entries; readings have the time of their answer, totals have ``now``."""
    # The time of the answer decides between two answers for the same reading, so it must not be the time of writing.
    inputs, answered_at = messages.series_of(writes).inputs, datetime.fromisoformat(writes["facts"]["fetched_at"])
    times = {doctype: answered_at if doctype is inputs else now for doctype in entries}
    return {
        doctype: [to_document(writes["account_id"], doctype, entry, times[doctype]) for entry in entries_of_period]
        for doctype, entries_of_period in entries.items()
    }
