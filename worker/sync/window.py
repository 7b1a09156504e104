"""The walk of one window: four steps and their composition; knows the order, does no work itself.

The order is the design.  Revisions of the totals are read before the inputs they are made of (A5); readings are
written before totals or in one document with them, totals before the mark that the window is done (W3).  So a
worker that dies anywhere costs a repeat, never a hole, and a repeat changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from worker.domain.consent.accounts import Account, AccountState
from worker.domain.fleet.incidents import NO_INCIDENTS, IncidentGate
from worker.domain.measures import messages
from worker.domain.measures.aggregation import keep_different, total_entries, total_key
from worker.domain.measures.answers import Answer, RawAnswer
from worker.domain.measures.completeness import covered_by, pack_open
from worker.domain.measures.documents import (
    Entry,
    key_of,
    key_range,
    period_key,
    to_document,
    to_entry,
    to_timestamp,
    touched_window,
)
from worker.domain.measures.filtering import keep_changed
from worker.domain.measures.messages import AnswerFacts, Changes, Fetched, WindowJob, WindowResult, Writes
from worker.domain.measures.readings import DateWindow, IntervalReading, Period, Series
from worker.domain.measures.splitting import SplitFetch
from worker.domain.parsing.enedis import parse
from worker.errors import StoreUnavailable, UnknownAccount, UnknownUsagePoint, WorkerError
from worker.stores.measures.at_once import read_each, read_one, write_each
from worker.stores.measures.base import ByPeriod, Document, LazyDocuments, Measures, Wanted
from worker.sync.side_by_side import at_once, each, in_turns

MOST_RACES: Final = 20  # rounds of "decide anew" before the store counts as unwell


class SupplierClient(Protocol):
    """One method a series; the client's errors are already ours."""

    def daily_consumption(self, usage_point_id: str, window: DateWindow) -> Answer: ...

    def load_curve(self, usage_point_id: str, window: DateWindow) -> Answer: ...


class Accounts(Protocol):
    def get(self, account_id: str) -> Account: ...


class Progress(Protocol):
    def correcting(self, work: Writes, entries: Sequence[Entry]) -> None:
        """Note what these readings are about to replace; told again after a crash."""
        ...

    def finished(self, report: WindowResult) -> None:
        """Mark the window done and tell how it went; last of all."""
        ...

    def all_finished(self, reports: Sequence[WindowResult]) -> None:
        """The same of many; where it raises, each may be told again."""
        ...


class AnswerObserver(Protocol):
    """Sees each answer before it is read."""

    def answered(self, account_id: str, told: RawAnswer) -> None: ...


class NoObserver:
    def answered(self, account_id: str, told: RawAnswer) -> None:
        """Nobody looks, nothing is kept."""


NO_OBSERVER: Final = NoObserver()


class Written(NamedTuple):
    """What one writing of a window's documents came to, readings first."""

    won: dict[Period, list[Entry]]
    lost: dict[Period, list[Entry]]


