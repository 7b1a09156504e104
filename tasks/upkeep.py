"""Small chores: tokens renewed ahead of need, queues measured, a removed account erased."""

from __future__ import annotations

import json

from celery import current_app, shared_task

from tasks.base import ControlTask
from tasks.schedule import queue_length
from worker.runtime import get_runtime


@shared_task(base=ControlTask)
def renew_tokens() -> None:
    """Renew the application's token before it ends, so that no worker has to wait for it."""
    runtime = get_runtime()
    if not runtime.account_tokens and runtime.registry.page_active(limit=1):
        runtime.tokens_of("").current()


@shared_task(base=ControlTask)
def measure_queues() -> None:
    """Keep the queues' lengths where ``releve status`` and the operator see them."""
    lengths = {name: queue_length(name) for name in (queue.name for queue in current_app.conf.task_queues)}
    get_runtime().state.put_cursor("queues", json.dumps(lengths), 600)


@shared_task(base=ControlTask)
def purge_account(account_id: str) -> None:
    """Erase what is left of a removed account.  Safe to repeat."""
    get_runtime().remove(account_id)
