"""Small chores: tokens renewed ahead of need, a sign of life, a removed account erased."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Final

from celery import shared_task

from tasks.base import ControlTask
from worker.accounts.token_renewal import renew_ending
from worker.logs import fields
from worker.ops import heartbeat
from worker.runtime.process import get_runtime

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
def tick() -> None:
    """Show that the whole loop goes round: beat sent this, the queue carried it, a worker did it."""
    get_runtime().pulse.note_tick(time.time())


@shared_task(base=ControlTask)
def tend_kept_answers() -> None:
    """Erase answers and surprises too old to be kept, make each month that is over one row."""
    runtime = get_runtime()
    now = runtime.now()
    erased = runtime.raw_vault.forget_before(now - timedelta(days=runtime.settings.raw_vault_days))
    packed = runtime.raw_vault.pack(now, MOST_MONTHS_PACKED)
    runtime.quarantine.forget_before(now - KEEP_SURPRISES)
    if erased or packed:
        log.info("kept answers tended", extra=fields(erased=erased, months_packed=packed))


@shared_task(base=ControlTask)
def give_back_orphans() -> None:
    """Put back what workers held that are gone: it must not wait for the broker's own time-out."""
    runtime = get_runtime()
    if runtime.deliveries is not None:
        heartbeat.give_back_orphans(runtime.state, runtime.deliveries)


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
        log.info("consents tidied", extra=fields(proofs_ended=ended, proofs_erased=erased))
