"""Small chores: tokens renewed ahead of need, queues measured, a removed account erased."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import Final

from celery import current_app, shared_task

from tasks.base import ControlTask
from tasks.schedule import queue_length
from worker import presence
from worker.renewal import renew_ending
from worker.runtime import get_runtime

log = logging.getLogger("releve.tasks")

MOST_MONTHS_PACKED: Final = 5_000  # an hour: some minutes of work
KEEP_SURPRISES: Final = timedelta(days=400)


@shared_task(base=ControlTask)
def renew_tokens() -> None:
    """Renew tokens before they end, so that no worker has to wait for it: the application's, or those of users."""
    runtime = get_runtime()
    if runtime.account_tokens:
        renew_ending(runtime)
    elif runtime.registry.page_active(limit=1):
        runtime.tokens_of("").current()


@shared_task(base=ControlTask)
def measure_queues() -> None:
    """Keep the queues' lengths where ``releve status`` and the operator see them."""
    lengths = {name: queue_length(name) for name in (queue.name for queue in current_app.conf.task_queues)}
    get_runtime().state.put_cursor("queues", json.dumps(lengths), 600)


@shared_task(base=ControlTask)
def tend_kept_answers() -> None:
    """Erase answers and surprises too old to be kept, make each month that is over one row."""
    runtime = get_runtime()
    now = runtime.now()
    erased = runtime.raw_vault.forget_before(now - timedelta(days=runtime.settings.raw_vault_days))
    packed = runtime.raw_vault.pack(now, MOST_MONTHS_PACKED)
    runtime.quarantine.forget_before(now - KEEP_SURPRISES)
    if erased or packed:
        log.info("kept answers tended erased=%d months_packed=%d", erased, packed)


@shared_task(base=ControlTask)
def give_back_orphans() -> None:
    """Put back what workers held that are gone: it must not wait for the broker's own time-out."""
    runtime = get_runtime()
    if runtime.deliveries is not None:
        presence.give_back_orphans(runtime.state, runtime.deliveries)


@shared_task(base=ControlTask)
def purge_account(account_id: str) -> None:
    """Erase what is left of a removed account.  Safe to repeat."""
    get_runtime().remove(account_id)


@shared_task(base=ControlTask)
def tidy_consents() -> None:
    """End proofs of consents whose time is over, erase those that the policy keeps no longer."""
    runtime = get_runtime()
    ended, erased = runtime.desk.tidy(runtime.settings.keep_consent_proof_days)
    if ended or erased:
        log.info("consents tidied proofs_ended=%d proofs_erased=%d", ended, erased)
