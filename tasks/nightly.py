"""The nightly run, its catch-up, the backfill of histories, and the reconciler that publishes lost windows again.

A history has at most one window of each series in flight: the end of a window's chain starts the next window.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, time
from typing import Final

from celery import shared_task

from tasks.base import ControlTask
from tasks.pipeline import publish
from worker.domain.schedule import night_start
from worker.domain.windows import PARIS, civil_date
from worker.logs import fields
from worker.runtime import current
from worker.sync.claims import HISTORY_LANES, NIGHTLY_LANE, REPAIR_LANE
from worker.sync.due import Due

log = logging.getLogger("releve.nightly")
MORE_SOON_S: Final = 5.0
_A_DAY_S: Final = 24 * 3600


@shared_task(name="tasks.nightly.nightly_sync", base=ControlTask)
def nightly_sync(before: str | None = None) -> None:
    """Request the last days of every active account, as fast as the quota allows.

    1. A series is due if it wasn't requested since the night began, or since ``before`` (a date or a moment).
    2. Due series are published, the longest waiting first, until the windows in flight need ten minutes of quota
       (``worker.sync.due``).
    3. While more are due, the task runs again some seconds later.

    A second run at the same time publishes nothing twice, and a run after a crash continues: what is due stays due.
    """
    stores = current.stores()
    start = _this_night()
    if before is not None:
        # If ``start`` were later than now, each window would be due again as soon as it is done.
        start = min(_moment(before), stores.now())
    run = f"nightly:{civil_date(start)}"
    if stores.windows.slot(f"fit:{run}", _A_DAY_S):
        from worker.ops.capacity import log_capacity

        log_capacity(stores.registry, stores.settings, run, civil_date(start))
    if _publish([due.claim_night(start) for due in current.sync().due], run) and _only_once(f"nightly_sync:{start}"):
        nightly_sync.apply_async(args=(start.isoformat(),), countdown=MORE_SOON_S)


@shared_task(name="tasks.nightly.sync_account", base=ControlTask)
def sync_account(account_id: str, run: str) -> None:
    """Publish the windows of one account's last days, requested by hand under the name ``run``."""
    publish(current.sync().claims.claim_look_backs(account_id))


@shared_task(name="tasks.nightly.catch_up", base=ControlTask)
def catch_up(run: str | None = None) -> None:
    """Request yesterday's data for accounts that still lack it, in portions as in ``nightly_sync``."""
    stores = current.stores()
    now = stores.now().astimezone(PARIS)
    run = run or f"catch-up:{now:%Y-%m-%dT%H}"
    before = datetime.strptime(run, "catch-up:%Y-%m-%dT%H").replace(tzinfo=PARIS)
    # A catch-up of an earlier day does nothing: the next night requests what is still missing.
    if before.date() != now.date():
        return
    night = _this_night()
    if _publish([due.claim_catch_up(night, before) for due in current.sync().due], run) and _only_once(run):
        catch_up.apply_async(args=(run,), countdown=MORE_SOON_S)


@shared_task(name="tasks.backfill.backfill_account", base=ControlTask)
def backfill_account(account_id: str) -> None:
    """Publish the next missing window of each series, if one is missing and none is in flight.

    This task is enqueued when the account is created, and by the end of each window. A history that finds its lane full
    stays due, and ``resume_backfills`` continues it.
    """
    sync, registry = current.sync(), current.stores().registry
    account = registry.accounts.get(account_id)
    if account.active and account.refusal_on(sync.history.today()) is None:
        for series in registry.outcomes.collected(account_id):
            due = sync.due_of(series)
            if due.has_history_room(series):
                publish(due.claim_next_of_history(account_id, series))


@shared_task(name="tasks.nightly.resume_backfills", base=ControlTask)
def resume_backfills() -> None:
    """Continue histories that are due and have no window in flight. A window whose message was lost isn't in flight."""
    if _is_first_of_tick("resume_backfills"):
        current.sync().claims.drop_lost(*set(HISTORY_LANES.values()))
        for due in current.sync().due:
            for account_id, series in due.list_histories():
                publish(due.claim_next_of_history(account_id, series))


@shared_task(name="tasks.nightly.resume_night", base=ControlTask)
def resume_night() -> None:
    """Publish the night's due windows: those lost or not published yet, those to retry, and those of new accounts."""
    if _is_first_of_tick("resume_night"):
        current.sync().claims.drop_lost(NIGHTLY_LANE, REPAIR_LANE)
        night = _this_night()
        _publish([due.claim_night(night) for due in current.sync().due], "resume_night")


def _publish(of_suppliers: Sequence[Due], run: str) -> bool:
    """Publish the windows and log their number; return whether more windows are due than there was room for."""
    jobs, more = [job for due in of_suppliers for job in due.jobs], any(due.more for due in of_suppliers)
    publish(jobs)
    if jobs:
        log.info("windows published", extra=fields(run=run, published=len(jobs), whole=not more))
    return more


def _this_night() -> datetime:
    stores = current.stores()
    return night_start(stores.now(), time.fromisoformat(stores.settings.nightly_at))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=PARIS)


def _only_once(name: str) -> bool:
    """Return whether this message may schedule the run again; True for only one of several simultaneous messages."""
    tick = int(datetime.now(PARIS).timestamp() / MORE_SOON_S)
    return current.stores().windows.slot(f"{name}:{tick}", 2 * MORE_SOON_S)


def _is_first_of_tick(name: str) -> bool:
    """Return True only once in each ``reconcile_every_s`` seconds, however many beat processes there are."""
    every_s = current.stores().settings.reconcile_every_s
    tick = int(datetime.now(PARIS).timestamp() / every_s)
    return current.stores().windows.slot(f"{name}:{tick}", 2 * every_s)
