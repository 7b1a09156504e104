"""Upkeep that beat starts: repair, audit, notices, probes, token renewal, retention, erasure."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from typing import Final

from celery import shared_task

from tasks.base import ControlTask
from tasks.pipeline import publish
from worker.accounts.notices import notify_ending_tokens, notify_missing_curves
from worker.domain.audit_entry import AUDIT_KEPT
from worker.domain.clock import real_clock
from worker.domain.messages import WindowJob
from worker.domain.series import Series, complete_fleet, parse_series
from worker.domain.windows import DateWindow, newest_wanted_day
from worker.logs import fields
from worker.ops import watchdog
from worker.outputs.delivery import DeliveryThreads
from worker.runtime.current import get_runtime
from worker.stores.registry.outcomes import HourFreshness
from worker.sync.verification import AuditSummary, sample_accounts, save_audit_summary

log = logging.getLogger("releve.tasks")
# In one run, an hour: some minutes of work.
MAX_MONTHS_PACKED: Final = 5_000
KEEP_UNKNOWN_ANSWERS: Final = timedelta(days=400)
KEEP_FRESHNESS: Final = timedelta(days=400)
_FLEET_SERIES: Final = "fleet-series"
_A_DAY_S: Final = 24 * 3600
_CLOCKS_DIFFER: Final = timedelta(hours=1)  # By its own clock the database refuses to delete younger entries.
OUTPUT_EXPIRES_S: Final = 60  # The next round publishes it again.
KEEP_ENDED_RIGHTS: Final = timedelta(days=30)  # So that a person can see what became of one.
KEEP_INVITATIONS: Final = timedelta(days=7)  # After their end, so that an operator can see what became of one.


def _deliver(output_id: str) -> None:
    get_runtime().output_delivery.deliver(output_id)


_DELIVERIES: Final = DeliveryThreads(_deliver)


@shared_task(name="tasks.upkeep.renew_tokens", base=ControlTask)
def renew_tokens() -> None:
    """Renew tokens before they expire, so that no worker waits for it: the application's, or those of users."""
    runtime = get_runtime()
    if runtime.clients.renews_tokens:
        runtime.token_renewal.run()
    today = runtime.history.today()
    for name, clients in runtime.suppliers.items():
        if not clients.account_tokens and runtime.registry.accounts.page_active(limit=1, today=today, supplier=name):
            clients.application_tokens().current()


@shared_task(name="tasks.upkeep.follow_fleet_series", base=ControlTask)
def follow_fleet_series(names: str) -> None:
    """Let all accounts follow the series that beat's RELEVE_SERIES names, once it has changed, and once a day."""
    runtime = get_runtime()
    fleet = [series for series in complete_fleet(parse_series(names)) if runtime.offers(series)]
    if runtime.progress.get_text(_FLEET_SERIES) != names:
        changed = runtime.registry.outcomes.follow_fleet(fleet, runtime.now())
        runtime.progress.put_text(_FLEET_SERIES, names, _A_DAY_S)
        if changed:
            log.info("accounts follow RELEVE_SERIES", extra=fields(series=names, accounts=changed))


@shared_task(name="tasks.upkeep.revoke_tokens", base=ControlTask)
def revoke_tokens() -> None:
    """Have the supplier revoke the tokens that no account uses any more.  Safe to repeat."""
    get_runtime().token_revocation.run()


@shared_task(name="tasks.upkeep.tick", base=ControlTask)
def tick() -> None:
    """Record that beat, queue and workers work together: this ran, so all three do."""
    get_runtime().heartbeats.record_tick()


@shared_task(name="tasks.upkeep.prune_raw_answers", base=ControlTask)
def prune_raw_answers() -> None:
    """Delete raw answers and unknown answers that are too old, and pack each past month into one row.

    What was deleted since, such as an erased meter and its readings, leaves SQLite's files then.
    """
    runtime = get_runtime()
    now = runtime.now()
    erased = runtime.raw_answers.delete_before(now - timedelta(days=runtime.settings.raw_answers_days))
    packed = runtime.raw_answers.pack_past_months(now, MAX_MONTHS_PACKED)
    runtime.unknown_answers.delete_before(now - KEEP_UNKNOWN_ANSWERS)
    runtime.registry.database.empty_log()
    runtime.measures.empty_log()
    if runtime.erasure_ledger.file.path.exists() and runtime.erasure_ledger.find() is None:
        runtime.erasure_ledger.accept()  # Release 0.2.0 has written it, and `releve migrate` may have had no ledger.
    if erased or packed:
        log.info("raw answers pruned", extra=fields(erased=erased, months_packed=packed))


@shared_task(name="tasks.upkeep.requeue_orphans", base=ControlTask)
def requeue_orphans() -> None:
    """Requeue the messages of workers that are gone, without waiting for the broker's own time-out."""
    runtime = get_runtime()
    if runtime.broker_messages is not None:
        watchdog.requeue_orphans(runtime.heartbeats, runtime.broker_messages)


@shared_task(name="tasks.upkeep.purge_account", base=ControlTask)
def purge_account(account_id: str) -> None:
    """Erase what is left of a removed account.  Safe to repeat."""
    get_runtime().erase(account_id)


