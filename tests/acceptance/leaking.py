"""``celery -A tests.acceptance.leaking``: a worker with a task that says all that must not be said.

With ``masked`` it says so as a careless library would; without, past the last defence, so that a test that looks for
leaks can be seen to find them.
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

    secrets = [os.environ[name] for name in names]  # not by message: there they would be seen
    handlers = logging.getLogger().handlers
    kept = [handler.filters for handler in handlers]
    if not masked:
        for handler in handlers:
            handler.filters = []
    try:
        for secret in secrets:
            _say(secret)
        log.info("said it all")
    finally:
        for handler, filters in zip(handlers, kept, strict=True):
            handler.filters = filters


def _say(secret: str) -> None:
    log.debug("secret is %s and %r", secret, [secret], extra=fields(said=secret, deep={"er": [secret]}))
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("failed")
