"""The last calls to the supplier for a series, each with its time, its window and its class of answer.

For each class of answer and kind of run, the last call for a series is kept as one field of the series' progress hash:

    answer:outage:nightly = 2024-07-25T04:12:09+00:00 2024-06-25/2024-07-25

So there are few fields, however many calls are made. A failed call doesn't replace the last good answer, and a call for
the history doesn't replace the last nightly call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final

from worker.domain.windows import DateWindow, civil_date

_FIELD: Final = "answer"
BY_HAND: Final = "hand"


class AnswerClass(StrEnum):
    """The classes of answers and failures of a call."""

    DATA = "data"
    NO_DATA = "no_data"
    UNUSABLE = "unusable"  # The answer had points, but none could be used.
    BEFORE_HISTORY = "before_history"
    QUOTA = "quota"  # Our own rate limit was reached, or the supplier answered 429.
    BANNED = "banned"  # A gateway has blocked our address.
    OUTAGE = "outage"
    CONSENT = "consent"
    HOLDER = "holder"
    METER = "meter"
    LOGIN = "login"
    TOKEN = "token"  # noqa: S105 - A gateway's token is missing, has ended or is refused.
    MALFORMED = "malformed"
    APPLICATION = "application"  # The supplier refuses our credentials or our subscription.
    STORE = "store"  # A store of ours failed; the answer itself was fine.
    BUG = "bug"

    @property
    def is_answer(self) -> bool:
        """Whether the supplier answered the request, even if there are no readings."""
        return self in (AnswerClass.DATA, AnswerClass.NO_DATA, AnswerClass.BEFORE_HISTORY)


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the supplier; ``run`` is its purpose, such as nightly, backfill, repair or hand."""

    at: datetime
    window: DateWindow
    answer: AnswerClass
    run: str = BY_HAND


def classify_answer(fetched: int, dropped: int, floor: date | None) -> AnswerClass:
    """Return the class of an answer; ``fetched`` and ``dropped``: the numbers of its usable and unusable points.

    ``floor``: the first day for which the supplier has data, if this call has found it.
    """
    if fetched:
        return AnswerClass.DATA
    if dropped:
        return AnswerClass.UNUSABLE
    return AnswerClass.BEFORE_HISTORY if floor else AnswerClass.NO_DATA


def call_to_fields(call: Call) -> dict[str, str]:
    """Return the field of the progress hash for this call."""
    at = call.at.astimezone(UTC).isoformat(timespec="seconds")
    return {f"{_FIELD}:{call.answer}:{call.run}": f"{at} {call.window}"}


def calls_from_fields(state: Mapping[str, str]) -> list[Call]:
    """Return the calls in the fields of a progress hash, newest first; fields of other kinds are ignored."""
    calls = []
    for name, text in state.items():
        if name.startswith(f"{_FIELD}:"):
            _, answer, run = name.split(":", 2)
            at, _, window = text.partition(" ")
            calls.append(Call(datetime.fromisoformat(at), DateWindow.parse(window), AnswerClass(answer), run))
    return sorted(calls, key=lambda call: call.at, reverse=True)


def last_failure(
    calls: Iterable[Call], day: date, asked_on: date | None, last_success: datetime | None
) -> AnswerClass | None:
    """Return why the last call for a day failed; None if the last call didn't fail or there was none.

    ``asked_on``: the date of the last answer for the day, from the ledger of days. ``calls`` may lack the call that got
    this answer: a newer call for another window may have replaced it. ``last_success``: when the series was last
    fetched successfully.
    """
    last = max((call for call in calls if day in call.window), key=lambda call: call.at, default=None)
    if last is None or last.answer.is_answer:
        return None
    failed_on = civil_date(last.at)
    if asked_on is not None and failed_on < asked_on:
        return None
    if asked_on == failed_on and last_success is not None and last.at < last_success:
        return None
    return last.answer
