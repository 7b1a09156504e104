"""The comparison of an answer with the store: the readings to write and to remove, and the changes of their totals.

If two answers cover the same day, the answer that was requested last counts (rule K6). A document contains the request
time of the answer that wrote it. An answer that only confirms documents writes nothing, so request times are also kept
in ``RecentAnswers``, as one short text for each account and series. The text lists the stored answers of the last 24
hours, at most eight; of the older answers it keeps only the newest request time:

    1721890000123456 2024-06-25/2024-07-25@1721976400123456 2024-07-18/2024-07-25@1721980000123456

    1721890000123456    The request time of the newest answer that isn't listed, in µs since 1970; 0 if there is none.
    …/…@…               A listed answer: its window and its request time.

An answer that was requested before the newest unlisted answer never replaces a stored reading. A file is treated as an
answer whose request time is the time when the file was created. It is stored in parts, which are listed as one answer.

Clocks of workers differ. A request time up to ``CLOCK_ERROR`` in the future counts. A later time is wrong and says
nothing about the order of answers: an answer with such a time only fills empty places, and the days on which it
contradicts another answer are requested again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from worker.domain import messages
from worker.domain.completeness import civil_day_of, covered_time_by_day, last_day_of, open_days
from worker.domain.consistency import beyond
from worker.domain.documents import (
    ALL_KEYS,
    DAILY_LIMIT_KWH,
    Document,
    Entry,
    KeyRange,
    find_replaced,
    key_of,
    key_range,
    settle,
    shift_key,
    to_entry,
    to_timestamp,
    touched_window,
)
from worker.domain.messages import AnswerFacts, Changes, WindowJob, WindowResult
from worker.domain.series import Doctype
from worker.domain.totals import compare_states, keep_changed, total_entries
from worker.domain.windows import DateWindow, merge_spans

_AN_HOUR: Final = timedelta(hours=1)
MOST_LISTED: Final = 8
_A_DAY_US: Final = 24 * 3600 * 1_000_000
CLOCK_ERROR: Final = timedelta(minutes=5)


class Answered(NamedTuple):
    """A stored answer: ``asked_us`` is the moment of the request in µs since 1970."""

    asked_us: int
    window: DateWindow

    @classmethod
    def of(cls, job: WindowJob, facts: AnswerFacts) -> Answered:
        return cls(round(facts["asked_at"] * 1e6), messages.window_of(job))

    def __str__(self) -> str:
        return f"{self.window}@{self.asked_us}"

    def days_in(self, window: DateWindow) -> set[date]:
        common = self.window.overlap(window)
        return set(common.dates()) if common else set()


@dataclass(frozen=True, slots=True)
class RecentAnswers:
    """The recent answers of one series, in the order of their requests.

    ``forgotten_us``: the request time of the newest answer that isn't listed any more; 0 if all are listed.
    """

    answers: tuple[Answered, ...] = ()
    forgotten_us: int = 0

    @classmethod
    def parse(cls, text: str) -> RecentAnswers:
        """Parse a text that ``str`` returned; an empty text means no answers. Raises ValueError for other texts."""
        if not text:
            return cls()
        forgotten, *answers = text.split(" ")
        parts = [answer.split("@") for answer in answers]
        return cls(tuple(Answered(int(asked), DateWindow.parse(window)) for window, asked in parts), int(forgotten))

    def __str__(self) -> str:
        return " ".join([str(self.forgotten_us), *map(str, self.answers)])

    def with_answer(self, answer: Answered) -> RecentAnswers:
        """Return these answers plus ``answer``, without the answers that needn't be listed any more."""
        return self._keep_latest({*self.answers, answer})

    def with_part(self, answer: Answered) -> RecentAnswers:
        """Return these answers with one more part of a file, merged with the earlier parts of this file."""
        return self._keep_latest(_merge_parts({*self.answers, answer}, answer.asked_us))

    def _keep_latest(self, all_answers: Iterable[Answered]) -> RecentAnswers:
        answers = sorted(all_answers)
        oldest_us = answers[-1].asked_us - _A_DAY_US
        kept = [listed for listed in answers if listed.asked_us >= oldest_us][-MOST_LISTED:]
        forgotten = [listed.asked_us for listed in answers[: len(answers) - len(kept)]]
        return RecentAnswers(tuple(kept), max([self.forgotten_us, *forgotten]))

    def days_answered_later(self, answer: Answered, latest_us: int) -> set[date]:
        """Return the days of an answer that are also covered by an answer requested later.

        If an unlisted answer was requested later, all days are returned: its days are unknown. An answer with a request
        time after ``latest_us`` doesn't count.
        """
        if answer.asked_us < self.forgotten_us <= latest_us:
            return set(answer.window.dates())
        return self.days_listed_later(answer, latest_us)

    def days_listed_later(self, answer: Answered, latest_us: int) -> set[date]:
        """Return the days of an answer that are also covered by a listed answer requested later.

        The days of unlisted answers are unknown.
        """
        later = (listed for listed in self.answers if answer.asked_us < listed.asked_us <= latest_us)
        return {day for listed in later for day in listed.days_in(answer.window)}

    def days_beyond(self, window: DateWindow, latest_us: int) -> set[date]:
        """Return the days of a window that are also covered by an answer requested after ``latest_us``."""
        return {day for listed in self.answers if listed.asked_us > latest_us for day in listed.days_in(window)}

    def days_in_doubt(self, finished: FinishedAnswer) -> set[date]:
        """Return the days to request again, because it isn't certain that the latest answer for them was stored."""
        answer, unseen = finished.answer, set(self.answers) - set(finished.seen.answers) - {finished.answer}
        if self.forgotten_us > finished.seen.forgotten_us:
            return set(answer.window.dates())  # An answer that ``answer`` didn't see may have left the list.
        # Each unseen answer was compared with the store at the same time as ``answer``: neither saw the other's values.
        # If ``answer`` wrote nothing, only an unseen answer that wasn't requested later may have replaced newer values.
        crossing = {other for other in unseen if finished.wrote or other.asked_us <= answer.asked_us}
        if finished.overwrote:
            crossing |= {other for other in self.answers if other.asked_us == answer.asked_us} - {answer}
        return set(finished.late_days).union(*(other.days_in(answer.window) for other in crossing))


