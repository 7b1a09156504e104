"""The thread of `releve web` that mails notices to households, for no worker can read their addresses.

Workers insert the notices. Several web processes send each of them once: a sender claims it first.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from worker.accounts.notices import NoticeSender
from worker.errors import WorkerError
from worker.logs import fields
from worker.runtime.sync_parts import Runtime

log = logging.getLogger("releve.notices")
_EVERY_S: Final = 60.0
_GRACE_S: Final = 20.0  # A mail that is being sent may take as long; a claimed one is sent again later.


def deliver_household_notices(sender: NoticeSender) -> int:
    """Send the notices to households that are due, and return how many were taken."""
    due = sender.notices.list_due(sender.now(), to_households=True)
    return sum(sender.deliver(notice_id) for notice_id in due)


@contextmanager
def mailing_notices(runtime: Runtime) -> Iterator[None]:
    """Send what is due once a minute within the block, where there is a mail service."""
    access, stop = runtime.web_access, threading.Event()
    if not access.mail_links.sends_mail:
        yield
        return

    def run() -> None:
        while not stop.wait(_EVERY_S):
            try:
                deliver_household_notices(access.notice_sender)
            except WorkerError as error:
                log.warning("household notices not sent", extra=fields(reason=str(error)))

    thread = threading.Thread(target=run, name="household notices", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_GRACE_S)
