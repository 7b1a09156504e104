"""``celery -A tests.acceptance.leaking``: a worker with a task that logs secrets.

With ``masked`` it logs them as a careless library would.  Without, it removes the masking filters first, which proves
that the test's search finds a leak.
"""

from __future__ import annotations

import logging

from celery import shared_task

from worker.app import app
from worker.logs import fields

__all__ = ["app"]

log = logging.getLogger("careless")


@shared_task(name="tests.leak")
def leak(names: list[str], masked: bool) -> None:
    import os

    secrets = [os.environ[name] for name in names]  # The message has only their names: its arguments are visible.
    handlers = logging.getLogger().handlers
    filters_by_handler = [handler.filters for handler in handlers]
    if not masked:
        for handler in handlers:
            handler.filters = []
    try:
        for secret in secrets:
            _log_secret(secret)
        log.info("said it all")
    finally:
        for handler, filters in zip(handlers, filters_by_handler, strict=True):
            handler.filters = filters


def _log_secret(secret: str) -> None:
    log.debug("secret is %s and %r", secret, [secret], extra=fields(said=secret, deep={"er": [secret]}))
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("failed")
