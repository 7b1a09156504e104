"""Handing work to the queue from the command line and the web; Celery is loaded only here.

Tasks are named, not imported: the doors stand below the tasks.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from kombu import Connection
from kombu.exceptions import OperationalError
from kombu.pools import connections

from worker.app import app
from worker.domain.batches import Origin
from worker.errors import StoreUnavailable
from worker.runtime import Runtime

BACKFILL_TASK: Final = "tasks.backfill.backfill_account"
LOOK_BACK_TASK: Final = "tasks.schedule.sync_account"
_BRIEFLY: Final = {"max_retries": 2, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 0.5}  # somebody waits
ASK_AGAIN_TASK: Final = "tasks.repair.ask_again"


@contextmanager
def _broker_of(runtime: Runtime) -> Iterator[Connection]:
    """A connection to this runtime's own broker, embedded or not.

    Named each time and taken from kombu's pool of that address: the app keeps to the first broker it spoke to.
    Raises StoreUnavailable for whatever kombu, or the broker's own library beneath it, has to say of an outage: a
    connection from the pool may have ended since it was used last.
    """
    url = runtime.settings.broker() or runtime.redis_url
    with connections[app.connection_for_write(url)].acquire(block=True) as connection:
        try:
            yield connection
        except (OperationalError, *connection.connection_errors, *connection.channel_errors):
            raise StoreUnavailable("the broker can't be reached: start it, or set RELEVE_REDIS_URL right") from None


def publish_backfill(runtime: Runtime, account_id: str) -> None:
    _publish(runtime, BACKFILL_TASK, account_id)


def publish_look_back(runtime: Runtime, account_id: str, run: str) -> None:
    _publish(runtime, LOOK_BACK_TASK, account_id, run)


def send(runtime: Runtime, task: str, *args: str) -> None:
    """Any task by its name."""
    _publish(runtime, task, *args)


def publish_window(runtime: Runtime, origin: Origin) -> None:
    """Ask for one window again, outside every run."""
    _publish(runtime, ASK_AGAIN_TASK, origin["account_id"], origin["series"], origin["start"], origin["end"])


def queue_lengths(runtime: Runtime) -> dict[str, int]:
    """Messages that wait, by queue, whichever broker it is.  Raises StoreUnavailable.

    Declared as the workers declare them, not passively: with a key prefix kombu takes every queue of Redis for
    one that isn't there.
    """
    with _broker_of(runtime) as connection:
        channel: Any = connection.default_channel
        return {
            queue.name: int(
                channel.queue_declare(
                    queue=queue.name,
                    durable=queue.durable,
                    auto_delete=queue.auto_delete,
                    arguments=queue.queue_arguments,
                ).message_count
            )
            for queue in app.conf.task_queues
        }


def workers_answer(runtime: Runtime) -> bool:
    """Whether any worker is there to take what we publish."""
    with _broker_of(runtime) as connection:
        return bool(app.control.ping(timeout=1.5, connection=connection))


def _publish(runtime: Runtime, task: str, *args: str) -> None:
    with _broker_of(runtime) as connection:
        app.send_task(task, args=args, queue="control", connection=connection, retry_policy=_BRIEFLY)
