"""The nightly run, its catch-up, and the reconciler that publishes lost windows again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Final

from celery import shared_task

from tasks.backfill import backfill_account
from tasks.base import ControlTask, queue_length
from tasks.pipeline import window_chain
from worker.domain.measures.readings import PARIS, Series
from worker.ops.capacity import log_capacity
from worker.runtime.current import get_runtime
from worker.sync.due import FanOut, Night

MORE_SOON_S: Final = 5.0
_A_DAY_S: Final = 24 * 3600


@shared_task(base=ControlTask)
def nightly_sync(run_date: str | None = None) -> None:
    """Publish the look-back of every active account, as fast as the quota lets it through.

    A second run for the same date does nothing twice.  A run stops where enough is queued, or nothing may be
    published now, and comes back soon; once a newer night has begun it ends.
    """
    day = date.fromisoformat(run_date) if run_date else get_runtime().claims.today()
    _log_capacity_once(Night(day))
    if not _fan_out().feed(Night(day)) and _only_once(f"nightly_sync:{day}"):
        nightly_sync.apply_async(args=(day.isoformat(),), countdown=MORE_SOON_S)


@shared_task(base=ControlTask)
def sync_account(account_id: str, run: str) -> None:
    """Publish the look-back of one account, requested by hand under the name ``run``."""
    _publish([(account_id, series) for series in Series], run)


@shared_task(base=ControlTask)
def catch_up(run: str | None = None) -> None:
    """Publish the look-back of accounts that still lack yesterday; once each afternoon hour, at the same pace."""
    now = get_runtime().now().astimezone(PARIS)
    run = run or f"catch-up:{now:%Y-%m-%dT%H}"
    fan_out = _fan_out()
    fan_out.catch_up(run)
    # What is left tomorrow belongs to the next night.
    today = f"catch-up:{now:%Y-%m-%d}"
    if run.startswith(today) and not fan_out.caught_up(run) and _only_once(run):
        catch_up.apply_async(args=(run,), countdown=MORE_SOON_S)


@shared_task(base=ControlTask)
def resume_backfills() -> None:
    """Start histories that are due and have no window in flight, also those whose message was lost."""
    if _is_first_of_tick("resume_backfills"):
        get_runtime().backfills(backfill_account.delay, queue_length, _is_blocked).run()


@shared_task(base=ControlTask)
def resume_night() -> None:
    """Publish again what the newest night lost, or begin today's night if beat was down at its hour."""
    runtime = get_runtime()
    now = runtime.now().astimezone(PARIS)
    if not _is_first_of_tick("resume_night"):
        return
    fan_out = _fan_out()
    night = fan_out.newest()
    begun = now.time() >= time.fromisoformat(runtime.settings.nightly_at)
    if begun and (night is None or night.date < now.date()):
        night = Night(now.date())
    if night is None:
        return
    if fan_out.fed(night):
        fan_out.publish_missing(night)
    else:
        fan_out.feed(night)


def _fan_out() -> FanOut:
    runtime = get_runtime()
    return runtime.fan_out(_publish, queue_length, _is_blocked, runtime.registry.policies.load_current())


def _is_blocked() -> bool:
    """Return whether nothing may be published now: the gate is closed, or an incident is open."""
    runtime = get_runtime()
    return runtime.ledger.closed_for_s() > 0 or runtime.incidents.is_open()


def _only_once(name: str) -> bool:
    """Return whether this message of a run may come back; of several at once only one does."""
    tick = int(datetime.now(PARIS).timestamp() / MORE_SOON_S)
    return get_runtime().progress.slot(f"{name}:{tick}", 2 * MORE_SOON_S)


def _log_capacity_once(night: Night) -> None:
    """Log once a night whether the accounts fit the quota."""
    runtime = get_runtime()
    if runtime.progress.slot(f"fit:{night.run}", _A_DAY_S):
        log_capacity(runtime.registry.database, runtime.settings, night.run, night.date)


def _publish(pairs: Sequence[tuple[str, Series]], run: str) -> int:
    """Publish these look-backs, except those that this run has already; return how many they were."""
    claims, published = get_runtime().claims, 0
    jobs = claims.claim_look_backs(pairs, run)
    try:
        for job in jobs:
            window_chain(job, "nightly").apply_async()
            published += 1
    finally:
        # Where the broker is away, the rest is due again at once.
        for job in jobs[published:]:
            claims.release_claim(job["account_id"], str(job["claim"]), job["run_id"])
    return published


def _is_first_of_tick(name: str) -> bool:
    """Return True once a tick, however many beats there are."""
    every_s = get_runtime().settings.reconcile_every_s
    tick = int(datetime.now(PARIS).timestamp() / every_s)
    return get_runtime().progress.slot(f"{name}:{tick}", 2 * every_s)
