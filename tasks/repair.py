"""Open days asked for again, and how fresh the fleet is, each hour."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from typing import Final

from celery import shared_task

from tasks.base import ControlTask
from tasks.pipeline import window_chain
from tasks.queues import queue_length
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import DateWindow, Series
from worker.runtime.process import get_runtime
from worker.stores.registry.completeness import HourFreshness
from worker.sync.audit import Tally, auditor_of, keep_tally, sample_accounts
from worker.sync.repair import QUEUE, Repair

log = logging.getLogger("releve.tasks")

KEEP_FRESHNESS: Final = timedelta(days=400)


@shared_task(base=ControlTask)
def repair_open_days() -> None:
    """Publish the open days whose turn it is.  A second run finds them in flight; after an incident there is one."""
    if get_runtime().incidents.is_open():
        return
    Repair.of(get_runtime(), _publish, lambda: queue_length(QUEUE)).run()


@shared_task(base=ControlTask)
def ask_again(account_id: str, series: str, start: str, end: str) -> None:
    """Publish one window whose readings are in doubt."""
    window = DateWindow(date.fromisoformat(start), date.fromisoformat(end))
    _publish(get_runtime().dispatcher.window_by_hand(account_id, Series(series), window))


@shared_task(base=ControlTask)
def audit_sample() -> None:
    """Hold a sample of the fleet's documents against one another, mend what can be, keep the count."""
    runtime = get_runtime()
    auditor = auditor_of(runtime, _publish)
    tally = Tally()
    for account in sample_accounts(runtime, runtime.settings.audit_sample):
        verdict = auditor.verify(account.id)
        tally.add(verdict)
        auditor.repair(verdict)
    keep_tally(runtime, tally)
    log.info("audit accounts=%d documents=%d at_fault=%d", tally.accounts, tally.documents, tally.accounts_at_fault)


@shared_task(base=ControlTask)
def forget_old_corrections() -> None:
    """Corrections are kept as long as the setting says."""
    runtime = get_runtime()
    runtime.corrections.forget_before(runtime.now() - timedelta(days=runtime.settings.keep_corrections_days))


@shared_task(base=ControlTask)
def keep_freshness() -> None:
    """Count the active accounts whose yesterday is whole, under this hour.  Twice is once."""
    runtime = get_runtime()
    hour = runtime.now().replace(minute=0, second=0, microsecond=0)
    yesterday = runtime.dispatcher.today() - timedelta(days=1)
    book = runtime.registry.completeness
    for series in Series:
        book.keep_freshness(HourFreshness(hour, series, *book.complete_since(series, yesterday)))
    book.forget_freshness_before(hour - KEEP_FRESHNESS)


def _publish(origin: WindowJob) -> None:
    window_chain(origin, QUEUE).apply_async()
