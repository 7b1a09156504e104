"""What the supplier answered last: a few short notes beside the state of a series.

One note for each kind of answer and of run (when, and for which window), so they stay few however often is asked;
an outage does not hide the last good answer, nor a window of the history the night's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final

from worker.domain.measures.readings import PARIS, DateWindow
from worker.errors import (
    ConsentRevoked,
    HolderChanged,
    LoginFailed,
    MalformedAnswer,
    OperatorFault,
    RateLimited,
    StoreUnavailable,
    SupplierUnavailable,
    UnknownUsagePoint,
    WorkerError,
)

_FIELD: Final = "answer"
BY_HAND: Final = "hand"


class AnswerClass(StrEnum):
    DATA = "data"
    NO_DATA = "no_data"
    UNUSABLE = "unusable"  # points came, and none could be used
    BEFORE_HISTORY = "before_history"
    QUOTA = "quota"  # ours or the supplier's: no call was made, or it was sent away
    OUTAGE = "outage"
    CONSENT = "consent"
    HOLDER = "holder"
    METER = "meter"
    LOGIN = "login"
    MALFORMED = "malformed"
    APPLICATION = "application"  # our credentials or subscription
    STORE = "store"  # our own: nothing was wrong with the answer
    BUG = "bug"

    @property
    def brought_readings_or_none(self) -> bool:
        """Whether it is an answer to the question, be it an empty one."""
        return self in (AnswerClass.DATA, AnswerClass.NO_DATA, AnswerClass.BEFORE_HISTORY)


_OF_ERRORS: Final[dict[type[WorkerError], AnswerClass]] = {
    RateLimited: AnswerClass.QUOTA,
    SupplierUnavailable: AnswerClass.OUTAGE,
    StoreUnavailable: AnswerClass.STORE,
    ConsentRevoked: AnswerClass.CONSENT,
    HolderChanged: AnswerClass.HOLDER,
    UnknownUsagePoint: AnswerClass.METER,
    LoginFailed: AnswerClass.LOGIN,
    MalformedAnswer: AnswerClass.MALFORMED,
    OperatorFault: AnswerClass.APPLICATION,
}


@dataclass(frozen=True, slots=True)
class Call:
    """``run``: what it was made for, like nightly, backfill or repair."""

    at: datetime
    window: DateWindow
    answer: AnswerClass
    run: str = BY_HAND

    def holds(self, day: date) -> bool:
        return self.window.start <= day < self.window.end


def class_of_error(error: WorkerError) -> AnswerClass:
    """What is not foreseen is our bug."""
    return next((found for kind, found in _OF_ERRORS.items() if isinstance(error, kind)), AnswerClass.BUG)


def class_of_answer(fetched: int, dropped: int, floor: date | None) -> AnswerClass:
    """``floor``: the first day that the supplier has anything of, where it was found out."""
    if fetched:
        return AnswerClass.DATA
    if dropped:
        return AnswerClass.UNUSABLE
    return AnswerClass.BEFORE_HISTORY if floor else AnswerClass.NO_DATA


def run_of(claim: str | None) -> str:
    """``nightly`` of ``daily/nightly:2024-07-25``; kinds of runs are few."""
    return claim.partition("/")[2].partition(":")[0] if claim else BY_HAND


def call_note(call: Call) -> dict[str, str]:
    """The field of a series' state that keeps it."""
    at = call.at.astimezone(UTC).isoformat(timespec="seconds")
    return {f"{_FIELD}:{call.answer}:{call.run}": f"{at} {call.window}"}


def read_calls(state: Mapping[str, str]) -> list[Call]:
    """What was noted, newest first."""
    calls = []
    for name, text in state.items():
        if name.startswith(f"{_FIELD}:"):
            _, answer, run = name.split(":", 2)
            at, _, window = text.partition(" ")
            calls.append(Call(datetime.fromisoformat(at), DateWindow.parse(window), AnswerClass(answer), run))
    return sorted(calls, key=lambda call: call.at, reverse=True)


def standing_failure(
    calls: Iterable[Call], day: date, asked_on: date | None, last_success: datetime | None
) -> AnswerClass | None:
    """Why the last try for a day brought no answer; None where it did.

    ``asked_on``: when the day was last answered, told by its ledger: notes of good answers may have been
    overwritten by those for other windows.
    """
    last = max((call for call in calls if call.holds(day)), key=lambda call: call.at, default=None)
    if last is None or last.answer.brought_readings_or_none:
        return None
    failed_on = last.at.astimezone(PARIS).date()
    if asked_on is not None and failed_on < asked_on:
        return None
    if asked_on == failed_on and last_success is not None and last.at < last_success:
        return None
    return last.answer