@dataclass(frozen=True)
class WindowSync:
    """The four steps over whatever suppliers and stores it is given; ``now`` gives zone-aware time."""

    accounts: Accounts
    supplier_of: Callable[[Account], SupplierClient]
    measures: Measures
    progress: Progress
    now: Callable[[], datetime]
    witness: AnswerObserver = NO_OBSERVER
    watch: IncidentGate = NO_INCIDENTS

    def sync_window(self, origin: WindowJob) -> WindowResult:
        """The four steps one after the other: the door used without the queue, and by most tests."""
        return self.store(self.aggregate(self.filter_known(self.fetch(origin))))

    def sync_windows(self, origins: Sequence[WindowJob]) -> list[WindowResult | WorkerError]:
        """As ``sync_window`` of one after the other, but what they ask and tell the store goes in common requests.

        In their order; where a window failed stands its error, and the others don't notice.
        """
        reports: dict[int, WindowResult] = {}
        failed: dict[int, WorkerError] = {}
        for turn in in_turns(origins):
            reports |= self._sync_turn(turn, failed)
        outcomes: dict[int, WindowResult | WorkerError] = {**reports, **failed}
        return [outcomes[place] for place in range(len(origins))]

    def _sync_turn(self, origins: Mapping[int, WindowJob], failed: dict[int, WorkerError]) -> dict[int, WindowResult]:
        """The four steps side by side: each is done for all windows before the next one."""
        fetched = each(lambda place: self.fetch(origins[place]), origins, failed)
        found = at_once(self._look_up, fetched)
        filtered = each(lambda place: self.filter_known(fetched[place], found.pop(place)), fetched, failed)
        works = each(lambda place: self.aggregate(filtered[place]), filtered, failed)
        kept = each(lambda place: self._refuse_removed(works[place]), works, failed)
        attempts = at_once(self._write, {place: works[place] for place in kept})
        reports = each(lambda place: self._settle(works[place], attempts[place]), kept, failed)
        told = at_once(self._finish_all, reports)
        return each(lambda place: told[place] or self._finish(reports[place]), reports, failed)

    def fetch(self, origin: WindowJob) -> Fetched:
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

    def _ask(self, account: Account, meter: str, origin: WindowJob) -> RawAnswer:
        series, supplier = messages.series_of(origin), self.supplier_of(account)
        method = supplier.daily_consumption if series is Series.DAILY else supplier.load_curve

        asked_at, window = self.now(), messages.window_of(origin)
        inquiry = SplitFetch(lambda piece: method(meter, piece)).put(window)  # a partial shows it
        asked = DateWindow(window.start, inquiry.end or window.end)
        told = RawAnswer(series, asked_at, asked, inquiry.payloads, inquiry.floor)
        self.witness.answered(account.id, told)  # before it is read: what can't be read is worth the most
        return told

    def read(self, origin: WindowJob, told: RawAnswer) -> Fetched:
        """What was told of one window, as readings.  Raises MalformedAnswer."""
        parsed = [parse(payload, told.series).within(piece) for piece, payload in told.pieces]
        readings = [reading for part in parsed for reading in part.readings]
        batch = Fetched(
            **messages.origin_of(origin),
            readings=messages.pack_readings(readings),
            facts=AnswerFacts(
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

    def replay(self, origin: WindowJob, told: RawAnswer) -> WindowResult:
        """As ``sync_window``, of an answer that was told before: nobody is asked.  Raises MalformedAnswer."""
        return self.store(self.aggregate(self.filter_known(self.read(origin, told))))

    def filter_known(self, batch: Fetched, found: LazyDocuments | None = None) -> Changes:
        """Compare with what is stored: the new and the changed readings remain.

        The revisions of the touched totals are read here, before the inputs, so that one reading of the
        inputs serves both the comparison and the totals.  ``found`` gives what was read in this way already.
        """
        entries = messages.unpack_as_entries(batch["readings"], messages.series_of(batch).inputs)
        return self._compare(batch, entries, batch["facts"], found)

    def aggregate(self, filtered: Changes, written: Collection[str] = ()) -> Writes:
        """Make every touched total anew; those that differ, or whose inputs do, remain.  Reads nothing.

        ``written``: keys of inputs that this walk has changed in the store already.
        """
        changed = messages.unpack_entries(filtered["changed"])
        changed_keys = {*written, *(entry.key for entry in changed)}
        totals: dict[str, list[list[Any]]] = {}
        unchanged = filtered["unchanged"]
        for period in messages.series_of(filtered).totals:
            sums = _sum_up(filtered["rest"][period.value], total_entries(changed, period))
            stored = messages.unpack_entries(filtered["stored_totals"][period.value])
            touched = {total_key(key, period) for key in changed_keys}
            different = keep_different(sums, {entry.key: entry for entry in stored}, period, touched)
            totals[period.value] = messages.pack_entries(different)
            unchanged += len(sums) - len(different)
        return Writes(
            **messages.origin_of(filtered),
            changed=filtered["changed"],
            totals=totals,
            unchanged=unchanged,
            facts=filtered["facts"],
        )

    def store(self, aggregated: Writes) -> WindowResult:
        """Write readings, then totals; decide anew what lost a race; then mark the window done."""
        self._refuse_removed(aggregated)
        return self._finish(self._settle(aggregated))

    def _finish(self, report: WindowResult) -> WindowResult:
        self.progress.finished(report)
        return report

    def _finish_all(self, reports: list[WindowResult]) -> list[WindowResult]:
        self.progress.all_finished(reports)
        return reports

    def _settle(self, work: Writes, attempt: Written | None = None) -> WindowResult:
        created, updated = self._write_until_settled(work, attempt)
        if created or updated:  # else nothing came after them; ``finished`` refuses the account too
            self._refuse_removed(work)
        return WindowResult(
            **messages.origin_of(work),
            created=created,
            updated=updated,
            unchanged=work["unchanged"],
            facts=work["facts"],
        )

    def recount(self, origin: WindowJob) -> int:
        """Make the window's totals anew of what is stored, asking nobody; documents written."""
        now = self.now()
        facts = AnswerFacts(
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

    def _refuse_removed(self, origin: WindowJob) -> None:
        """Raise UnknownAccount for a removed account, and leave nothing of what came after its measures were erased."""
        account_id, series = origin["account_id"], messages.series_of(origin)
        if self.accounts.get(account_id).state is AccountState.DELETED:
            for period in (series.inputs, *series.totals):
                self.measures[period].erase(account_id)
            raise UnknownAccount(f"account {account_id} was removed")

    def _compare(
        self, origin: WindowJob, entries: Sequence[Entry], facts: AnswerFacts, found: LazyDocuments | None = None
    ) -> Changes:
        series, window = messages.series_of(origin), messages.window_of(origin)
        stored = found() if found is not None else read_one(self.measures, *self._wanted(origin))
        stored_totals = {period: [to_entry(document) for document in stored[period]] for period in series.totals}
        documents = stored[series.inputs]
        inputs = [to_entry(document) for document in documents]
        told_later = _told_later(documents, facts["fetched_at"], to_timestamp(self.now()))
        news = [entry for entry in entries if entry.key not in told_later]
        changed = keep_changed(news, {entry.key: entry for entry in inputs})
        replaced = {entry.key for entry in changed}
        rest = [entry for entry in inputs if entry.key not in replaced]
        covered = covered_by(series, [*changed, *_inputs_within(rest, series, window)])
        return Changes(
            **messages.origin_of(origin),
            changed=messages.pack_entries(changed),
            unchanged=len(entries) - len(changed),
            stored_totals={period.value: messages.pack_entries(some) for period, some in stored_totals.items()},
            rest={period.value: _within(total_entries(rest, period), period, window) for period in series.totals},
            facts={**facts, "open": pack_open(window, covered)},
        )

    def _look_up(self, origins: Sequence[WindowJob]) -> list[LazyDocuments]:
        return read_each(self.measures, [self._wanted(origin) for origin in origins])

    def _wanted(self, origin: WindowJob) -> Wanted:
        """The totals that the window touches, then what they are made of: read in this order, or at one moment (A5)."""
        series, window = messages.series_of(origin), messages.window_of(origin)
        parts = {**dict.fromkeys(series.totals, window), series.inputs: touched_window(window, series)}
        return origin["account_id"], {period: key_range(part, period) for period, part in parts.items()}

    def _write_until_settled(self, work: Writes, attempt: Written | None = None) -> tuple[int, int]:
        """Documents created and updated, over all rounds; ``attempt`` was the first."""
        created = updated = 0
        written: set[str] = set()
        inputs = messages.series_of(work).inputs
        for _ in range(MOST_RACES):
            won, lost = attempt or self._write([work])[0]
            written |= {entry.key for entry in won[inputs]}
            created += sum(entry.revision is None for some in won.values() for entry in some)
            updated += sum(entry.revision is not None for some in won.values() for entry in some)
            if not any(lost.values()):
                return created, updated
            again = [Entry(entry.key, entry.milliwatt_hours, entry.step) for entry in lost[inputs]]
            work, attempt = self.aggregate(self._compare(work, again, work["facts"]), written), None
        raise StoreUnavailable("other writers keep winning the race for these documents: try again later")

    def _write(self, works: Sequence[Writes]) -> list[Written]:
        """Readings, then totals, of all windows together; what is corrected is noted before."""
        entries = [dict(_in_writing_order(work)) for work in works]
        for work, of_work in zip(works, entries, strict=True):
            if corrected := [entry for entry in of_work[messages.series_of(work).inputs] if _corrects(entry)]:
                self.progress.correcting(work, corrected)
        told = write_each(self.measures, [self._to_documents(*one) for one in zip(works, entries, strict=True)])
        return [_attempt(of_work, lost) for of_work, lost in zip(entries, told, strict=True)]

    def _to_documents(self, work: Writes, entries: Mapping[Period, Sequence[Entry]]) -> ByPeriod:
        """Readings are stamped with the time of their answer: the later answer holds."""
        inputs, told_at, now = messages.series_of(work).inputs, work["facts"]["fetched_at"], self.now()
        at = {period: datetime.fromisoformat(told_at) if period is inputs else now for period in entries}
        return {
            period: [to_document(work["account_id"], period, entry, at[period]) for entry in some]
            for period, some in entries.items()
        }


def _attempt(entries: dict[Period, list[Entry]], lost: Mapping[Period, Iterable[Document]]) -> Written:
    keys = {period: {key_of(document) for document in some} for period, some in lost.items()}
    return Written(
        {period: [entry for entry in some if entry.key not in keys[period]] for period, some in entries.items()},
        {period: [entry for entry in some if entry.key in keys[period]] for period, some in entries.items()},
    )


def _in_writing_order(work: Writes) -> Iterator[tuple[Period, list[Entry]]]:
    """Readings before totals (W3)."""
    series = messages.series_of(work)
    yield series.inputs, messages.unpack_entries(work["changed"])
    for period in series.totals:
        yield period, messages.unpack_entries(work["totals"][period.value])


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
