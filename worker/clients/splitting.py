"""Split requests: how a window is fetched from a supplier that may find it too long, too early or too late."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import assert_never

from worker.domain.answers import Answer, AnswerKind, Json
from worker.domain.windows import ONE_DAY, DateWindow, split_window
from worker.errors import RequestRefused

FetchPiece = Callable[[DateWindow], Answer]


@dataclass
class SplitFetch:
    """The payloads of one window with the days that each is for, and the days that the supplier answers for.

    ``data_from``: the first day that may be asked for; the days before it count as before the history.
    ``floor``: the first day the supplier answers for, if the window began before it. ``end``: the day after the last
    one that could be asked for.
    """

    fetch_piece: FetchPiece = field(repr=False)  # It holds the meter's number, which no ``repr`` may show.
    data_from: date | None = None
    payloads: list[tuple[DateWindow, Json]] = field(default_factory=list, repr=False)
    floor: date | None = None
    end: date | None = None

    def fetch(self, window: DateWindow) -> SplitFetch:
        """Ask for the whole window, in as many pieces as necessary. Raises what ``fetch_piece`` raises."""
        self.end = window.end
        if self.data_from is not None and window.start < self.data_from:
            self.floor = min(self.data_from, window.end)
            if window.end <= self.data_from:
                return self
            window = DateWindow(self.data_from, window.end)
        self._handle(window, self.fetch_piece(window))
        return self

    def _handle(self, window: DateWindow, answer: Answer) -> None:
        match answer.kind:
            case AnswerKind.DATA:
                self.payloads.append((window, answer.payload))
            case AnswerKind.BEFORE_HISTORY:
                self.floor = window.end
                for piece, piece_answer in find_floor(self.fetch_piece, window):
                    self.floor = piece.start
                    self._handle(piece, piece_answer)
            case AnswerKind.TOO_LONG:
                for part in split_window(window, _next_length(window)):
                    self._handle(part, self.fetch_piece(part))
            case AnswerKind.END_TOO_LATE if window.days > 1:
                self.end = window.end - ONE_DAY
                earlier = DateWindow(window.start, self.end)
                self._handle(earlier, self.fetch_piece(earlier))
            case AnswerKind.NO_DATA | AnswerKind.END_TOO_LATE:
                pass
            case _:
                assert_never(answer.kind)


def find_floor(fetch_piece: FetchPiece, refused_window: DateWindow) -> Iterator[tuple[DateWindow, Answer]]:
    """Find by bisection the first day that the supplier answers for; yield each accepted piece, newest first.

    ``refused_window`` was answered BEFORE_HISTORY: some day in it lies before activation, consent or the supplier's
    history, and the supplier does not say which. No day is yielded twice; a 365-day window takes at most 9 calls.
    """
    low, high = refused_window.start, refused_window.end
    while high - low > ONE_DAY:
        piece = DateWindow(low + (high - low) // 2, high)
        answer = fetch_piece(piece)
        if answer.kind is AnswerKind.BEFORE_HISTORY:
            low = piece.start
        else:
            high = piece.start
            yield piece, answer


def _next_length(window: DateWindow) -> int:
    """Return the length to try next: half, except that 7 days become 6, because Enedis sometimes refuses exactly 7."""
    if window.days == 1:
        raise RequestRefused("the supplier says that a window of one day is too long")
    return 6 if window.days == 7 else (window.days + 1) // 2