def _merge_parts(answers: Collection[Answered], asked_us: int) -> Iterator[Answered]:
    """Yield the answers; answers requested at ``asked_us`` are merged into one if their windows touch."""
    yield from (answer for answer in answers if answer.asked_us != asked_us)
    windows = [(one.window.start, one.window.end) for one in answers if one.asked_us == asked_us]
    yield from (Answered(asked_us, DateWindow(*span)) for span in merge_spans(windows))


@dataclass(frozen=True, slots=True)
class FinishedAnswer:
    """What an answer has changed in the store.

    ``seen``: the recent answers that were known when ``answer`` was compared with the store. ``wrote``: whether
    ``answer`` changed the store. ``overwrote``: whether ``answer`` replaced or removed a value. ``late_days``: the days
    on which a value of ``answer`` was skipped because of a later answer, or overwrote a value although an answer with a
    wrong time covers the day. ``changed_days``: the days on which ``answer`` wrote a value.
    """

    answer: Answered
    seen: RecentAnswers
    wrote: bool
    overwrote: bool
    late_days: frozenset[date]
    changed_days: frozenset[date] = frozenset()

    @classmethod
    def of(cls, result: WindowResult) -> FinishedAnswer:
        """Read from a window's result what its answer has changed."""
        replaced = result["updated"] + result["removed"]
        return cls(
            answer=Answered.of(result, result["facts"]),
            seen=RecentAnswers.parse(result["seen"]),
            wrote=bool(result["created"] + replaced),
            overwrote=bool(replaced),
            late_days=frozenset(map(date.fromisoformat, result["late_days"])),
            changed_days=frozenset(map(date.fromisoformat, result["changed_days"])),
        )


