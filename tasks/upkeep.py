"""Upkeep that beat starts: token renewal, heartbeats of the queue, retention, erasure."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Final

from celery import shared_task

from tasks.base import ControlTask
from worker.logs import fields
from worker.ops import heartbeat
from worker.runtime.current import get_runtime

log = logging.getLogger("releve.tasks")

# In one run, an hour: some minutes of work.
MAX_MONTHS_PACKED: Final = 5_000
KEEP_UNKNOWN_ANSWERS: Final = timedelta(days=400)


@shared_task(base=ControlTask)
def renew_tokens() -> None:
    """Renew tokens before they expire, so that no worker waits for it: the application's, or those of users."""
    runtime = get_runtime()
    if runtime.clients.account_tokens:
        runtime.token_renewal.run()
    elif runtime.registry.page_active(limit=1):
        runtime.clients.tokens_of("").current()


@shared_task(base=ControlTask)
def tick() -> None:
    """Record that beat, queue and workers work together: this ran, so all three do."""
    get_runtime().heartbeats.record_tick(time.time())


@shared_task(base=ControlTask)
def tend_kept_answers() -> None:
    """Delete raw answers and unknown answers that are too old, and pack each past month into one row."""
    runtime = get_runtime()
    now = runtime.now()
    erased = runtime.raw_answers.delete_before(now - timedelta(days=runtime.settings.raw_vault_days))
    packed = runtime.raw_answers.pack_past_months(now, MAX_MONTHS_PACKED)
    runtime.unknown_answers.delete_before(now - KEEP_UNKNOWN_ANSWERS)
    if erased or packed:
        log.info("kept answers tended", extra=fields(erased=erased, months_packed=packed))


@shared_task(base=ControlTask)
def give_back_orphans() -> None:
    """Requeue the messages of workers that are gone, without waiting for the broker's own time-out."""
    runtime = get_runtime()
    if runtime.broker_messages is not None:
        heartbeat.requeue_orphans(runtime.progress, runtime.broker_messages)


@shared_task(base=ControlTask)
def purge_account(account_id: str) -> None:
    """Erase what is left of a removed account.  Safe to repeat."""
    get_runtime().erase(account_id)


@shared_task(base=ControlTask)
def tidy_consents() -> None:
    """End proofs of consents that have expired, and erase those that the policy keeps no longer."""
    runtime = get_runtime()
    ended, erased = runtime.refusals.apply_retention(runtime.settings.keep_consent_proof_days)
    if ended or erased:
        log.info("consents tidied", extra=fields(proofs_ended=ended, proofs_erased=erased))
