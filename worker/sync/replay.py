"""The replay of stored answers after the parser was corrected: no supplier is asked.

Each answer is parsed again and goes through the steps of ``worker.sync.window``. Readings carry the time of their
answer, so the value of a later answer stays, a changed value is recorded as a correction, and a second replay changes
nothing. The states of the last runs stay as they are, because a replay is not a run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final

from worker.domain import messages
from worker.domain.comparison import RecentAnswers
from worker.domain.completeness import UNKNOWN, DayLedger, DayMark, DayState, mark_days
from worker.domain.documents import Entry
from worker.domain.messages import WindowJob, WindowResult, Writes, to_job
from worker.domain.windows import DateWindow, civil_date
from worker.errors import MalformedAnswer, StoreUnavailable
from worker.stores.registry.outcomes import CompletenessTable
from worker.stores.registry.supplier_answers import RawAnswerTable
from worker.sync.results import ResultRecorder
from worker.sync.window import MAX_RACES, WindowSync

log = logging.getLogger("releve.replay")
_NOT_EXPECTED: Final = (DayState.ABSENT, DayState.BEFORE)


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


@dataclass(frozen=True, kw_only=True)
class Replayer:
    """A replayer of stored answers through ``window_sync``, which records corrections and the marks of days only."""

    window_sync: WindowSync
    raw_answers: RawAnswerTable
    recorder: ResultRecorder
    ledgers: CompletenessTable

    def replay_account(self, account_id: str, run_id: str, wanted: DateWindow | None = None) -> ReplayCounts:
        """Replay the days of ``wanted`` of all answers, or all of them, oldest first; safe to repeat.

        So the answer asked for last holds at the end.

        Raises UnknownAccount or TransientError; then the answers replayed before stay replayed.
        """
        window_sync = replace(self.window_sync, recorder=_ReplayRecorder(self.recorder, self.ledgers))
        counts = ReplayCounts(account_id)
        for kept in self.raw_answers.read_answers(account_id):
            answer = kept.clip_to(wanted) if wanted else kept
            if answer is None:
                continue
            counts.answers += 1
            try:
                result = window_sync.replay(to_job(account_id, answer.series, answer.window, run_id, None), answer)
            except MalformedAnswer as error:
                counts.unreadable += 1
                log.warning("answer unreadable account_id=%s window=%s reason=%s", account_id, answer.window, error)
                continue
            counts.created += result["created"]
            counts.updated += result["updated"]
            counts.removed += result["removed"]
            counts.unchanged += result["unchanged"]
        return counts


@dataclass(frozen=True)
class _ReplayRecorder:
    """A recorder of corrections and of the ledger of days; it records nothing of the run."""

    recorder: ResultRecorder
    ledgers: CompletenessTable

    def recent_answers(self, job: WindowJob) -> RecentAnswers:
        """Return none: a replayed answer corrects what it wrote itself, and later ones are replayed after it."""
        return RecentAnswers()

    def record_corrections(self, writes: Writes, entries: Sequence[Entry]) -> None:
        self.recorder.record_corrections(writes, entries)

    def record_result(self, result: WindowResult) -> None:
        account_id, series, facts = result["account_id"], messages.series_of(result), result["facts"]
        window = messages.window_of(result)
        asked_on = civil_date(datetime.fromisoformat(facts["fetched_at"]))
        floor = date.fromisoformat(facts["floor"]) if facts["floor"] else None
        marks = mark_days(window, facts["open"], asked_on, floor, facts["set_aside"], series.description.open_days)
        # Another process may change the ledger between the two calls: then the marks are merged again.
        for _ in range(MAX_RACES):
            known = self.ledgers.load_ledger(account_id, series)
            changes = dict(_changed_marks(known, marks))
            if not changes or self.ledgers.replace_if_unchanged(account_id, series, known, known.with_marks(changes)):
                return
        raise StoreUnavailable("other processes are changing the days of this series: try again later")


def _changed_marks(known: DayLedger, marks: Mapping[date, DayMark]) -> Iterable[tuple[date, DayMark]]:
    """Yield the marks that an old answer changes; a later request for the same day is not forgotten."""
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
