"""History read again from the answers that were kept, after a parser was mended: no supplier is asked.

Each answer takes the walk's own way from there on.  Readings carry the time of their answer, so a later answer's
value stands, what changes is kept as a correction, and a second replay finds nothing to do.  What the account's
owner and operator see of the last runs stays as it is: a replay is no run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final, Protocol

from worker.domain.measures import messages
from worker.domain.measures.answers import RawAnswer
from worker.domain.measures.completeness import UNKNOWN, DayState, Ledger, Mark, judge_days, unpack_open
from worker.domain.measures.documents import Entry
from worker.domain.measures.messages import WindowJob, WindowResult, Writes
from worker.domain.measures.readings import PARIS, DateWindow, Series
from worker.errors import MalformedAnswer
from worker.sync.window import WindowSync

log = logging.getLogger("releve.replay")

_GIVEN_UP: Final = (DayState.ABSENT, DayState.BEFORE)


class Corrections(Protocol):
    def correcting(self, work: Writes, entries: Sequence[Entry]) -> None: ...


class Ledgers(Protocol):
    def ledger(self, account_id: str, series: Series) -> Ledger: ...

    def exchange(self, account_id: str, series: Series, known: Ledger, ledger: Ledger) -> bool: ...


class KeptAnswers(Protocol):
    def told(self, account_id: str) -> Iterable[RawAnswer]: ...


@dataclass
class Replayed:
    """What came of an account's kept answers; ``unreadable``: still refused, as they were."""

    account_id: str
    answers: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    unreadable: int = 0


@dataclass(frozen=True)
class Replay:
    """``walk``: the house's own; only what it tells of its progress goes elsewhere."""

    walk: WindowSync
    kept: KeptAnswers
    corrections: Corrections
    ledgers: Ledgers

    def account(self, account_id: str, run_id: str, wanted: DateWindow | None = None) -> Replayed:
        """Read again what was told of the days ``wanted``, oldest answer first.  Safe to repeat.

        Raises UnknownAccount or TransientError; what was read again until then stays, and is right.
        """
        walk = replace(self.walk, progress=_Quietly(self.corrections, self.ledgers))
        done = Replayed(account_id)
        for told in self.kept.told(account_id):
            if wanted is not None and not (told.window.start < wanted.end and wanted.start < told.window.end):
                continue
            done.answers += 1
            try:
                report = walk.replay(_origin(account_id, run_id, told), told)
            except MalformedAnswer as error:
                done.unreadable += 1
                log.warning("answer unreadable account_id=%s window=%s reason=%s", account_id, told.window, error)
                continue
            done.created += report["created"]
            done.updated += report["updated"]
            done.unchanged += report["unchanged"]
        return done


def _origin(account_id: str, run_id: str, told: RawAnswer) -> WindowJob:
    return WindowJob(
        account_id=account_id,
        series=told.series.value,
        start=told.window.start.isoformat(),
        end=told.window.end.isoformat(),
        run_id=run_id,
        claim=None,
    )


@dataclass(frozen=True)
class _Quietly:
    """A Progress that keeps corrections and the ledger of days, and nothing of the run."""

    corrections: Corrections
    ledgers: Ledgers

    def correcting(self, work: Writes, entries: Sequence[Entry]) -> None:
        self.corrections.correcting(work, entries)

    def finished(self, report: WindowResult) -> None:
        account_id, series, facts = report["account_id"], messages.series_of(report), report["facts"]
        window = messages.window_of(report)
        asked_on = datetime.fromisoformat(facts["fetched_at"]).astimezone(PARIS).date()
        floor = date.fromisoformat(facts["floor"]) if facts["floor"] else None
        judged = judge_days(series, window, unpack_open(window, facts["open"]), asked_on, floor)
        while news := dict(_news(known := self.ledgers.ledger(account_id, series), judged)):
            if self.ledgers.exchange(account_id, series, known, known.noting(news)):
                return

    def all_finished(self, reports: Sequence[WindowResult]) -> None:
        for report in reports:
            self.finished(report)


def _news(known: Ledger, judged: Mapping[date, Mark]) -> Iterable[tuple[date, Mark]]:
    """What an old answer tells of its days; that they were asked for again later is not forgotten."""
    for day, mark in judged.items():
        before = known.of(day)
        if not mark.open or before == UNKNOWN:
            merged = before if mark.state in _GIVEN_UP and before != UNKNOWN else mark
        elif before.state in _GIVEN_UP and mark.state is DayState.LATE:
            merged = before
        else:
            ages = [age for age in (mark.asked_at_age, before.asked_at_age) if age is not None]
            merged = Mark(mark.state, mark.half_hours, max(ages, default=None))
        if merged != before:
            yield day, merged
