"""Notices to owners and operators; one that was not delivered waits in the registry and is retried."""

from __future__ import annotations

from celery import shared_task

from tasks.base import ControlTask
from worker.accounts.notices import notify_missing_curves
from worker.runtime.current import get_runtime


@shared_task(base=ControlTask)
def deliver(notice_id: str) -> None:
    """Send one notice.  A doubled message sends it once: the sender claims it first."""
    get_runtime().notice_sender.deliver(notice_id)


@shared_task(base=ControlTask)
def deliver_due() -> None:
    """Publish one delivery for each notice that is due, so that a slow receiver delays its own notices alone."""
    runtime = get_runtime()
    for notice_id in runtime.notices.list_due(runtime.now()):
        deliver.delay(notice_id)


@shared_task(base=ControlTask)
def tell_missing_curves() -> None:
    """Create a notice for each account whose load curve nobody has switched on, once."""
    runtime = get_runtime()
    notify_missing_curves(runtime.registry, runtime.refusals)


@shared_task(base=ControlTask)
def remind_of_endings() -> None:
    """Create reminders for consents that end within 30 and within 7 days, each once."""
    get_runtime().refusals.insert_reminders()