def ranges_to_read(job: WindowJob) -> dict[Doctype, KeyRange]:
    """Return the keys to read: first those of the affected totals, then those of all readings in these totals.

    The store reads in this order: if another run writes in between, our write of the total is refused.

    For a load curve the ranges begin an hour earlier and end an hour later, because a step may span midnight. For
    states and billed periods all rows are read: they are few, and the row next to a day may be years away.
    """
    series, window = messages.series_of(job), messages.window_of(job)
    if series.is_state or series.has_intervals:
        return {series.inputs: ALL_KEYS}
    windows = {**dict.fromkeys(series.totals, window), series.inputs: touched_window(window, series)}
    ranges = {doctype: key_range(part, doctype) for doctype, part in windows.items()}
    if not series.has_steps:
        return ranges
    return {
        doctype: (shift_key(first, -_AN_HOUR), shift_key(end, _AN_HOUR)) for doctype, (first, end) in ranges.items()
    }


class Known(NamedTuple):
    """What an answer is compared with: the recent answers, and the stored ``documents`` of ``ranges_to_read``.

    The recent answers must be read first. Otherwise an answer stored in between would be listed without its documents.
    """

    recent: RecentAnswers
    documents: Mapping[Doctype, Sequence[Document]]


def compare(
    job: WindowJob,
    entries: Sequence[Entry],
    facts: AnswerFacts,
    known: Known,
    now: datetime,
    daily_limit_kwh: float = DAILY_LIMIT_KWH,
    contracts: Sequence[Entry] = (),
) -> Changes:
    """Return the entries that the store lacks or has with another value, and the changes of their totals.

    New values above what a meter can deliver are not stored but set aside (rule K7). A stored daily value is removed if
    it is above ``daily_limit_kwh`` and also above what the contract allows. Other stored values stay, however high.
    """
    series, window, ranges = messages.series_of(job), messages.window_of(job), ranges_to_read(job)
    recent, inputs = known.recent, known.documents[series.inputs]
    stored = {entry.key: entry for entry in map(to_entry, inputs)}
    latest = now + CLOCK_ERROR
    later_keys = _later_keys(job, inputs, facts, recent, latest)
    if series.is_state:
        # A later answer with an unchanged state wrote no row, so only the recent answers show that it covers a day.
        listed = recent.days_listed_later(Answered.of(job, facts), _to_us(latest))
        return _compare_states(job, entries, facts, stored, recent, later_keys | {str(day) for day in listed})
    # A stored period, or a step, that begins before the window may cover days of the window.
    reach_in = series.has_intervals or series.has_steps
    first_key, end_key = key_range(window, series.inputs)
    in_window = [entry for key, entry in stored.items() if reach_in or first_key <= key < end_key]
    out_of_order = find_replaced(inputs) if reach_in else []
    out_of_order_keys = {entry.key for entry in out_of_order}
    in_order = [entry for entry in in_window if entry.key not in out_of_order_keys]
    # An impossible value doesn't count as a reading, even if it was stored before.
    impossible = beyond(series, in_order, daily_limit_kwh) if series.has_daily_limit else {}
    impossible = beyond(series, (stored[key] for key in impossible), daily_limit_kwh, contracts)
    unreal = [stored[key] for key in impossible]
    doubtful_days = facts["set_aside"].items() if series.has_daily_limit else ()
    entries = sorted([*entries, *(Entry(day, amount) for day, amount in doubtful_days)])
    told_anew = keep_changed(entries, {key: entry for key, entry in stored.items() if key not in impossible})
    refused = beyond(series, (one for one in told_anew if one.key not in later_keys), daily_limit_kwh, contracts)
    set_aside = Counter[str]()
    for key, amount in refused.items():
        set_aside[str(civil_day_of(key, series))] += amount
    entries = [entry for entry in entries if entry.key not in refused]
    settled = settle(entries, in_order, later_keys)
    changed = list(keep_changed(settled.entries, stored))
    held_keys = {entry.key for entry in settled.entries}
    replaced = [entry for entry in (*out_of_order, *settled.replaced, *unreal) if entry.key not in held_keys]
    gone_keys = {entry.key for entry in (*changed, *replaced)}
    rest = [entry for key, entry in stored.items() if key not in gone_keys]
    asked_for = [*changed, *(entry for entry in in_window if entry.key not in gone_keys)]
    overwritten = [entry for entry in (*changed, *replaced) if entry.key in stored]
    doubtful = {civil_day_of(entry.key, series) for entry in overwritten} & recent.days_beyond(window, _to_us(latest))
    late_days = doubtful | {civil_day_of(entry.key, series) for entry in settled.late}
    return Changes(
        **messages.job_of(job),
        changed=changed,
        unchanged=len(settled.entries) - len(changed),
        replaced=replaced,
        reshaped=sorted(settled.reshaped),
        answer=[entry.reading for entry in entries] if settled.reshaped else [],
        left_out=settled.left_out,
        seen=str(recent),
        late_days=sorted(day.isoformat() for day in late_days),
        stored_totals={doctype.value: list(map(to_entry, known.documents[doctype])) for doctype in series.totals},
        rest={doctype.value: _sums_within(ranges[doctype], rest, doctype) for doctype in series.totals},
        facts={
            **facts,
            "fetched": len(entries),
            "set_aside": set_aside,
            "last_day": max((str(last_day_of(entry, series)) for entry in entries), default=None),
            "open": open_days(window, covered_time_by_day(series, asked_for)),
        },
    )


