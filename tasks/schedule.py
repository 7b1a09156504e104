"""What beat starts: the nightly fan-out, its catch-up, and the reconciler that heals lost messages."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Final

from celery import shared_task

from tasks.backfill import backfill_account
from tasks.base import ControlTask
from tasks.pipeline import window_chain
from tasks.queues import queue_length
from worker.domain.readings import PARIS, Series
from worker.fanout import FanOut, Night
from worker.runtime import get_runtime

MORE_SOON_S: Final = 15.0


@shared_task(base=ControlTask)
def nightly_sync(run_date: str | None = None) -> None:
    """Publish the look-back of every active account, as fast as the quota lets it through.

    A second run for the same date does nothing twice.  Stops where enough is queued and comes back soon.
    """
    day = date.fromisoformat(run_date) if run_date else get_runtime().dispatcher.today()
    fan_out = FanOut.of(get_runtime(), _publish, queue_length)
    if not fan_out.feed(Night(day)):
        nightly_sync.apply_async(args=(day.isoformat(),), countdown=MORE_SOON_S)


@shared_task(base=ControlTask)
def sync_account(account_id: str, run: str) -> None:
    """Publish the look-back of one account, asked for by hand under the name ``run``."""
    for series in Series:
        _publish(account_id, series, run)


@shared_task(base=ControlTask)
def catch_up() -> None:
    """The same for what still lacks yesterday; each afternoon hour once."""
    now = get_runtime().now().astimezone(PARIS)
    FanOut.of(get_runtime(), _publish, queue_length).catch_up(f"catch-up:{now:%Y-%m-%dT%H}")


@shared_task(base=ControlTask)
def resume_backfills() -> None:
    """Start again every history that is due and has no window in flight: a lost message heals here."""
    if not _my_turn("resume_backfills"):
        return
    for account_id in get_runtime().dispatcher.due_backfills():
        backfill_account.delay(account_id)


@shared_task(base=ControlTask)
def resume_night() -> None:
    """Publish again what today's night lost, or begin it where beat was down at its hour."""
    runtime = get_runtime()
    now = runtime.now().astimezone(PARIS)
    if now.time() < time.fromisoformat(runtime.settings.nightly_at) or not _my_turn("resume_night"):
        return
    night = Night(now.date())
    fan_out = FanOut.of(runtime, _publish, queue_length)
    if fan_out.fed(night):
        fan_out.mend(night)
    else:
        fan_out.feed(night)


def _publish(account_id: str, series: Series, run: str) -> bool:
    """Put one look-back into the queue unless this run has it already; whether it did."""
    origin = get_runtime().dispatcher.claim_look_back(account_id, series, run)
    if origin is None:
        return False
    window_chain(origin, "nightly").apply_async()
    return True


def _my_turn(name: str) -> bool:
    """Once a tick, however many beats there are."""
    every_s = get_runtime().settings.reconcile_every_s
    tick = int(datetime.now(PARIS).timestamp() / every_s)
    return get_runtime().state.slot(f"{name}:{tick}", 2 * every_s)
