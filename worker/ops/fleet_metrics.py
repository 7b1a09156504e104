"""What is asked for all workers together, at `releve metrics`; nothing here is counted by a worker."""

from __future__ import annotations

from typing import Final

from worker.domain.consent.accounts import AccountState
from worker.domain.fleet.incidents import Kind
from worker.domain.fleet.lanes import QuotaLane
from worker.domain.measures.conservation import Cause, Law
from worker.domain.measures.readings import Series
from worker.metrics import Book

BOOK: Final = Book()

PARTS: Final = ("registry", "measures", "redis", "broker")

UP: Final = BOOK.define(
    "gauge", "releve_up", "Whether this part could be asked; what it tells is missing where not.", part=PARTS
)

# -- the registry
ACCOUNTS: Final = BOOK.define("gauge", "releve_accounts", "Accounts by state.", state=AccountState)
FRESHNESS: Final = BOOK.define(
    "gauge",
    "releve_freshness_ratio",
    "Share of the active accounts whose yesterday (Europe/Paris) is stored whole; none without an active account.",
    series=Series,
)
NOTICES: Final = BOOK.define("gauge", "releve_notices_waiting", "Notices to owners that are still to be delivered.")
REPAIR_DUE: Final = BOOK.define(
    "gauge",
    "releve_repair_accounts_due",
    "Active accounts with open days whose turn to be asked for again has come.",
    series=Series,
)
CORRECTED: Final = BOOK.define(
    "gauge",
    "releve_corrections_last_day",
    "Readings that the supplier changed within the last 24 hours, each change once.",
    series=Series,
)
SURPRISES: Final = BOOK.define(
    "gauge",
    "releve_quarantine_surprises",
    "What nobody has cleared and the supplier sent within the last 24 hours: for the first time, or as before.",
    surprise=("new", "known"),
)
NIGHT_CALLS: Final = BOOK.define(
    "gauge", "releve_night_calls", "Calls that a night takes of the accounts as they are, by the policy that holds."
)
NIGHT_CALLS_LIMIT: Final = BOOK.define(
    "gauge",
    "releve_night_calls_limit",
    "Calls that the quota lets a night make beside the other lanes; missing where there is no limit.",
)

# -- Redis
GATE_OPEN: Final = BOOK.define("gauge", "releve_gate_open", "1 while calls may pass, 0 while the supplier bars us.")
GATE_OPENS_IN: Final = BOOK.define(
    "gauge", "releve_gate_opens_in_seconds", "Time to the gate's opening; 0 where it is open."
)
PERMITS_USED: Final = BOOK.define("gauge", "releve_permits_used", "Permits taken within the last hour.", api=())
PERMITS_USED_BY_LANE: Final = BOOK.define(
    "gauge",
    "releve_permits_used_by_lane",
    "Permits taken within the last hour by each kind of work, in the order of treatment when the quota is short.",
    api=(),
    lane=QuotaLane,
)
PERMITS_LIMIT: Final = BOOK.define(
    "gauge", "releve_permits_limit", "Permits that an hour has; missing where there is no limit.", api=()
)
GATE_PACE: Final = BOOK.define(
    "gauge",
    "releve_gate_pace_ratio",
    "Share of the full pace that the gate lets through: 0 closed, 1 open, between them after an opening.",
)
INCIDENT_OPEN: Final = BOOK.define(
    "gauge",
    "releve_incident_open",
    "1 while an incident of this kind is open: the same failure on many accounts, so the supplier's.",
    kind=Kind,
)
NIGHT_FED: Final = BOOK.define(
    "gauge", "releve_night_fed", "1 when the newest night that was due has published all of its work."
)
NIGHT_COMPLETE: Final = BOOK.define(
    "gauge", "releve_night_complete", "1 when all accounts of the newest night that was due are done."
)
BEAT_PUBLISHED: Final = BOOK.define(
    "gauge", "releve_beat_last_publish_timestamp_seconds", "When beat published something last; missing if never."
)
BEAT_TICK: Final = BOOK.define(
    "gauge",
    "releve_beat_last_tick_timestamp_seconds",
    "When a worker last did what beat sends every minute; missing if never.",
)
WORKERS: Final = BOOK.define(
    "gauge",
    "releve_workers",
    "Workers of the last quarter of an hour: heard of within a minute, or silent since.",
    state=("heard", "silent"),
)
RESTARTS: Final = BOOK.define(
    "counter", "releve_watchdog_restarts_total", "Restarts of workers that their watchdog found deaf."
)
AUDIT_AT: Final = BOOK.define(
    "gauge",
    "releve_audit_last_timestamp_seconds",
    "When the stored documents of a sample were last held against one another; missing if not within a week.",
)
AUDIT_ACCOUNTS: Final = BOOK.define(
    "gauge", "releve_audit_accounts", "Accounts that the last audit looked at; missing where there was none."
)
AUDIT_AT_FAULT: Final = BOOK.define(
    "gauge",
    "releve_audit_accounts_at_fault",
    "Accounts of the last audit whose documents do not agree; missing where there was none.",
)
AUDIT_FINDINGS: Final = BOOK.define(
    "gauge",
    "releve_audit_findings",
    "Documents that the last audit found wrong, by the law they break and the likely cause.",
    law=Law,
    cause=Cause,
)

# -- the broker
ANSWERING: Final = BOOK.define("gauge", "releve_workers_answering", "Workers that answer a ping through the broker.")
QUEUE_MESSAGES: Final = BOOK.define("gauge", "releve_queue_messages", "Messages that wait in a queue.", queue=())
QUEUE_AGE: Final = BOOK.define(
    "gauge",
    "releve_queue_oldest_message_age_seconds",
    "Age of the message that is next in its queue, 0 where none waits; on Redis alone, RabbitMQ lets nobody look.",
    queue=(),
)
