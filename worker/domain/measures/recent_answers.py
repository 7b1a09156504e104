"""When a series was asked for lately, so that of two answers the one that was asked for last holds (rule K6).

A document has the time of the answer that wrote it. An answer that confirms it writes nothing, so its time is kept
here, as one short text for each account and series:

    1721890000123456 2024-06-25/2024-07-25@1721976400123456 2024-07-18/2024-07-25@1721980000123456

    1721890000123456    When the newest answer that is no longer listed was asked for, in µs since 1970; 0 for none.
    …/…@…               A window, and when the answer that was stored for it was asked for.

The answers of one day are listed, eight at most. One that was asked for before them loses wherever something is stored.
A file counts as an answer that was asked for when the file was made. It is stored in parts, which are listed as one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

from worker.domain.measures import messages
from worker.domain.measures.messages import AnswerFacts, WindowJob, WindowResult
from worker.domain.measures.readings import DateWindow, merge_spans

MOST: Final = 8
_A_DAY_US: Final = 24 * 3600 * 1_000_000


class Answered(NamedTuple):
    """A stored answer: ``asked_us`` is the moment of the question in µs since 1970."""

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
    """The answers of one series, in the order of asking."""

    answers: tuple[Answered, ...] = ()
    forgotten_us: int = 0

    @classmethod
    def parse(cls, text: str) -> RecentAnswers:
        """Read what ``str`` wrote; an empty text stands for none. Raises ValueError."""
        if not text:
            return cls()
        forgotten, *answers = text.split(" ")
        parts = [answer.split("@") for answer in answers]
        return cls(tuple(Answered(int(asked), DateWindow.parse(window)) for window, asked in parts), int(forgotten))

    def __str__(self) -> str:
        return " ".join([str(self.forgotten_us), *map(str, self.answers)])

    def with_answer(self, answer: Answered) -> RecentAnswers:
        """Return these answers and one more, without those that need not be listed any longer."""
        return self._keep_latest({*self.answers, answer})

    def with_part(self, answer: Answered) -> RecentAnswers:
        """Return the same with a part of a file, which is listed together with the parts before it."""
        return self._keep_latest(_merge_parts({*self.answers, answer}, answer.asked_us))

    def _keep_latest(self, all_answers: Iterable[Answered]) -> RecentAnswers:
        answers = sorted(all_answers)
        oldest_us = answers[-1].asked_us - _A_DAY_US
        kept = [listed for listed in answers if listed.asked_us >= oldest_us][-MOST:]
        forgotten = [listed.asked_us for listed in answers[: len(answers) - len(kept)]]
        return RecentAnswers(tuple(kept), max([self.forgotten_us, *forgotten]))

    def days_answered_later(self, answer: Answered, now_us: int) -> set[date]:
        """Return the days of an answer that were asked for after it.

        A time in the future comes from a wrong clock, then or now, and does not count.
        """
        if answer.asked_us < self.forgotten_us <= now_us:
            return set(answer.window.dates())
        return self.days_listed_later(answer, now_us)

    def days_listed_later(self, answer: Answered, now_us: int) -> set[date]:
        """Return the same without those that are no longer listed: of them no day is known."""
        later = (listed for listed in self.answers if answer.asked_us < listed.asked_us <= now_us)
        return {day for listed in later for day in listed.days_in(answer.window)}

    def days_in_doubt(self, finished: FinishedAnswer) -> set[date]:
        """Return the days that must be asked for again, because it is not sure that the later answer holds there."""
        answer, unseen = finished.answer, set(self.answers) - set(finished.seen.answers) - {finished.answer}
        if self.forgotten_us > finished.seen.forgotten_us:
            return set(answer.window.dates())  # One that was not seen may be listed no longer.
        # Two answers were compared with the store at the same time: each saw it without the other.
        crossing = {other for other in unseen if finished.wrote or other.asked_us <= answer.asked_us}
        if finished.overwrote:
            crossing |= {other for other in self.answers if other.asked_us == answer.asked_us} - {answer}
        return set(finished.late_days).union(*(other.days_in(answer.window) for other in crossing))


def _merge_parts(answers: Collection[Answered], asked_us: int) -> Iterator[Answered]:
    """Yield the answers, those of this moment whose windows touch as one."""
    yield from (answer for answer in answers if answer.asked_us != asked_us)
    windows = [(one.window.start, one.window.end) for one in answers if one.asked_us == asked_us]
    yield from (Answered(asked_us, DateWindow(*span)) for span in merge_spans(windows))


@dataclass(frozen=True, slots=True)
class FinishedAnswer:
    """What became of an answer.

    ``seen``: the answers known when it was compared with the store. ``wrote``: whether it changed the store;
    ``overwrote``: whether it replaced a value. ``late_days``: the days in which a later answer left a value of it out.
    ``changed_days``: the days of which it wrote a value.
    """

    answer: Answered
    seen: RecentAnswers
    wrote: bool
    overwrote: bool
    late_days: frozenset[date]
    changed_days: frozenset[date] = frozenset()

    @classmethod
    def of(cls, result: WindowResult) -> FinishedAnswer:
        """Return what a window's result says of its answer."""
        replaced = result["updated"] + result["removed"]
        return cls(
            answer=Answered.of(result, result["facts"]),
            seen=RecentAnswers.parse(result["seen"]),
            wrote=bool(result["created"] + replaced),
            overwrote=bool(replaced),
            late_days=frozenset(map(date.fromisoformat, result["late_days"])),
            changed_days=frozenset(map(date.fromisoformat, result["changed_days"])),
        )
