"""Whether a worker still hears its broker, asked the way work reaches it.

Celery has gone deaf after a cut connection more than once (its issues 8030, 8384, 10205): the process lives, waits on
a socket that is dead, and takes no work.  Two ways lead from the broker into a worker, and either can be the dead one:

- its mailbox: we send it a ping on a connection of our own and wait for the answer.  The main thread answers, not the
  pool, so a worker whose threads are all busy answers too.
- its queues: where messages wait, the worker has a free slot, and it has taken nothing since we looked last, it does
  not listen.  (A worker that listens is given a waiting message at once, however many others there are.)
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final

from celery import Celery
from celery.worker import state
from kombu import Connection
from kombu.exceptions import OperationalError
from kombu.pidbox import Mailbox

from worker.queues import queue_lengths

log = logging.getLogger("releve.watchdog")

ANSWER_S: Final = 5.0
_CONNECT_S: Final = 5.0
_IO_TIME_OUTS: Final = {  # whatever the worker's own connection does, ours must not wait for ever
    "redis": {"socket_timeout": ANSWER_S, "socket_connect_timeout": _CONNECT_S},
    "amqp": {"read_timeout": ANSWER_S, "write_timeout": ANSWER_S},
}


class Heard(Enum):
    WELL = "hears"
    NOTHING = "is deaf"
    BROKER_AWAY = "can't be asked: the broker does not answer us either"


class Earshot:
    """Of one running worker; ``consumer`` is what ``worker_ready`` hands over."""

    def __init__(self, app: Celery, consumer: Any) -> None:
        self._app = app
        self._consumer = consumer
        conf = app.conf
        # One of our own: the app's publishes over the process's shared connections, which may be the dead ones.
        self._mailbox = Mailbox(
            conf.control_exchange,
            type="fanout",
            accept=["json"],
            reply_queue_ttl=conf.control_queue_ttl,
            reply_queue_expires=conf.control_queue_expires,
        )
        self._answered_once = False
        self._hungry_at: int | None = None  # progress when it last left waiting work alone

    @property
    def connection(self) -> int | None:
        """Another number for each connection that the worker opens; None while it knows that it has none."""
        return None if self._consumer.connection is None else id(self._consumer.connection)

    @property
    def slots(self) -> int:
        controller, pool = self._consumer.controller, self._consumer.pool
        return int(getattr(controller, "max_concurrency", None) or pool.num_processes)

    @property
    def running(self) -> int:
        return len(state.active_requests)

    def queues(self) -> list[Any]:
        """Those that it consumes now; an operator may have taken some away."""
        consumer = self._consumer.task_consumer
        return list(consumer.queues) if consumer is not None else []

    def listen(self, progress: int, patience_s: float = ANSWER_S) -> Heard:
        """Ask both ways over a fresh connection; ``progress`` grows with each task taken."""
        try:
            with self._fresh_connection() as connection:
                answers = self._answers(connection, patience_s)
                works = self._takes_work(connection, progress)
        except _broker_errors(self._app) as error:
            log.debug("the broker does not answer: %s", type(error).__name__)
            self._hungry_at = None
            return Heard.BROKER_AWAY
        return Heard.WELL if answers and works else Heard.NOTHING

    @contextmanager
    def _fresh_connection(self) -> Iterator[Connection]:
        conf = self._app.conf
        driver = self._app.connection_for_read().transport.driver_type
        options = {**conf.broker_transport_options, **_IO_TIME_OUTS.get(driver, {})}
        with self._app.connection_for_write(transport_options=options, connect_timeout=_CONNECT_S) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=int(_CONNECT_S))
            yield connection

    def _answers(self, connection: Connection, patience_s: float) -> bool:
        """Its silence counts only once it has answered: some brokers carry no mailbox."""
        mailbox: Any = self._mailbox(connection)
        channel = connection.default_channel
        try:
            heard = bool(mailbox.call([self._consumer.hostname], "ping", timeout=patience_s, channel=channel))
        finally:
            mailbox.reply_queue(channel).delete()  # nobody else takes it away
        self._answered_once = self._answered_once or heard
        return heard or not self._answered_once

    def _takes_work(self, connection: Connection, progress: int) -> bool:
        free = self.running < self.slots
        waits = free and any(queue_lengths(connection, self.queues()).values())
        left_alone_before = self._hungry_at == progress
        self._hungry_at = progress if waits else None
        return not (waits and left_alone_before)


def _broker_errors(app: Celery) -> tuple[type[BaseException], ...]:
    probe = app.connection_for_read()
    return (OperationalError, OSError, *probe.connection_errors, *probe.channel_errors)
