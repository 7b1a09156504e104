"""The watch over answers: deviations from the expected shape go to the quarantine, with one notice to the operator.

It checks answers before they are parsed and refuses none; that is the parser's task. A new field comes with every
answer of a night. Each process therefore counts by itself, and writes the count of a known deviation at most once a
minute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

from worker.clients.answer_shapes import AnswerShape, find_deviations
from worker.domain.answers import Deviation, RawAnswer
from worker.domain.consents import Notice, NoticeKind
from worker.domain.series import Series
from worker.domain.windows import civil_date
from worker.errors import StoreUnavailable
from worker.stores.registry import notices
from worker.stores.registry.supplier_answers import QuarantineResult, QuarantineTable, RawAnswerTable

log = logging.getLogger("releve.answers")
_WRITE_EVERY: Final = timedelta(minutes=1)
# Bounds the memory if a supplier sends a new deviation each time.
_MAX_COUNTS: Final = 1000


@dataclass
class _Count:
    """How often a deviation was seen since its count was written, and when it may be written again."""

    unwritten: int = 0
    due: datetime | None = None


@dataclass(kw_only=True)
class AnswerWatch:
    """An observer of answers; safe with threads.

    ``channels``: the channels of notices. ``presets``: the preset that is spoken to each supplier, by its name.
    ``shapes``: the answers that are expected of the suppliers.
    ``raw_answers``: where whole answers are kept, if they are.
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
        """Keep an answer of measures, and check it."""
        if self.raw_answers is not None:
            self.raw_answers.record_answer(account_id, answer)
        for _, body in answer.pieces:
            for deviation in find_deviations(body, self.shapes[answer.series]):
                self.report_deviation(deviation, answer.series.description.supplier)

    def report_deviation(self, deviation: Deviation, supplier: str) -> None:
        """Count a deviation of a supplier's answer, and write the count if that is due.

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
                "the supplier sent an unknown field, shape or value kind=%s fingerprint=%s%s: `releve quarantine list`",
                deviation.kind,
                deviation.fingerprint,
                " (the quarantine is full)" if result is QuarantineResult.FULL else "",
            )

    def _take_count(self, fingerprint: str, now: datetime) -> int:
        """Count once more, and return the count to write now; 0 if it must wait."""
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
        """Return one notice for each channel: of each new deviation, and once a day of a full quarantine."""
        now = self.now()
        if result is QuarantineResult.FULL:
            reason, subject = "quarantine_full", civil_date(now).isoformat()
        else:
            reason, subject = deviation.kind.value, f"{deviation.fingerprint}@{now.isoformat(timespec='seconds')}"
        return notices.build_notices(self.channels, NoticeKind.SUPPLIER_CHANGED, reason, subject, now)
