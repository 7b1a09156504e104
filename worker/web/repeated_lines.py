"""Log lines of the server that say the same again and again: one a minute, with the number of those left out."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from traceback import walk_tb
from typing import Final

from worker.web.errors import AbortedAnswer

_EVERY_S: Final = 60.0
_MOST_KINDS: Final = 200  # The kind that was seen longest ago is forgotten first.
# A client that sends odd requests, or many at once, must not fill the log with lines of uvicorn and the event loop.
_LOGGERS: Final = ("uvicorn.error", "asyncio")
_REQUEST_LOGGER: Final = "releve.web"
_REQUEST_LINES: Final = frozenset({"request not served"})


class RepetitionFilter(logging.Filter):
    """A filter that lets a line through once a minute. ``only``: the messages that it looks at; None for all."""

    def __init__(self, only: frozenset[str] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._only, self._clock = only, clock
        self._kinds: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or (self._only is not None and record.msg not in self._only):
            return True
        if record.exc_info and isinstance(record.exc_info[1], AbortedAnswer):
            return False  # A line of ours has said why.
        kind, now = _kind(record), self._clock()
        next_at, left_out = self._kinds.pop(kind, (now, 0))
        if now < next_at:
            self._kinds[kind] = next_at, left_out + 1
            return False
        self._kinds[kind] = now + _EVERY_S, 0
        while len(self._kinds) > _MOST_KINDS:
            self._kinds.popitem(last=False)
        if left_out:
            record.fields = {**getattr(record, "fields", {}), "left_out": left_out}
        return True


@contextmanager
def limit_repeated_lines() -> Iterator[None]:
    """Limit the server's lines within the block."""
    filters = [(logging.getLogger(name), RepetitionFilter()) for name in _LOGGERS]
    filters.append((logging.getLogger(_REQUEST_LOGGER), RepetitionFilter(_REQUEST_LINES)))
    for logger, repetitions in filters:
        logger.addFilter(repetitions)
    try:
        yield
    finally:
        for logger, repetitions in filters:
            logger.removeFilter(repetitions)


def _kind(record: logging.LogRecord) -> Hashable:
    """Return what makes two lines the same: the first line of their text, and where their exception was raised."""
    first_line = str(record.msg).partition("\n")[0]
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return first_line
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    return first_line, type(error), frames[-1] if frames else None
