"""Backfill of an account's history, one window of each series in flight: the end of a chain starts the next."""

from __future__ import annotations

from celery import shared_task

from tasks.base import ControlTask
from tasks.pipeline import publish
from worker.runtime.current import get_runtime


@shared_task(base=ControlTask)
def backfill_account(account_id: str) -> None:
    """Publish the next missing window of each series, if one is missing and none is in flight.

    Enqueued when the account is created, and by the end of each window. A history that finds its lane full stays due,
    and ``resume_backfills`` comes back to it.
    """
    due, history = get_runtime().due_windows, get_runtime().history
    account = get_runtime().registry.get(account_id)
    if account.active and account.refusal_on(history.today()) is None:
        for series in get_runtime().registry.outcomes.collected(account_id):
            if due.has_history_room(series):
                publish(due.next_of_history(account_id, series))
