"""Small chores: tokens renewed ahead of need, a sign of life, a removed account erased."""

from __future__ import annotations

import logging
import time

from celery import shared_task

from tasks.base import ControlTask
from worker.logs import fields
from worker.renewal import renew_ending
from worker.runtime import get_runtime

log = logging.getLogger("releve.tasks")


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
