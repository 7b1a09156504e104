"""Open days asked for again, and how fresh the fleet is, each hour."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from celery import shared_task

from tasks.base import ControlTask
from tasks.pipeline import window_chain
from tasks.schedule import queue_length
from worker.domain.batches import Origin
from worker.domain.readings import Series
from worker.repair import QUEUE, Repair
from worker.runtime import get_runtime
from worker.stores.completeness import HourFreshness

KEEP_FRESHNESS: Final = timedelta(days=400)


@shared_task(base=ControlTask)
def repair_open_days() -> None:
    """Publish the open days whose turn it is.  A second run finds them in flight."""
    Repair.of(get_runtime(), _publish, lambda: queue_length(QUEUE)).run()


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


def _publish(origin: Origin) -> None:
    window_chain(origin, QUEUE).apply_async()
