"""Telling owners what their accounts need; what wasn't taken waits in the registry and is tried again."""

from __future__ import annotations

from celery import shared_task

from tasks.base import ControlTask
from worker.accounts.notices import tell_of_missing_curves
from worker.runtime.process import get_runtime


@shared_task(base=ControlTask)
def deliver(notice_id: str) -> None:
    """Send one notice.  Twice the message is once the notice: who sends it claims it first."""
    get_runtime().courier.deliver(notice_id)


@shared_task(base=ControlTask)
def deliver_due() -> None:
    """Publish a delivery for each notice that waits; a slow receiver then holds up its own alone."""
    runtime = get_runtime()
    for notice_id in runtime.notices.due(runtime.now()):
        deliver.delay(notice_id)


@shared_task(base=ControlTask)
def tell_missing_curves() -> None:
    """Tell of accounts whose curve nobody has switched on, each once."""
    runtime = get_runtime()
    tell_of_missing_curves(runtime.registry, runtime.desk)


@shared_task(base=ControlTask)
def remind_of_endings() -> None:
    """Tell of consents that end within 30 and within 7 days, each once."""
    get_runtime().desk.remind()
