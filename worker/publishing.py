"""Handing work to the queue from the command line and the web; Celery is loaded only here.

Tasks are named, not imported: the doors stand below the tasks.
"""

from __future__ import annotations

from typing import Any, Final

from celery import Celery
from kombu.exceptions import OperationalError

from worker.app import app
from worker.errors import StoreUnavailable
from worker.runtime import Runtime

BACKFILL_TASK: Final = "tasks.backfill.backfill_account"
LOOK_BACK_TASK: Final = "tasks.schedule.sync_account"


def queue_of(runtime: Runtime) -> Celery:
    """The app on the same broker as this door's runtime, embedded or not."""
    app.conf.update(broker_url=runtime.settings.broker() or runtime.redis_url)
    return app


def publish_backfill(runtime: Runtime, account_id: str) -> None:
    _publish(runtime, BACKFILL_TASK, account_id)


def publish_look_back(runtime: Runtime, account_id: str, run: str) -> None:
    _publish(runtime, LOOK_BACK_TASK, account_id, run)


def queue_lengths(runtime: Runtime) -> dict[str, int]:
    """Messages that wait, by queue, whichever broker it is.  Raises StoreUnavailable.

    Declared as the workers declare them, not passively: with a key prefix kombu takes every queue of Redis for
    one that isn't there.
    """
    celery = queue_of(runtime)
    try:
        with celery.connection_for_write() as connection:
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
                for queue in celery.conf.task_queues
            }
    except OperationalError:
        raise StoreUnavailable("the broker can't be reached") from None


def workers_answer(runtime: Runtime) -> bool:
    """Whether any worker is there to take what we publish."""
    return bool(queue_of(runtime).control.ping(timeout=1.5))


def _publish(runtime: Runtime, task: str, *args: str) -> None:
    try:
        queue_of(runtime).send_task(task, args=args, queue="control")
    except OperationalError:
        raise StoreUnavailable("the broker can't be reached: start it, or set RELEVE_REDIS_URL right") from None
