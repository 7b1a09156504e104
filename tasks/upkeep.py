"""Upkeep that beat starts: repair, audit, notices, probes, token renewal, retention, erasure, prices."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from typing import Final

from celery import shared_task

from tasks.base import ControlTask
from tasks.pipeline import publish
from worker.domain.audit_entry import AUDIT_KEPT
from worker.domain.clock import real_clock
from worker.domain.messages import WindowJob
from worker.domain.series import Series, complete_fleet, parse_series
from worker.domain.windows import DateWindow, civil_date, newest_wanted_day
from worker.logs import fields
from worker.ops import watchdog
from worker.runtime import current
from worker.runtime.supplier_settings import is_offered
from worker.stores.redis.heartbeats import Heartbeats
from worker.stores.registry.outcomes import HourFreshness

log = logging.getLogger("releve.tasks")
# The most months that one hourly run packs. So many take some minutes.
MAX_MONTHS_PACKED: Final = 5_000
MAX_REFERENCES: Final = 100_000  # As above, for one nightly run.
KEEP_UNKNOWN_ANSWERS: Final = timedelta(days=400)
KEEP_FRESHNESS: Final = timedelta(days=400)
_FLEET_SERIES: Final = "fleet-series"
_A_DAY_S: Final = 24 * 3600
_HALF_AN_HOUR_S: Final = 29 * 60  # The claim ends before beat's next message.
# Added to AUDIT_KEPT, because the database refuses to delete younger entries, and its clock may differ from ours.
_CLOCKS_DIFFER: Final = timedelta(hours=1)
OUTPUT_EXPIRES_S: Final = 60  # An expired message isn't missed, because the next round publishes another.
KEEP_ENDED_RIGHTS: Final = timedelta(days=30)  # Meanwhile a person can see what became of a right.
KEEP_INVITATIONS: Final = timedelta(days=7)  # Counted from their end, so that an operator can see what became of them.


@shared_task(name="tasks.upkeep.renew_tokens", base=ControlTask)
def renew_tokens() -> None:
    """Renew users' and applications' tokens before they expire, so that no worker waits for a renewal."""
    from worker.accounts import token_upkeep

    stores, sync = current.stores(), current.sync()
    if sync.suppliers.main.renews_tokens:
        token_upkeep.renew_tokens(sync.refusals, sync.claims, sync.suppliers.tokens_of, sync.ledger.per_hour)
    today = sync.history.today()
    for name, clients in sync.suppliers.items():
        if not clients.account_tokens and stores.registry.accounts.page_active(limit=1, today=today, supplier=name):
            clients.application_tokens().current()


@shared_task(name="tasks.upkeep.follow_fleet_series", base=ControlTask)
def follow_fleet_series(names: str) -> None:
    """Apply beat's RELEVE_SERIES to all accounts that follow it, once a day and whenever beat's value changes."""
    stores = current.stores()
    fleet = [series for series in complete_fleet(parse_series(names)) if is_offered(stores.settings, series)]
    if stores.windows.get_text(_FLEET_SERIES) != names:
        changed = stores.registry.outcomes.follow_fleet(fleet, stores.now())
        stores.windows.put_text(_FLEET_SERIES, names, _A_DAY_S)
        if changed:
            log.info("accounts follow RELEVE_SERIES", extra=fields(series=names, accounts=changed))


@shared_task(name="tasks.upkeep.revoke_tokens", base=ControlTask)
def revoke_tokens() -> None:
    """Have the supplier revoke the tokens that no account uses any more.  Safe to repeat."""
    from worker.accounts import token_upkeep
    from worker.stores.token_store import token_lock

    stores, revoke = current.stores(), current.sync().suppliers.main.revoke_token
    token_upkeep.revoke_tokens(stores.registry.tokens, revoke, token_lock(stores.windows))


@shared_task(name="tasks.upkeep.tick", base=ControlTask)
def tick() -> None:
    """Record that beat, queue and workers work: this task ran, so all three do."""
    Heartbeats(current.stores().redis).record_tick()


@shared_task(name="tasks.upkeep.prune_raw_answers", base=ControlTask)
def prune_raw_answers() -> None:
    """Delete raw and unexpected answers that are too old, and pack the raw answers of past months.

    An account's answers of one month become one row. At the end, what was deleted since the last run, such as an
    erased meter's readings, also disappears from SQLite's files.
    """
    stores, registry = current.stores(), current.stores().registry
    now = stores.now()
    erased = registry.raw_answers.delete_before(now - timedelta(days=stores.settings.raw_answers_days))
    packed = registry.raw_answers.pack_past_months(now, MAX_MONTHS_PACKED)
    registry.quarantine.delete_before(now - KEEP_UNKNOWN_ANSWERS)
    registry.database.empty_log()
    stores.measures.empty_log()
    # The registry lacks the end of a ledger of version 0.2.0 if `releve migrate` ran without the ledger's file.
    if stores.erasure_ledger.file.path.exists() and stores.erasure_ledger.find() is None:
        stores.erasure_ledger.accept()
    if erased or packed:
        log.info("raw answers pruned", extra=fields(erased=erased, months_packed=packed))


@shared_task(name="tasks.upkeep.requeue_orphans", base=ControlTask)
def requeue_orphans() -> None:
    """Requeue the messages of workers that are gone, without waiting for the broker's own time-out."""
    stores = current.stores()
    if stores.broker is not None:
        watchdog.requeue_orphans(Heartbeats(stores.redis), stores.broker)


