"""One window, four doormen: fetch, filter_known, aggregate, store.  What they do stands in ``worker.sync``.

What waits by the thousand is the first of them, so its message says no more than the window; the chain of the others
is published when it has something to hand on.
"""

from __future__ import annotations

from typing import Any

from celery import shared_task, signature
from celery.canvas import Signature
from celery.exceptions import Ignore

from tasks.base import WindowTask
from worker.dispatch import BACKFILL
from worker.domain.batches import Aggregated, Batch, Filtered, Origin, Report
from worker.errors import TransientError
from worker.runtime import get_runtime


class FirstStep(WindowTask):
    abstract = True

    def on_success(self, retval: Batch, task_id: str, args: Any, kwargs: Any) -> None:
        """Hand on, as Celery itself does along a chain: what can't be published is lost, and found to be."""
        if not self.request.chain:  # one from before an upgrade brings its own
            queue = str((self.request.delivery_info or {}).get("routing_key") or "nightly")
            _hand_on(retval, queue.rpartition(".")[2])  # RabbitMQ puts a delay in front of the name


@shared_task(bind=True, base=FirstStep)
def fetch(
    self: FirstStep, account_id: str, series: str, start: str, end: str, *, run_id: str, claim: str | None = None
) -> Batch:
    """Ask the supplier for one window.  Asking again gives the same readings."""
    origin = Origin(account_id=account_id, series=series, start=start, end=end, run_id=run_id, claim=claim)
    try:
        asked = get_runtime().dispatcher.as_of_now(origin)
        if asked is None:
            raise Ignore  # it has been asked for meanwhile, or another message will
        return get_runtime().walk.fetch(asked)
    except TransientError as error:
        self.again(error)


@shared_task(bind=True, base=WindowTask)
def filter_known(self: WindowTask, batch: Batch) -> Filtered:
    """Keep what is new or changed.  Reads only."""
    try:
        return get_runtime().walk.filter_known(batch)
    except TransientError as error:
        self.again(error)


@shared_task(bind=True, base=WindowTask)
def aggregate(self: WindowTask, filtered: Filtered) -> Aggregated:
    """Make the touched totals anew.  Pure."""
    return get_runtime().walk.aggregate(filtered)


@shared_task(bind=True, base=WindowTask)
def store(self: WindowTask, aggregated: Aggregated) -> Report:
    """Write readings, then totals, then the mark.  Writing again changes nothing."""
    try:
        return get_runtime().walk.store(aggregated)
    except TransientError as error:
        self.again(error)


def window_chain(origin: Origin, queue: str) -> Signature:
    """What starts the steps of one window, all of them in ``queue``."""
    args = (origin["account_id"], origin["series"], origin["start"], origin["end"])
    return fetch.s(*args, run_id=origin["run_id"], claim=origin["claim"]).set(queue=queue)


def _hand_on(batch: Batch, queue: str) -> None:
    """Publish the chain of the further steps; a window of the history ends with the next one's choice.

    Told as Celery's own chain would tell it, the last step first: to build that one costs as much as to publish it.
    """
    further = [store.s().set(queue=queue), aggregate.s().set(queue=queue)]
    if batch["claim"] == BACKFILL:
        next_choice = signature("tasks.backfill.backfill_account", args=(batch["account_id"],), immutable=True)
        further.insert(0, next_choice)
    filter_known.apply_async((batch,), queue=queue, chain=further)
