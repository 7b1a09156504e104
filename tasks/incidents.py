"""Probes during an incident; after it the tasks that fetch what was missed."""

from __future__ import annotations

from datetime import time
from typing import Final

from celery import shared_task

from tasks.base import ControlTask
from tasks.repair import repair_open_days
from tasks.schedule import catch_up, resume_backfills, resume_night
from worker.domain.measures.readings import PARIS
from worker.runtime.current import get_runtime

# The runs of the afternoon may have met the outage.
_CATCH_UP_FROM: Final = time(14, 30)


@shared_task(base=ControlTask)
def probe() -> None:
    """Find out whether an open incident is over; once it is, fetch what was missed.  Safe to repeat.

    What was missed follows from registry, ledger of days and finished windows: these tasks find it at their own pace.
    """
    runtime = get_runtime()
    runtime.probes.run()
    if not runtime.incidents.is_replay_due():
        return
    resume_backfills.delay()
    resume_night.delay()
    if runtime.now().astimezone(PARIS).time() >= _CATCH_UP_FROM:
        catch_up.delay()
    repair_open_days.delay()
    runtime.incidents.clear_replay()
