"""The Celery app: knows the tasks by name alone, so importing a task needs no broker.

What counts is imported where it is used: ``telemetry`` says first how this process keeps its counts.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, Protocol

from celery import Celery, signals
from kombu import Connection
from kombu.pidbox import Mailbox
from kombu.pools import connections

from config.settings import ConfigError, Settings, get_settings
from worker.domain.measures.messages import WindowJob
from worker.ops import metrics_setup, task_logging
from worker.ops.broker import broker_errors, oldest_ages
from worker.ops.broker import queue_lengths as lengths_of
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
        from worker.runtime.process import redis_url_from

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
    from worker.runtime.process import get_runtime

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


# Handing work to the queue from the command line and the web; Celery is loaded only here.

BACKFILL_TASK: Final = "tasks.backfill.backfill_account"
LOOK_BACK_TASK: Final = "tasks.schedule.sync_account"
_BRIEFLY: Final = {"max_retries": 2, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 0.5}  # somebody waits
ASK_AGAIN_TASK: Final = "tasks.repair.ask_again"


class House(Protocol):
    """Knows its broker; a Runtime is one."""

    @property
    def settings(self) -> Settings: ...

    @property
    def redis_url(self) -> str: ...


@contextmanager
def _broker_of(runtime: House) -> Iterator[Connection]:
    """A connection to this runtime's own broker, embedded or not.

    Named each time and taken from kombu's pool of that address: the app keeps to the first broker it spoke to.
    """
    with connections[app.connection_for_write(_url_of(runtime))].acquire(block=True) as connection:
        yield connection


def _url_of(runtime: House) -> str:
    return runtime.settings.broker() or runtime.redis_url


def publish_backfill(runtime: House, account_id: str) -> None:
    _publish(runtime, BACKFILL_TASK, account_id)


def publish_look_back(runtime: House, account_id: str, run: str) -> None:
    _publish(runtime, LOOK_BACK_TASK, account_id, run)


def send(runtime: House, task: str, *args: str) -> None:
    """Any task by its name."""
    _publish(runtime, task, *args)


def publish_window(runtime: House, origin: WindowJob) -> None:
    """Ask for one window again, outside every run."""
    _publish(runtime, ASK_AGAIN_TASK, origin["account_id"], origin["series"], origin["start"], origin["end"])


def queue_lengths(runtime: House) -> dict[str, int]:
    """Messages that wait, by queue, whichever broker it is.  Raises StoreUnavailable."""
    with broker_errors(), _broker_of(runtime) as connection:
        return lengths_of(connection, app.conf.task_queues)


def queue_ages(runtime: House) -> dict[str, float]:
    """For how long the next message of each queue has waited, in seconds; see ``worker.ops.broker``.

    Raises StoreUnavailable.
    """
    with broker_errors(), _broker_of(runtime) as connection:
        return oldest_ages(connection, app.conf.task_queues)


def workers_answer(runtime: House) -> bool:
    """Whether any worker is there to take what we publish.  Raises StoreUnavailable."""
    return count_workers(runtime, patience_s=1.5) > 0


def count_workers(runtime: House, patience_s: float) -> int:
    """Workers that answer within ``patience_s``, all of which is waited for.  Raises StoreUnavailable."""
    # A connection of its own: on one that is used again, an answer may wait until an earlier wait there is over.
    with broker_errors(), app.connection_for_write(_url_of(runtime)) as connection:
        connection.ensure_connection(max_retries=1)  # nor is a broker that is down waited for
        # A mailbox of its own: the app's sends by way of the first broker that this process spoke to.
        mailbox = Mailbox(app.conf.control_exchange, "fanout", connection, accept=app.conf.accept_content)
        try:
            return len(mailbox.multi_call("ping", timeout=patience_s) or ())
        finally:
            mailbox.reply_queue(connection.default_channel).delete()  # nobody else takes it away


def _publish(runtime: House, task: str, *args: str) -> None:
    with broker_errors(), _broker_of(runtime) as connection:
        app.send_task(task, args=args, queue="control", connection=connection, retry_policy=_BRIEFLY)
