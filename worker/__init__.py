"""Relève: the package of the worker, its commands and its web service.

``celery -A worker`` finds the Celery app in this package. The app is built when it is first accessed, not at import.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name in ("app", "celery"):
        from worker.app import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