@shared_task(name="tasks.upkeep.expire_consents", base=ControlTask)
def expire_consents() -> None:
    """Suspend accounts whose consent has ended, end its proofs and grants, and erase what is old.

    Invitations, the memory of erasures, rights that have ended, old evidence and old audit entries, too.
    """
    runtime = get_runtime()
    suspended = runtime.refusals.suspend_ended_consents()
    ended, erased = runtime.refusals.apply_retention(runtime.settings.keep_consent_proof_days)
    # Invitations live by the real time, even where the fleet runs at a simulated one.
    runtime.invitations.delete_before(real_clock() - KEEP_INVITATIONS)
    runtime.sessions.delete_over()
    runtime.audit.delete_before(real_clock() - AUDIT_KEPT - _CLOCKS_DIFFER)
    runtime.erasures.forget_before(runtime.history.today())
    runtime.rights.delete_ended_before(runtime.now() - KEEP_ENDED_RIGHTS)
    keep_grants = timedelta(days=runtime.settings.keep_consent_proof_days)
    grants = runtime.proxy_grant_table.apply_retention(runtime.history.today(), real_clock() - keep_grants)
    if suspended or ended or erased or grants:
        extra = fields(accounts_suspended=suspended, proofs_ended=ended, proofs_erased=erased, grants_ended=grants)
        log.info("consents expired", extra=extra)


@shared_task(name="tasks.upkeep.repair_open_days", base=ControlTask)
def repair_open_days() -> None:
    """Publish the open days that are due, unless an incident is open.  A second run finds them in flight."""
    if get_runtime().incidents.is_open():
        return
    publish(get_runtime().due_windows.repairs())


@shared_task(name="tasks.upkeep.request_window", base=ControlTask)
def request_window(account_id: str, series: str, start: str, end: str) -> None:
    """Publish one window whose stored readings may be wrong."""
    window = DateWindow(date.fromisoformat(start), date.fromisoformat(end))
    _publish(get_runtime().claims.to_job(account_id, Series(series), window))


@shared_task(name="tasks.upkeep.audit_sample", base=ControlTask)
def audit_sample() -> None:
    """Verify a sample of accounts, repair what can be repaired, and store the summary."""
    runtime = get_runtime()
    auditor = runtime.auditor(_publish)
    totals = AuditSummary()
    for account in sample_accounts(runtime.registry, runtime.settings.audit_sample):
        result = auditor.verify_account(account.id)
        totals.add(result)
        auditor.repair_account(result)
    save_audit_summary(runtime.progress, totals, runtime.now())
    log.info("audit accounts=%d documents=%d at_fault=%d", totals.accounts, totals.documents, totals.accounts_at_fault)


@shared_task(name="tasks.upkeep.delete_old_corrections", base=ControlTask)
def delete_old_corrections() -> None:
    """Delete corrections that are older than the setting keeps them."""
    runtime = get_runtime()
    runtime.corrections.delete_before(runtime.now() - timedelta(days=runtime.settings.keep_corrections_days))


@shared_task(name="tasks.upkeep.record_freshness", base=ControlTask)
def record_freshness() -> None:
    """Store how many active accounts have the newest day complete that they should, for this hour.  Safe to repeat."""
    runtime = get_runtime()
    hour = runtime.now().replace(minute=0, second=0, microsecond=0)
    completeness = runtime.registry.completeness
    for series in runtime.registry.outcomes.list_in_use():
        day = newest_wanted_day(runtime.history.today(), series)
        completeness.save_freshness(HourFreshness(hour, series, *completeness.count_complete_since(series, day)))
    completeness.delete_freshness_before(hour - KEEP_FRESHNESS)


def _publish(job: WindowJob) -> None:
    publish([job])


@shared_task(name="tasks.upkeep.deliver_notice", base=ControlTask)
def deliver_notice(notice_id: str) -> None:
    """Send one notice.  A doubled message sends it once: the sender claims it first."""
    get_runtime().notice_sender.deliver(notice_id)


@shared_task(name="tasks.upkeep.deliver_due_notices", base=ControlTask)
def deliver_due_notices() -> None:
    """Publish one delivery for each notice that is due, so that a slow receiver delays its own notices alone."""
    runtime = get_runtime()
    for notice_id in runtime.notices.list_due(runtime.now()):
        deliver_notice.delay(notice_id)


@shared_task(name="tasks.upkeep.deliver_output", base=ControlTask)
def deliver_output(output_id: str) -> None:
    """Send what waits for one output, in a thread beside this one, so that no window waits for it.

    A doubled message finds it locked, or nothing to send.  A process that ends in between has lost nothing.
    """
    _DELIVERIES.add(output_id)


@shared_task(name="tasks.upkeep.deliver_due_outputs", base=ControlTask)
def deliver_due_outputs() -> None:
    """Publish one delivery for each output that has something to send, so that a slow one delays no other."""
    runtime = get_runtime()
    for output_id in runtime.outputs.list_due(runtime.now()):
        deliver_output.apply_async((output_id,), expires=OUTPUT_EXPIRES_S)


@shared_task(name="tasks.upkeep.note_daily_outputs", base=ControlTask)
def note_daily_outputs() -> None:
    """Let the outputs whose figures change with the date be sent yesterday again.  Safe to repeat."""
    get_runtime().output_delivery.note_daily()


@shared_task(name="tasks.upkeep.create_missing_curve_notices", base=ControlTask)
def create_missing_curve_notices() -> None:
    """Create a notice for each account whose load curve nobody has switched on, once."""
    runtime = get_runtime()
    notify_missing_curves(runtime.registry, runtime.refusals)


@shared_task(name="tasks.upkeep.create_consent_reminders", base=ControlTask)
def create_consent_reminders() -> None:
    """Create reminders for consents that end within 30 and within 7 days, and for API tokens, each once."""
    runtime = get_runtime()
    runtime.refusals.insert_reminders()
    notify_ending_tokens(runtime.api_tokens, runtime.notices, runtime.channels, runtime.now())


@shared_task(name="tasks.upkeep.probe_incidents", base=ControlTask)
def probe_incidents() -> None:
    """Find out whether an open incident is over; what it kept waiting is due again then.  Safe to repeat."""
    get_runtime().probes.run()