def depend_on_contract(changes: Changes, daily_limit_kwh: float) -> bool:
    """Return whether these changes, which were computed without the contract, might be different with the contract.

    This is so if a value above twice the power of the smallest contract would be written, or if a value was set aside,
    or if a daily value is removed.
    """
    series = messages.series_of(changes)
    # The energy at twice the smallest contract's power, 3 kVA: in the shortest day, or, for steps, in 12 hours, because
    # ``most_of`` spreads a limit over 12 hours.
    smallest_kwh = 2 * 3 * (12 if series.has_steps else 23)
    high = beyond(series, messages.to_entries(changes["changed"]), min(daily_limit_kwh, smallest_kwh))
    return bool(high or changes["facts"]["set_aside"] or (series.has_daily_limit and changes["replaced"]))


def _compare_states(
    job: WindowJob,
    entries: Sequence[Entry],
    facts: AnswerFacts,
    stored: Mapping[str, Entry],
    recent: RecentAnswers,
    later_keys: Collection[str],
) -> Changes:
    """Return the changes of a series of states (see ``totals``).

    Each day of the answer counts as stored, even if its state needs no row of its own.
    """
    series = messages.series_of(job)
    changes = compare_states(entries, stored, later_keys)
    return Changes(
        **messages.job_of(job),
        changed=changes.changed,
        unchanged=len(entries) - len(changes.late) - len(changes.changed),
        replaced=changes.gone,
        reshaped=[],
        answer=[],
        left_out=len(changes.late),
        seen=str(recent),
        late_days=sorted(entry.key for entry in changes.late),
        stored_totals={},
        rest={},
        facts={**facts, "open": open_days(messages.window_of(job), covered_time_by_day(series, entries))},
    )


def _later_keys(
    job: WindowJob, documents: Iterable[Document], facts: AnswerFacts, recent: RecentAnswers, latest: datetime
) -> set[str]:
    """Return the keys of the stored readings that an answer requested later has written or confirmed.

    ``latest``: the latest believable request time. If this answer's request time is after it, the clock of the answer's
    worker was wrong, and all stored readings count as later.
    """
    series, answer = messages.series_of(job), Answered.of(job, facts)
    if not series.has_steps:
        # A day computed from the curve is left out: no answer wrote it, so it can't be a later answer's.
        documents = [document for document in documents if "step" not in document]
    if answer.asked_us > _to_us(latest):
        return {key_of(document) for document in documents}
    later_days = recent.days_answered_later(answer, _to_us(latest))
    # These texts have one format and are in UTC, so they can be compared like times.
    fetched_at, latest_text = facts["fetched_at"], to_timestamp(latest)
    return {
        key
        for document in documents
        if fetched_at < document["updated_at"] <= latest_text
        or (later_days and civil_day_of(key_of(document), series) in later_days)
        for key in [key_of(document)]
    }


def _sums_within(keys: KeyRange, entries: Iterable[Entry], doctype: Doctype) -> dict[str, int]:
    """Return the sums of the entries by the key of their total, for totals with a key in the range ``keys``."""
    first_key, end_key = keys
    return {key: energy for key, energy in total_entries(entries, doctype).items() if first_key <= key < end_key}


def _to_us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)