@shared_task(name="tasks.upkeep.purge_account", base=ControlTask)
def purge_account(account_id: str) -> None:
    """Erase what is left of a removed account.  Safe to repeat."""
    from worker.runtime.consent_parts import erase

    erase(current.stores(), account_id)


@shared_task(name="tasks.upkeep.expire_consents", base=ControlTask)
def expire_consents() -> None:
    """Suspend accounts whose consent has ended, end the proofs and grants of these consents, and delete old records.

    Pauses that end today end, and references of accounts that older versions added become searchable.

    The deleted records are invitations, sessions, remembered erasures, ended rights, evidence, audit entries, campaigns
    and the addresses of their lists.
    """
    stores, registry = current.stores(), current.stores().registry
    refusals, today = current.sync().refusals, current.sync().history.today()
    suspended = refusals.suspend_ended_consents()
    resumed = registry.accounts.end_pauses(stores.now())
    registry.consents.index_references(registry.hashes, MAX_REFERENCES)
    ended, erased = refusals.apply_retention(stores.settings.keep_consent_proof_days)
    # Invitations end by the real clock, even if the fleet's clock (``stores.now``) is simulated.
    registry.invitations.delete_before(real_clock() - KEEP_INVITATIONS)
    registry.sessions.delete_over()
    registry.campaigns.apply_retention()
    registry.audit.delete_before(real_clock() - AUDIT_KEPT - _CLOCKS_DIFFER)
    registry.erasures.forget_before(today)
    registry.rights.delete_ended_before(stores.now() - KEEP_ENDED_RIGHTS)
    keep_grants = timedelta(days=stores.settings.keep_consent_proof_days)
    grants = registry.proxy_grants.apply_retention(today, real_clock() - keep_grants)
    if suspended or resumed or ended or erased or grants:
        counts = {"accounts_suspended": suspended, "accounts_resumed": resumed, "proofs_ended": ended}
        extra = fields(**counts, proofs_erased=erased, grants_ended=grants)
        log.info("consents expired", extra=extra)


@shared_task(name="tasks.upkeep.repair_open_days", base=ControlTask)
def repair_open_days() -> None:
    """Publish the incomplete days that are due, unless an incident is open. A second run finds these days in flight."""
    if current.sync().incidents.is_open():
        return
    for due in current.sync().due:
        publish(due.claim_repairs())


@shared_task(name="tasks.upkeep.request_window", base=ControlTask)
def request_window(account_id: str, series: str, start: str, end: str) -> None:
    """Publish one window whose stored readings may be wrong."""
    window = DateWindow(date.fromisoformat(start), date.fromisoformat(end))
    _publish(current.sync().claims.to_job(account_id, Series(series), window))


@shared_task(name="tasks.upkeep.audit_sample", base=ControlTask)
def audit_sample() -> None:
    """Verify a sample of accounts, repair what can be repaired, and store the summary."""
    from worker.runtime.sync_parts import build_auditor
    from worker.sync.verification import AuditSummary, sample_accounts, save_audit_summary

    stores = current.stores()
    auditor = build_auditor(stores, current.sync(), _publish)
    totals = AuditSummary()
    for account in sample_accounts(stores.registry.accounts, stores.settings.audit_sample):
        result = auditor.verify_account(account.id)
        totals.add(result)
        auditor.repair_account(result)
    save_audit_summary(stores.windows, totals, stores.now())
    log.info("audit accounts=%d documents=%d at_fault=%d", totals.accounts, totals.documents, totals.accounts_at_fault)


@shared_task(name="tasks.upkeep.delete_old_corrections", base=ControlTask)
def delete_old_corrections() -> None:
    stores = current.stores()
    stores.registry.corrections.delete_before(stores.now() - timedelta(days=stores.settings.keep_corrections_days))


