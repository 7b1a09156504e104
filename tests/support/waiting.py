"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

DEADLINE_S: Final = 60.0


def until(
    condition: Callable[[], Any],
    description: str | Callable[[], str] = "it",
    timeout_s: float = DEADLINE_S,
    not_yet: tuple[type[Exception], ...] = (),
) -> Any:
    """Return the result of ``condition`` once it is true; fail after ``timeout_s``. ``not_yet`` may be raised."""
    give_up = time.monotonic() + timeout_s
    while True:
        began = time.monotonic()
        try:
            result = condition()
        except not_yet:
            result = None
        if result:
            return result
        text = description() if callable(description) else description
        assert time.monotonic() < give_up, f"{text[-3000:]} did not happen in {timeout_s:.0f} s"
        time.sleep(min(max(0.05, 2 * (time.monotonic() - began)), 0.5))  # Looking takes a third of the time at most.
