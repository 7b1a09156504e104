"""Celery's configuration: broker, delivery, pool, queues and the beat schedule.

The names are Celery's own settings.  Broker, hour of the night and intervals come from ``config.settings``; options
that differ between Redis and RabbitMQ come from ``config.validation``.
"""

from __future__ import annotations

from celery.schedules import crontab
from kombu import Exchange, Queue

from config.settings import ConfigError, get_settings
from worker.domain.lanes import QUEUES, Lane
from worker.domain.retry import PUBLISH_POLICY
from worker.domain.schedule import CATCH_UP_HOURS, CATCH_UP_MINUTE, REPAIR_MINUTE

try:
    _settings = get_settings()
except ConfigError as error:  # Otherwise Celery would print a traceback above the error.
    raise SystemExit("\n".join(f"releve: {line}" for line in str(error).splitlines())) from None
_hour, _minute = _settings.nightly_at.split(":")
_broker = _settings.broker_options()
broker_url = _broker.url  # If None, worker.app uses the embedded Redis.
broker_transport_options = _broker.transport_options
broker_use_ssl = _broker.use_ssl
broker_heartbeat = 30  # On RabbitMQ a dead worker's messages come back after two heartbeats instead of minutes.
result_backend = None  # A window's outcome is in Redis and the registry, not in Celery's results.
task_ignore_result = True  # Saves Redis commands, and avoids failures when a result can't be written.
imports = ("tasks.pipeline", "tasks.nightly", "tasks.consent", "tasks.upkeep")
task_serializer = "json"
accept_content = ["json"]
task_compression = "gzip"  # Chain messages repeat long task names, and sealed readings are base64.
broker_connection_retry_on_startup = True  # The broker may start later than the worker.
broker_connection_max_retries = None  # Retry for ever when the broker restarts.
task_acks_late = True  # A message is acknowledged after its task, so that a killed worker loses nothing.
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1  # A worker reserves no more messages than it runs.
worker_disable_prefetch = _broker.kind == "redis"  # Celery supports this only on Redis.
# Quorum queues allow no prefetch count for a whole channel. With this option Celery sets none, and the broker itself
# delays messages that have a countdown.
worker_detect_quorum_queues = True
# A finished step publishes the next step. If the broker is down, the step retries for some 20 s, as long as a restart
# takes. When the step gives up, the window counts as lost after LOST_AFTER_S, and the reconciler publishes it again.
task_publish_retry_policy = dict(PUBLISH_POLICY)
# Pool: tasks mostly wait for the network, so threads are enough; every external call has a timeout.
worker_pool = "threads"
worker_concurrency = 16
worker_enable_remote_control = True
worker_send_task_events = False  # Flower turns these events on while it runs.
task_send_sent_event = False  # Such an event would cost one more message per task; the time of receipt is known anyway.
worker_cancel_long_running_tasks_on_connection_loss = False
worker_redirect_stdouts = False  # Log lines are formatted by worker/logs.py, through Celery's setup_logging signal.
# Queues, in the order in which a worker on Redis serves them.
_exchange = Exchange("releve", type=_broker.exchange_type)
task_queues = [Queue(name, _exchange, routing_key=name, queue_arguments=_broker.queue_arguments) for name in QUEUES]
task_default_queue = "control"
task_default_exchange = "releve"
task_default_exchange_type = _broker.exchange_type
task_default_routing_key = "control"
task_create_missing_queues = True
task_routes: dict[str, dict[str, str]] = {
    "tasks.pipeline.fetch": {"queue": "nightly"},  # Chains name their own lane; this route is for calls by hand.
    "tasks.pipeline.*": {"queue": Lane.STEPS.value},
    "tasks.*": {"queue": "control"},
}
timezone = "Europe/Paris"  # All local times are in the meters' time zone.
enable_utc = True
beat_scheduler = "worker.ops.startup:BeatScheduler"
beat_schedule_filename = str(_settings.data_dir / "beat-schedule")
_round = float(_settings.reconcile_every_s)
_catch_up_hours = ",".join(map(str, CATCH_UP_HOURS))
# Each entry's name, task and schedule, and the seconds after which its message expires (None: never), so that messages
# don't pile up while no worker runs.
_SCHEDULE: tuple[tuple[str, str, crontab | float, float | None], ...] = (
    # By default at 08:30, because Enedis has yesterday's data from 08:00 on; in a home at 06:00.
    ("nightly sync", "nightly.nightly_sync", crontab(hour=int(_hour), minute=int(_minute)), None),
    # For accounts whose data of yesterday arrived late.
    ("catch up", "nightly.catch_up", crontab(hour=_catch_up_hours, minute=CATCH_UP_MINUTE), None),
    ("resume backfills", "nightly.resume_backfills", _round, 5 * _round),
    ("conclude requests", "consent.conclude_due", _round, 5 * _round),
    ("resume night", "nightly.resume_night", _round, 5 * _round),
    ("repair", "upkeep.repair_open_days", crontab(minute=REPAIR_MINUTE), 3000),
    ("audit", "upkeep.audit_sample", crontab(hour=5, minute=20), 3 * 3600),  # Little else runs at this hour.
    ("delete old corrections", "upkeep.delete_old_corrections", crontab(hour=4, minute=40), 3 * 3600),
    ("record freshness", "upkeep.record_freshness", crontab(minute=5), 3000),
    ("prune raw answers", "upkeep.prune_raw_answers", crontab(minute=25), 3000),
    ("requeue orphans", "upkeep.requeue_orphans", 10.0, 10),
    ("deliver notices", "upkeep.deliver_due_notices", 60.0, 60),
    ("deliver outputs", "upkeep.deliver_due_outputs", 30.0, 30),
    ("note daily outputs", "upkeep.note_daily_outputs", crontab(hour=0, minute=5), 12 * 3600),
    # The night is over by then, and people read their mail.
    ("create missing curve notices", "upkeep.create_missing_curve_notices", crontab(hour=10, minute=35), 12 * 3600),
    # At these hours people read their mail. Each run adds only reminders that don't exist yet.
    ("create consent reminders", "upkeep.create_consent_reminders", crontab(hour="9-18", minute=15), 3600),
    ("expire consents", "upkeep.expire_consents", crontab(hour=4, minute=10), 12 * 3600),
    ("update prices", "upkeep.update_prices", crontab(hour=7, minute=50), 12 * 3600),  # Before people look.
    # RTE tells tomorrow's colour of Tempo at 10:40.
    ("update colours", "upkeep.update_colours", crontab(minute="10,40"), 1500),
    ("probe incidents", "upkeep.probe_incidents", float(min(15.0, _settings.incident_probe_s)), 60),
    ("renew tokens", "upkeep.renew_tokens", 60.0, 60),
    ("revoke tokens", "upkeep.revoke_tokens", 300.0, 300),
    ("withdraw rights", "consent.withdraw_rights", 300.0, 300),
    # GRDF emails the holders at each quarter of the hour. Some minutes later, the first answers may be there.
    ("check pending rights", "consent.check_rights", crontab(minute="7,22,37,52"), 600),
    ("check rights", "consent.check_rights", crontab(hour=6, minute=40), 6 * 3600),
    ("tick", "upkeep.tick", 60.0, 60),
    ("follow fleet series", "upkeep.follow_fleet_series", 60.0, 60),
)
# The arguments of tasks, by the entry's name. Beat passes its own RELEVE_SERIES, so that all workers apply the same
# value, even a worker that still has an older setting.
_ARGUMENTS: dict[str, tuple[object, ...]] = {
    "follow fleet series": (_settings.series,),
    "check pending rights": (True,),
}
# A home has only one worker, few calls, and neither consent pages nor rights. A round every two minutes is enough, and
# lets a small computer sleep in between. All rounds start in the same second, because Redis writes at least 4 kB to the
# memory card in each second in which something changes.
_NOT_OF_A_HOME = {"conclude requests", "withdraw rights", "check pending rights", "check rights"}
if _settings.is_home:
    # Ten minutes are enough, because a home's worker also restores messages when it starts.
    broker_transport_options["unacked_restore_interval"] = 600
    _SCHEDULE = tuple(
        (name, task, crontab(minute=f"*/{max(2, int(when / 60))}") if isinstance(when, float) else when, expires)
        for name, task, when, expires in _SCHEDULE
        if name not in _NOT_OF_A_HOME
    )
beat_schedule = {
    name: {
        "task": f"tasks.{task}",
        "schedule": schedule,
        "args": _ARGUMENTS.get(name, ()),
        "options": {"expires": expires},
    }
    for name, task, schedule, expires in _SCHEDULE
}
