"""What beat starts: the nightly fan-out, its catch-up, and the reconciler that heals lost messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Final

from celery import shared_task

from tasks.backfill import backfill_account
from tasks.base import ControlTask
from tasks.pipeline import window_chain
from tasks.queues import queue_length
from worker.domain.measures.readings import PARIS, Series
from worker.ops.capacity import log_fit
from worker.runtime.process import get_runtime
from worker.sync.backfills import Resumption
from worker.sync.due import FanOut, Night

MORE_SOON_S: Final = 5.0
_A_DAY_S: Final = 24 * 3600


@shared_task(base=ControlTask)
def nightly_sync(run_date: str | None = None) -> None:
    """Publish the look-back of every active account, as fast as the quota lets it through.

    A second run for the same date does nothing twice.  Stops where enough is queued, or nothing may be, and comes
    back soon; once a newer night has begun, no more.
    """
    day = date.fromisoformat(run_date) if run_date else get_runtime().dispatcher.today()
    _tell_fit(Night(day))
    if not _fan_out().feed(Night(day)) and _only_once(f"nightly_sync:{day}"):
        nightly_sync.apply_async(args=(day.isoformat(),), countdown=MORE_SOON_S)


@shared_task(base=ControlTask)
def sync_account(account_id: str, run: str) -> None:
    """Publish the look-back of one account, asked for by hand under the name ``run``."""
    _publish([(account_id, series) for series in Series], run)


@shared_task(base=ControlTask)
def catch_up(run: str | None = None) -> None:
    """The same for what still lacks yesterday; each afternoon hour once, at the same pace."""
    now = get_runtime().now().astimezone(PARIS)
    run = run or f"catch-up:{now:%Y-%m-%dT%H}"
    fan_out = _fan_out()
    fan_out.catch_up(run)
    today = f"catch-up:{now:%Y-%m-%d}"  # what is left tomorrow is the next night's
    if run.startswith(today) and not fan_out.caught_up(run) and _only_once(run):
        catch_up.apply_async(args=(run,), countdown=MORE_SOON_S)


@shared_task(base=ControlTask)
def resume_backfills() -> None:
    """Start again histories that are due and have no window in flight: a lost message heals here."""
    if _my_turn("resume_backfills"):
        Resumption.of(get_runtime(), backfill_account.delay, queue_length, _held).run()


@shared_task(base=ControlTask)
def resume_night() -> None:
    """Publish again what the newest night lost, or begin today's where beat was down at its hour."""
    runtime = get_runtime()
    now = runtime.now().astimezone(PARIS)
    if not _my_turn("resume_night"):
        return
    fan_out = _fan_out()
    night = fan_out.newest()
    begun = now.time() >= time.fromisoformat(runtime.settings.nightly_at)
    if begun and (night is None or night.date < now.date()):
        night = Night(now.date())
    if night is None:
        return
    if fan_out.fed(night):
        fan_out.mend(night)
    else:
        fan_out.feed(night)


def _fan_out() -> FanOut:
    runtime = get_runtime()
    return FanOut.of(runtime, _publish, queue_length, _held, runtime.registry.policies.current())


def _held() -> bool:
    """Whether the supplier lets nothing through just now: its gate is closed, or an incident is open."""
    runtime = get_runtime()
    return runtime.ledger.closed_for_s() > 0 or runtime.incidents.is_open()


def _only_once(name: str) -> bool:
    """However many messages of a walk there are, one of them comes back: the others end."""
    tick = int(datetime.now(PARIS).timestamp() / MORE_SOON_S)
    return get_runtime().state.slot(f"{name}:{tick}", 2 * MORE_SOON_S)


def _tell_fit(night: Night) -> None:
    """Once a night, whether the accounts as they are fit into the quota."""
    runtime = get_runtime()
    if runtime.state.slot(f"fit:{night.run}", _A_DAY_S):
        log_fit(runtime.registry.database, runtime.settings, night.run, night.date)


def _publish(pairs: Sequence[tuple[str, Series]], run: str) -> int:
    """Put these look-backs into the queue, but for those that this run has already; how many they were."""
    dispatcher, published = get_runtime().dispatcher, 0
    origins = dispatcher.claim_look_backs(pairs, run)
    try:
        for origin in origins:
            window_chain(origin, "nightly").apply_async()
            published += 1
    finally:
        for origin in origins[published:]:  # the broker is away: they are due again at once
            dispatcher.release(origin["account_id"], str(origin["claim"]), origin["run_id"])
    return published


def _my_turn(name: str) -> bool:
    """Once a tick, however many beats there are."""
    every_s = get_runtime().settings.reconcile_every_s
    tick = int(datetime.now(PARIS).timestamp() / every_s)
    return get_runtime().state.slot(f"{name}:{tick}", 2 * every_s)
