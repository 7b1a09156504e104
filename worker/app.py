"""The Celery app: knows the tasks by name alone, so importing a task needs no broker.

What counts is imported where it is used: ``telemetry`` says first how this process keeps its counts.
"""

from __future__ import annotations

import atexit
import sys
from contextlib import ExitStack
from typing import Any

from celery import Celery, signals

from config.settings import ConfigError, get_settings
from worker.ops import metrics_setup, task_logging
from worker.ops.kombu_redis import use_mended
from worker.ops.logging_setup import configure_process

use_mended()
app = Celery("releve")
app.config_from_object("config.celery_options")
task_logging.install()
metrics_setup.install(sys.argv)
_opened = ExitStack()
atexit.register(_opened.close)  # the embedded server ends with the last of its users


if "flower" in sys.argv[1:]:  # `celery -A worker flower`, which reads its options when it has loaded us
    from worker.ops.flower import set_defaults

    try:
        configure_process(get_settings(), takeover=True)  # Tornado then adds no handler of its own
        set_defaults(get_settings())
    except ConfigError as error:
        raise SystemExit(f"releve: {error}") from None


@app.on_after_configure.connect
def _use_embedded_broker(sender: Celery, **_: Any) -> None:
    """Without an address of our own the embedded server serves, shared with this user's other commands."""
    from worker.ops.heartbeat import WORKER
    from worker.stores.redis.broker import broker_keys
    from worker.stores.redis.connection import is_redis

    if not sender.conf.broker_url:
        from worker.runtime import redis_url_from

        sender.conf.update(broker_url=redis_url_from(get_settings(), _opened))
    if is_redis(sender.conf.broker_url):
        sender.conf.broker_transport_options |= broker_keys(WORKER)


@signals.worker_init.connect
def _look_as_worker(**_: Any) -> None:
    from worker.ops.startup import look_as_worker

    look_as_worker()


@signals.worker_init.connect
def _say_alive(**_: Any) -> None:
    """From before the first message is taken: what a worker holds that says nothing is given to others."""
    from worker.ops.heartbeat import Heartbeat
    from worker.runtime import get_runtime

    heartbeat = Heartbeat(get_runtime().state)
    heartbeat.start()
    signals.worker_shutdown.connect(lambda **_: heartbeat.stop(), weak=False)


@signals.beat_init.connect
@signals.beat_embedded_init.connect
def _look_as_beat(**_: Any) -> None:
    from worker.ops.startup import look_as_beat

    signals.after_task_publish.connect(look_as_beat(_opened), weak=False)


@signals.worker_ready.connect
def _watch(sender: Any, **_: Any) -> None:
    from worker.ops.watchdog import watch

    watch(sender)
