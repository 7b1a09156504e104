"""Answers of an unexpected shape are detected and quarantined here, and replayed once the parser is corrected.

The watch checks answers before they are parsed, but refuses no answer; that is the parser's task. A deviation goes to
the quarantine, with one notice to the operator. A new field would come with every answer of a night. To spare the
registry, each process counts a deviation by itself, and writes its count at most once a minute.

The replay doesn't call the supplier. Each stored answer is parsed again and goes through the steps of
``worker.sync.window``. Readings carry the time of their answer, so values from later answers stay, a changed value is
recorded as a correction, and a second replay changes nothing. The states of the last runs stay as they are, because a
replay is not a run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from threading import Lock
from typing import Final

from worker.clients.answer_shapes import AnswerShape, find_deviations
from worker.domain import messages
from worker.domain.answers import Deviation, DeviationKind, RawAnswer, size_of
from worker.domain.comparison import RecentAnswers
from worker.domain.completeness import UNKNOWN, DayLedger, DayMark, DayState, mark_days
from worker.domain.documents import Entry
from worker.domain.messages import WindowJob, WindowResult, Writes, to_job
from worker.domain.notice import Notice, NoticeKind
from worker.domain.series import Series
from worker.domain.windows import DateWindow, civil_date
from worker.errors import MalformedAnswer, StoreUnavailable
from worker.stores.registry import notices
from worker.stores.registry.outcomes import CompletenessTable
from worker.stores.registry.supplier_answers import QuarantineResult, QuarantineTable, RawAnswerTable
from worker.sync.window import Recorder, WindowSync

log = logging.getLogger("releve.answers")
replay_log = logging.getLogger("releve.replay")
_WRITE_EVERY: Final = timedelta(minutes=1)
_TOO_LARGE: Final = Deviation(DeviationKind.SHAPE, "answer", "far too large")
# Bounds the memory if a supplier sends a new deviation each time.
_MAX_COUNTS: Final = 1000
_NOT_EXPECTED: Final = (DayState.ABSENT, DayState.BEFORE)


@dataclass
class _Count:
    """How often a deviation was seen since its count was written, and when the count may be written again."""

    unwritten: int = 0
    due: datetime | None = None


@dataclass(kw_only=True)
class AnswerWatch:
    """Checks answers and reports deviations; thread-safe.

    ``channels``: the channels of notices. ``presets``: the preset used with each supplier, by the supplier's name.
    ``shapes``: the answers that suppliers are expected to send. ``raw_answers``: keeps whole answers; None if they are
    not kept.
    """

    quarantine: QuarantineTable
    channels: Sequence[str]
    presets: Mapping[str, str]
    now: Callable[[], datetime]
    shapes: Mapping[Series, Sequence[AnswerShape]]
    raw_answers: RawAnswerTable | None = None
    _counts: dict[str, _Count] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def record_answer(self, account_id: str, answer: RawAnswer) -> None:
        """Keep an answer, unless it is far too large, and check it."""
        # A year of all registers has half this size. Checking a larger answer could take a kilobyte of memory for each
        # deviating value.
        is_large = sum(size_of(body) for _, body in answer.pieces) > 2 * 1024**2
        if self.raw_answers is not None and not is_large:
            self.raw_answers.record_answer(account_id, answer)
        for _, body in answer.pieces:
            for deviation in [_TOO_LARGE] if is_large else find_deviations(body, self.shapes[answer.series]):
                self.report_deviation(deviation, answer.series.description.supplier)

    def report_deviation(self, deviation: Deviation, supplier: str) -> None:
        """Count a deviation of a supplier's answer, and write the count if it is due.

        If the registry is down, the count is written later: a deviation must not stop a reading.
        """
        now = self.now()
        times = self._take_count(deviation.fingerprint, now)
        if not times:
            return
        try:
            result = self.quarantine.record(
                deviation, times, self.presets[supplier], now, lambda result: self._notices(deviation, result)
            )
        except StoreUnavailable as error:
            self._restore_count(deviation.fingerprint, times)
            log.warning("an unknown answer could not be recorded fingerprint=%s: %s", deviation.fingerprint, error)
            return
        if result is not QuarantineResult.KNOWN:
            log.error(
                "the supplier sent an unknown field, shape or value kind=%s fingerprint=%s%s: `releve quarantine`",
                deviation.kind,
                deviation.fingerprint,
                " (the quarantine is full)" if result is QuarantineResult.FULL else "",
            )

    def _take_count(self, fingerprint: str, now: datetime) -> int:
        """Count a deviation once more, and return the count to write now; 0 if writing must wait."""
        with self._lock:
            if len(self._counts) >= _MAX_COUNTS and fingerprint not in self._counts:
                self._counts.clear()
            count = self._counts.setdefault(fingerprint, _Count())
            count.unwritten += 1
            if count.due is not None and now < count.due:
                return 0
            times, count.unwritten, count.due = count.unwritten, 0, now + _WRITE_EVERY
            return times

    def _restore_count(self, fingerprint: str, times: int) -> None:
        with self._lock:
            count = self._counts.setdefault(fingerprint, _Count())
            count.unwritten, count.due = count.unwritten + times, None

    def _notices(self, deviation: Deviation, result: QuarantineResult) -> list[Notice]:
        """Return one notice per channel: for each new deviation, and once a day while the quarantine is full."""
        now = self.now()
        if result is QuarantineResult.FULL:
            reason, subject = "quarantine_full", civil_date(now).isoformat()
        else:
            reason, subject = deviation.kind.value, f"{deviation.fingerprint}@{now.isoformat(timespec='seconds')}"
        return notices.build_notices(self.channels, NoticeKind.SUPPLIER_CHANGED, reason, subject, now)


@dataclass
class ReplayCounts:
    """The counts of an account's replay.

    ``answers``: answers parsed again. ``created``, ``updated``, ``removed``, ``unchanged``: documents. ``unreadable``:
    answers that the parser still refuses.
    """

    account_id: str
    answers: int = 0
    created: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    unreadable: int = 0


def replay_account(
    window_sync: WindowSync,
    raw_answers: RawAnswerTable,
    ledgers: CompletenessTable,
    account_id: str,
    run_id: str,
    wanted: DateWindow | None = None,
) -> ReplayCounts:
    """Replay all answers; with ``wanted``, only their days within this window. Safe to repeat.

    The oldest answer comes first, so that the newest answer's values are stored last. Only corrections and the marks of
    days are recorded.

    Raises UnknownAccount or TransientError; answers replayed before the error stay stored.
    """
    replaying = replace(window_sync, recorder=_ReplayRecorder(window_sync.recorder, ledgers))
    counts = ReplayCounts(account_id)
    for kept in raw_answers.read_answers(account_id):
        answer = kept.clip_to(wanted) if wanted else kept
        if answer is None:
            continue
        counts.answers += 1
        try:
            result = replaying.replay(to_job(account_id, answer.series, answer.window, run_id, None), answer)
        except MalformedAnswer as error:
            counts.unreadable += 1
            replay_log.warning("answer unreadable account_id=%s window=%s reason=%s", account_id, answer.window, error)
            continue
        counts.created += result["created"]
        counts.updated += result["updated"]
        counts.removed += result["removed"]
        counts.unchanged += result["unchanged"]
    return counts


@dataclass(frozen=True)
class _ReplayRecorder:
    """Records corrections and the marks of days, but nothing about the run."""

    recorder: Recorder
    ledgers: CompletenessTable

    def recent_answers(self, job: WindowJob) -> RecentAnswers:
        """Return no answers, so that a replayed answer may replace the values that it stored itself.

        With the recorded answers, its values on the days of a later answer would stay. Later answers are replayed next.
        """
        return RecentAnswers()

    def record_corrections(self, writes: Writes, entries: Sequence[Entry]) -> None:
        self.recorder.record_corrections(writes, entries)

    def withdraw_corrections(self, job: WindowJob, stored: Mapping[str, int]) -> None:
        self.recorder.withdraw_corrections(job, stored)

    def record_result(self, result: WindowResult) -> None:
        account_id, series, facts = result["account_id"], messages.series_of(result), result["facts"]
        window = messages.window_of(result)
        asked_on = civil_date(datetime.fromisoformat(facts["fetched_at"]))
        floor = date.fromisoformat(facts["floor"]) if facts["floor"] else None
        marks = mark_days(window, facts["open"], asked_on, floor, facts["set_aside"], series.description.open_days)
        self.ledgers.change(account_id, series, lambda known: known.with_marks(dict(_changed_marks(known, marks))))


def _changed_marks(known: DayLedger, marks: Mapping[date, DayMark]) -> Iterable[tuple[date, DayMark]]:
    """Yield the marks that a replayed answer changes; an open day keeps the age at which it was last requested."""
    for day, mark in marks.items():
        before = known.mark_of(day)
        if mark.complete and before.complete:
            merged = before
        elif not mark.open or before == UNKNOWN:
            merged = before if mark.state in _NOT_EXPECTED and before != UNKNOWN else mark
        elif before.state in _NOT_EXPECTED and mark.state is DayState.LATE:
            merged = before
        else:
            ages = [age for age in (mark.asked_at_age, before.asked_at_age) if age is not None]
            merged = DayMark(mark.state, mark.half_hours, max(ages, default=None))
        if merged != before:
            yield day, merged
