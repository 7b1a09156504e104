"""The contract canary: what a supplier sends that nobody has told us of is kept apart, and its operator told once.

It looks at answers before they are read and stops none of them: the parser refuses what it must.  A process counts
for itself and writes a count it has written before at most once a minute, for one new field comes with every answer
of a night.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

from worker.domain.consent.consents import Notice, NoticeKind
from worker.domain.measures.answer_shapes import Deviation, look_at
from worker.domain.measures.answers import RawAnswer
from worker.domain.measures.readings import PARIS
from worker.errors import StoreUnavailable
from worker.stores.registry import consent_rows
from worker.stores.registry.unknown_answers import Noted, QuarantineTable

log = logging.getLogger("releve.contract")

_WRITE_EVERY: Final = timedelta(minutes=1)
_MOST_REMEMBERED: Final = 1000


@dataclass
class _Count:
    """Sightings not written yet, and when they may be."""

    unwritten: int = 0
    due: datetime | None = None


@dataclass
class AnswerWatch:
    """``channels``: over which notices go."""

    quarantine: QuarantineTable
    channels: Sequence[str]
    preset: str
    now: Callable[[], datetime]
    _counts: dict[str, _Count] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def answered(self, account_id: str, told: RawAnswer) -> None:
        """Look at an answer of measures."""
        for _, body in told.pieces:
            for surprise in look_at(body, told.series):
                self.report(surprise)

    def report(self, surprise: Deviation) -> None:
        """Count it, and keep it if that is due.  A registry that is down costs no reading: it is kept next time."""
        now = self.now()
        times = self._take(surprise.fingerprint, now)
        if not times:
            return
        try:
            noted = self.quarantine.note(
                surprise, times, self.preset, now, lambda noted: self._notices(surprise, noted)
            )
        except StoreUnavailable as error:
            self._give_back(surprise.fingerprint, times)
            log.warning("a surprise could not be kept fingerprint=%s: %s", surprise.fingerprint, error)
            return
        if noted is not Noted.KNOWN:
            log.error(
                "the supplier sends what nobody told us of kind=%s fingerprint=%s%s: `releve quarantine list`",
                surprise.kind,
                surprise.fingerprint,
                " (the quarantine is full)" if noted is Noted.FULL else "",
            )

    def _take(self, fingerprint: str, now: datetime) -> int:
        """How many sightings to write now; 0 for later."""
        with self._lock:
            if len(self._counts) >= _MOST_REMEMBERED and fingerprint not in self._counts:
                self._counts.clear()
            count = self._counts.setdefault(fingerprint, _Count())
            count.unwritten += 1
            if count.due is not None and now < count.due:
                return 0
            times, count.unwritten, count.due = count.unwritten, 0, now + _WRITE_EVERY
            return times

    def _give_back(self, fingerprint: str, times: int) -> None:
        with self._lock:
            count = self._counts.setdefault(fingerprint, _Count())
            count.unwritten, count.due = count.unwritten + times, None

    def _notices(self, surprise: Deviation, noted: Noted) -> list[Notice]:
        """Of each new surprise one a channel; of a full quarantine one a day."""
        now = self.now()
        if noted is Noted.FULL:
            reason, about = "quarantine_full", now.astimezone(PARIS).date().isoformat()
        else:
            reason, about = surprise.kind.value, f"{surprise.fingerprint}@{now.isoformat(timespec='seconds')}"
        kind = NoticeKind.SUPPLIER_CHANGED
        return [
            Notice(consent_rows.new_id(), None, kind, reason, about, channel, now, now) for channel in self.channels
        ]
