"""How one window is put to a supplier who may find it too long, too early or too late.

Pure but for ``ask``, the one call it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date

from worker.domain.measures.answers import Answer, AnswerKind, Json
from worker.domain.measures.readings import ONE_DAY, DateWindow
from worker.domain.measures.windows import split_window
from worker.errors import RequestRefused

Ask = Callable[[DateWindow], Answer]


@dataclass
class SplitFetch:
    """What came of asking: the payloads with the days they are for, and how far the supplier reaches.

    ``floor``: first day the supplier answers for, where the window began before it.  ``end``: day after the
    last one that could be asked for.
    """

    ask: Ask = field(repr=False)  # it knows the meter
    payloads: list[tuple[DateWindow, Json]] = field(default_factory=list, repr=False)
    floor: date | None = None
    end: date | None = None

    def put(self, window: DateWindow) -> SplitFetch:
        """Ask for the whole window, in as many pieces as it takes.  Raises what ``ask`` raises."""
        self.end = window.end
        self._settle(window, self.ask(window))
        return self

    def _settle(self, window: DateWindow, answer: Answer) -> None:
        if answer.verdict is AnswerKind.DATA:
            self.payloads.append((window, answer.payload))
        elif answer.verdict is AnswerKind.BEFORE_HISTORY:
            self.floor = window.end
            for piece, accepted in ask_from_floor(self.ask, window):
                self.floor = piece.start
                self._settle(piece, accepted)
        elif answer.verdict is AnswerKind.TOO_LONG:
            for part in split_window(window, _shorter(window)):
                self._settle(part, self.ask(part))
        elif answer.verdict is AnswerKind.END_TOO_LATE and window.days > 1:
            self.end = window.end - ONE_DAY
            earlier = DateWindow(window.start, self.end)
            self._settle(earlier, self.ask(earlier))


def ask_from_floor(ask: Ask, refused: DateWindow) -> Iterator[tuple[DateWindow, Answer]]:
    """Find by halves the first day that the supplier answers for; give each accepted piece, newest first.

    ``refused`` was answered BEFORE_HISTORY: some day in it lies before activation, consent or the supplier's
    history, and which one is never told.  No day is given twice; a 365-day window takes at most 9 calls.
    """
    low, high = refused.start, refused.end
    while high - low > ONE_DAY:
        piece = DateWindow(low + (high - low) // 2, high)
        answer = ask(piece)
        if answer.verdict is AnswerKind.BEFORE_HISTORY:
            low = piece.start
        else:
            high = piece.start
            yield piece, answer


def _shorter(window: DateWindow) -> int:
    """7 days, refused now and then, are asked again as 6 (upstream-apis, 1.8); any other length is halved."""
    if window.days == 1:
        raise RequestRefused("the supplier calls a window of one day too long")
    return 6 if window.days == 7 else (window.days + 1) // 2
