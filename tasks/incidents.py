"""Incidents: canaries in their turn, and afterwards all that starts work, in the order of treatment."""

from __future__ import annotations

from datetime import time
from typing import Final

from celery import shared_task

from tasks.base import ControlTask
from tasks.repair import repair_open_days
from tasks.schedule import catch_up, resume_backfills, resume_night
from worker.domain.measures.readings import PARIS
from worker.runtime.process import get_runtime
from worker.sync.probes import Probing

_CATCH_UP_FROM: Final = time(14, 30)  # the afternoon's runs may have found the supplier away


@shared_task(base=ControlTask)
def probe() -> None:
    """Ask whether an open incident is over; once one is, ask for what was missed.  Twice does nothing twice.

    What was missed follows from registry, ledger of days and finished windows; these tasks find it and keep their pace.
    """
    runtime = get_runtime()
    Probing.of(runtime).run()
    if not runtime.incidents.replay_due():
        return
    resume_backfills.delay()
    resume_night.delay()
    if runtime.now().astimezone(PARIS).time() >= _CATCH_UP_FROM:
        catch_up.delay()
    repair_open_days.delay()
    runtime.incidents.replayed()
