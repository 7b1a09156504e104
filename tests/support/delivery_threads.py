"""Waiting for deliveries that run in threads of their own."""

from __future__ import annotations

import threading


def join_deliveries() -> None:
    """Return when no delivery runs in this process any more."""
    for thread in threading.enumerate():
        if thread.name == "delivery":
            thread.join(10)
