"""The Celery app: knows the tasks by name alone, so importing a task needs no broker."""

from __future__ import annotations

import atexit
import logging
from contextlib import ExitStack
from typing import Any

from celery import Celery, signals

from config.settings import ConfigError, get_settings
from worker.errors import WorkerError
from worker.presence import WORKER, Heartbeat
from worker.stores.deliveries import broker_keys
from worker.stores.redis_link import is_redis

log = logging.getLogger("releve")

app = Celery("releve")
app.config_from_object("config.celery_options")
_opened = ExitStack()
atexit.register(_opened.close)  # the embedded server ends with the last of its users


@app.on_after_configure.connect
def _use_embedded_broker(sender: Celery, **_: Any) -> None:
    """Without an address of our own the embedded server serves, shared with this user's other commands."""
    if not sender.conf.broker_url:
        from worker.runtime import redis_url_from

        sender.conf.update(broker_url=redis_url_from(get_settings(), _opened))
    if is_redis(sender.conf.broker_url):
        sender.conf.broker_transport_options |= broker_keys(WORKER)


@signals.worker_init.connect
@signals.beat_init.connect
def _look_before_starting(**_: Any) -> None:
    """Build the house before the first task: what can't work ends the process with its reason, not a task."""
    from worker.runtime import announce_pretence, get_runtime

    try:
        announce_pretence(get_settings(), log.warning)
        get_runtime()
    except (ConfigError, WorkerError) as error:
        raise SystemExit(f"releve: {error}") from None


@signals.worker_init.connect
def _say_alive(**_: Any) -> None:
    """From before the first message is taken: what a worker holds that says nothing is given to others."""
    from worker.runtime import get_runtime

    heartbeat = Heartbeat(get_runtime().state)
    heartbeat.start()
    signals.worker_shutdown.connect(lambda **_: heartbeat.stop(), weak=False)
