"""What Celery reads when it starts: broker, delivery, limits, queues, beat.  Plain names, a reason beside each.

Measured reasons are in the stack trials (celery 5.7 on Redis); the broker's address comes from Settings.
"""

from __future__ import annotations

from typing import Any

from celery.schedules import crontab
from kombu import Exchange, Queue

from config.settings import ConfigError, get_settings
from worker.domain.fleet.lanes import QUEUES

try:
    _settings = get_settings()
except ConfigError as error:  # Celery would show it beneath a traceback
    raise SystemExit("\n".join(f"releve: {line}" for line in str(error).splitlines())) from None
_hour, _minute = _settings.nightly_at.split(":")

# -- where messages live
_broker = _settings.broker_options()  # what differs between Redis and RabbitMQ, with the reasons: config/brokers.py
broker_url = _broker.url  # worker.app falls back on the embedded server
broker_transport_options = _broker.transport_options
broker_use_ssl = _broker.use_ssl
broker_heartbeat = 30  # RabbitMQ alone: a dead worker's messages come back after two of them, not after minutes
result_backend = None  # what is to be known of a window is in Redis and the registry, not in results
task_ignore_result = True  # fewer commands, and no false failure when writing a result times out
imports = (
    "tasks.pipeline",
    "tasks.backfill",
    "tasks.schedule",
    "tasks.upkeep",
    "tasks.notices",
    "tasks.repair",
    "tasks.incidents",
)
task_serializer = "json"
accept_content = ["json"]
task_compression = "gzip"  # a window of readings shrinks about tenfold
broker_connection_retry_on_startup = True  # a broker that starts later than we do is waited for
broker_connection_max_retries = None  # and one that restarts, for as long as it takes

# -- delivery
task_acks_late = True  # a message is done when its task is, so a killed worker loses nothing
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1  # reserve only what runs
worker_disable_prefetch = _broker.kind == "redis"  # Celery has it for Redis alone
worker_detect_quorum_queues = True  # they know no prefetch for a whole channel; delays are then the broker's work
# A step that is done hands on to the next: where the broker is away just then it waits for it, some 20 s, as long as a
# restart takes.  Given up, the window would be found lost, but only after LOST_AFTER_S and the reconciler's turn.
task_publish_retry_policy = {"max_retries": 23, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 1.0}

# -- the pool: work that waits on the network runs in threads, where every outside call has its own time-out
worker_pool = "threads"
worker_concurrency = 16
worker_enable_remote_control = True
worker_send_task_events = False  # Flower turns them on (its --enable-events, the default); unseen they only cost
task_send_sent_event = False  # one more message for each; when it was received tells enough
worker_cancel_long_running_tasks_on_connection_loss = False
worker_redirect_stdouts = False  # how lines look is worker/logs.py's, through Celery's setup_logging signal

# -- queues, in the order of treatment when quota is short
_exchange = Exchange("releve", type=_broker.exchange_type)
task_queues = [Queue(name, _exchange, routing_key=name, queue_arguments=_broker.queue_arguments) for name in QUEUES]
task_default_queue = "control"
task_default_exchange = "releve"
task_default_exchange_type = _broker.exchange_type
task_default_routing_key = "control"
task_create_missing_queues = True
task_routes: dict[str, dict[str, str]] = {
    "tasks.pipeline.*": {"queue": "nightly"},  # chains name their own queue; this is for a call by hand
    "tasks.*": {"queue": "control"},
}

# -- beat
timezone = "Europe/Paris"  # all civil times are the meters'
enable_utc = True
beat_scheduler = "worker.ops.beat:Scheduler"
beat_schedule_filename = str(_settings.data_dir / "beat-schedule")
beat_schedule: dict[str, dict[str, Any]] = {
    "nightly sync": {
        "task": "tasks.schedule.nightly_sync",
        "schedule": crontab(hour=int(_hour), minute=int(_minute)),  # yesterday is out from 08:00
    },
    "catch up": {
        "task": "tasks.schedule.catch_up",
        "schedule": crontab(hour="14,15", minute=30),  # for meters whose yesterday came late
    },
    "resume backfills": {
        "task": "tasks.schedule.resume_backfills",
        "schedule": float(_settings.reconcile_every_s),
        "options": {"expires": 5 * _settings.reconcile_every_s},  # they must not pile up while workers are away
    },
    "resume night": {
        "task": "tasks.schedule.resume_night",
        "schedule": float(_settings.reconcile_every_s),
        "options": {"expires": 5 * _settings.reconcile_every_s},
    },
    "repair": {
        "task": "tasks.repair.repair_open_days",
        "schedule": crontab(minute=45),  # what the night did not bring; each open day at its turn
        "options": {"expires": 3000},
    },
    "audit": {
        "task": "tasks.repair.audit_sample",
        "schedule": crontab(hour=5, minute=20),  # when little else is going on
        "options": {"expires": 3 * 3600},
    },
    "forget old corrections": {
        "task": "tasks.repair.forget_old_corrections",
        "schedule": crontab(hour=4, minute=40),
        "options": {"expires": 3 * 3600},
    },
    "keep freshness": {
        "task": "tasks.repair.keep_freshness",
        "schedule": crontab(minute=5),
        "options": {"expires": 3000},
    },
    "tend kept answers": {
        "task": "tasks.upkeep.tend_kept_answers",
        "schedule": crontab(minute=25),
        "options": {"expires": 3000},
    },
    "give back orphans": {
        "task": "tasks.upkeep.give_back_orphans",
        "schedule": 10.0,
        "options": {"expires": 10},
    },
    "deliver notices": {"task": "tasks.notices.deliver_due", "schedule": 60.0, "options": {"expires": 60}},
    "tell missing curves": {
        "task": "tasks.notices.tell_missing_curves",
        "schedule": crontab(hour=10, minute=35),  # when the night has brought what there is, and people read
        "options": {"expires": 12 * 3600},
    },
    "remind of endings": {
        "task": "tasks.notices.remind_of_endings",
        "schedule": crontab(hour="9-18", minute=15),  # when people read; each reminder goes once
        "options": {"expires": 3600},
    },
    "tidy consents": {
        "task": "tasks.upkeep.tidy_consents",
        "schedule": crontab(hour=4, minute=10),
        "options": {"expires": 12 * 3600},
    },
    "probe incidents": {
        "task": "tasks.incidents.probe",
        "schedule": float(min(15.0, _settings.incident_probe_s)),
        "options": {"expires": 60},
    },
    "renew tokens": {"task": "tasks.upkeep.renew_tokens", "schedule": 60.0, "options": {"expires": 60}},
    "tick": {"task": "tasks.upkeep.tick", "schedule": 60.0, "options": {"expires": 60}},
}
