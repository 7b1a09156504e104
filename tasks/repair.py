"""Repair of open days, audit of a sample, corrections and freshness."""

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
from worker.runtime.current import get_runtime
from worker.stores.registry.completeness import HourFreshness
from worker.sync.audit import AuditSummary, sample_accounts, save_audit_summary
from worker.sync.repair import QUEUE

log = logging.getLogger("releve.tasks")

KEEP_FRESHNESS: Final = timedelta(days=400)


@shared_task(base=ControlTask)
def repair_open_days() -> None:
    """Publish the open days that are due, unless an incident is open.  A second run finds them in flight."""
    if get_runtime().incidents.is_open():
        return
    get_runtime().repair(_publish, lambda: queue_length(QUEUE)).run()


@shared_task(base=ControlTask)
def ask_again(account_id: str, series: str, start: str, end: str) -> None:
    """Publish one window whose stored readings may be wrong."""
    window = DateWindow(date.fromisoformat(start), date.fromisoformat(end))
    _publish(get_runtime().claims.manual_window(account_id, Series(series), window))


@shared_task(base=ControlTask)
def audit_sample() -> None:
    """Verify a sample of accounts, repair what can be repaired, and store the summary."""
    runtime = get_runtime()
    auditor = runtime.auditor(_publish)
    tally = AuditSummary()
    for account in sample_accounts(runtime.registry, runtime.settings.audit_sample):
        verdict = auditor.verify_account(account.id)
        tally.add(verdict)
        auditor.repair_account(verdict)
    save_audit_summary(runtime.progress, tally, runtime.now())
    log.info("audit accounts=%d documents=%d at_fault=%d", tally.accounts, tally.documents, tally.accounts_at_fault)


@shared_task(base=ControlTask)
def forget_old_corrections() -> None:
    """Delete corrections that are older than the setting keeps them."""
    runtime = get_runtime()
    runtime.corrections.delete_before(runtime.now() - timedelta(days=runtime.settings.keep_corrections_days))


@shared_task(base=ControlTask)
def keep_freshness() -> None:
    """Store how many active accounts have yesterday complete, for this hour.  Safe to repeat."""
    runtime = get_runtime()
    hour = runtime.now().replace(minute=0, second=0, microsecond=0)
    yesterday = runtime.claims.today() - timedelta(days=1)
    completeness = runtime.registry.completeness
    for series in Series:
        completeness.save_freshness(HourFreshness(hour, series, *completeness.count_complete_since(series, yesterday)))
    completeness.delete_freshness_before(hour - KEEP_FRESHNESS)


def _publish(job: WindowJob) -> None:
    window_chain(job, QUEUE).apply_async()