@shared_task(name="tasks.upkeep.record_freshness", base=ControlTask)
def record_freshness() -> None:
    """Store, for this hour, how many active accounts have the newest expected day complete. Safe to repeat."""
    registry = current.stores().registry
    hour = current.stores().now().replace(minute=0, second=0, microsecond=0)
    completeness, today = registry.completeness, current.sync().history.today()
    days = {series: newest_wanted_day(today, series) for series in registry.outcomes.list_in_use()}
    for series, counts in completeness.count_complete(days).items():
        completeness.save_freshness(HourFreshness(hour, series, *counts))
    completeness.delete_freshness_before(hour - KEEP_FRESHNESS)


def _publish(job: WindowJob) -> None:
    publish([job])


@shared_task(name="tasks.upkeep.deliver_notice", base=ControlTask)
def deliver_notice(notice_id: str) -> None:
    """Send one notice. A duplicate message sends nothing, because the sender claims the notice first."""
    from worker.runtime.consent_parts import build_notice_sender

    build_notice_sender(current.stores()).deliver(notice_id)


@shared_task(name="tasks.upkeep.deliver_due_notices", base=ControlTask)
def deliver_due_notices() -> None:
    """Publish one delivery for each notice that is due, so that a slow receiver delays only its own notices."""
    stores = current.stores()
    for notice_id in stores.registry.notices.list_due(stores.now()):
        deliver_notice.delay(notice_id)


@shared_task(name="tasks.upkeep.deliver_output", base=ControlTask)
def deliver_output(output_id: str) -> None:
    """Send an output's waiting data in another thread, so that no window waits for it.

    A duplicate message finds the output locked, or nothing to send. A process that ends midway loses nothing.
    """
    current.deliveries().add(output_id)


@shared_task(name="tasks.upkeep.deliver_due_outputs", base=ControlTask)
def deliver_due_outputs() -> None:
    """Publish one delivery for each output that has something to send, so that a slow output delays no other."""
    stores = current.stores()
    for output_id in stores.registry.outputs.list_due(stores.now()):
        deliver_output.apply_async((output_id,), expires=OUTPUT_EXPIRES_S)


@shared_task(name="tasks.upkeep.note_daily_outputs", base=ControlTask)
def note_daily_outputs() -> None:
    """Make yesterday's data due again for the outputs whose figures change with the date. Safe to repeat."""
    current.outputs().note_daily()


@shared_task(name="tasks.upkeep.create_missing_curve_notices", base=ControlTask)
def create_missing_curve_notices() -> None:
    """Create one notice for each account whose load curve nobody has switched on."""
    from worker.accounts.notices import notify_missing_curves

    notify_missing_curves(current.stores().registry, current.sync().refusals)


@shared_task(name="tasks.upkeep.create_consent_reminders", base=ControlTask)
def create_consent_reminders() -> None:
    """Create reminders for consents that end within 30 and within 7 days, and for API tokens that end soon.

    Each reminder is created only once.
    """
    from worker.accounts.notices import notify_ending_tokens
    from worker.runtime.sync_parts import build_channels

    stores, registry = current.stores(), current.stores().registry
    current.sync().refusals.insert_reminders()
    channels = build_channels(stores.settings, registry.tenants)
    notify_ending_tokens(registry.api_tokens, registry.notices, channels, stores.now())


@shared_task(name="tasks.upkeep.update_prices", base=ControlTask)
def update_prices() -> None:
    """Fetch the regulator's prices, if an account uses them; once a day, also if that fails."""
    from worker.accounts.price_files import fetch_from, take_shipped, update_files, uses_regulated
    from worker.runtime.supplier_settings import price_addresses

    stores, today = current.stores(), civil_date(real_clock())  # Files don't follow the fleet's simulated time.
    if uses_regulated(stores.registry) and stores.windows.slot(f"update_prices:{today}", _A_DAY_S):
        take_shipped(stores.registry)
        update_files(stores.registry, fetch_from(price_addresses(stores.settings), today))


@shared_task(name="tasks.upkeep.update_colours", base=ControlTask)
def update_colours() -> None:
    """Ask RTE for the colours of Tempo that lack, if an account is on Tempo.

    Once a half-hour while the newest lacks, once a day for older ones, which RTE may not have.
    """
    from worker.accounts import tempo
    from worker.runtime.supplier_settings import rte_application

    stores = current.stores()
    if not (application := rte_application(stores.settings)):
        return
    lacking, newest_lacks = tempo.find_lacking(stores.registry, stores.now())
    wait_s = _HALF_AN_HOUR_S if newest_lacks else _A_DAY_S
    if lacking and stores.windows.slot(f"update_colours:{lacking[0]}:{lacking[-1]}", wait_s):
        tempo.update_colours(stores.registry, application, lacking)


@shared_task(name="tasks.upkeep.probe_incidents", base=ControlTask)
def probe_incidents() -> None:
    """Check whether an open incident is over; the windows that it held are then due again. Safe to repeat."""
    from worker.runtime.sync_parts import build_prober

    build_prober(current.stores(), current.sync()).run()
