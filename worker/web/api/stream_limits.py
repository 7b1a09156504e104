"""Limits of the progress streams of one caller in one process. Each open stream asks for itself every two seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final

from worker.web.api.auth import Caller
from worker.web.errors import HttpRefusal

MOST_OF_SESSION: Final = 4  # Tabs of one household.
MOST_OF_TOKEN: Final = 200


class StreamCounter:
    """The open streams by caller: by session for a household, and by token for a client."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def check(self, caller: Caller) -> None:
        """Raise HttpRefusal 503 for a caller with as many streams as one may have."""
        if self._is_full(caller):
            raise HttpRefusal(503, "too_many_streams", "ask /progress every few seconds instead", wait_s=30)

    async def count(self, caller: Caller, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the events of a stream, which counts until its end.

        Nothing comes where other streams of the caller began since ``check``; a browser asks again then.
        """
        async with aclosing(events):  # type: ignore[type-var]  # It is a generator.
            if self._is_full(caller):
                return
            subject = _subject(caller)
            self._open[subject] += 1
            try:
                async for event in events:
                    yield event
            finally:
                self._open[subject] -= 1
                if not self._open[subject]:
                    del self._open[subject]

    def _is_full(self, caller: Caller) -> bool:
        return self._open[_subject(caller)] >= (MOST_OF_TOKEN if caller.session is None else MOST_OF_SESSION)


def _subject(caller: Caller) -> str:
    return f"token {caller.token_id}" if caller.session is None else f"session {caller.session.sid}"
