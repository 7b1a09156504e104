"""Starts a worker anew that lives and hears nothing, keeps its pulse in Redis, and bounds its last minute.

One thread in the worker's main process.  Silence is counted only while the broker answers a connection of our own: a
broker that is down restarts nobody.  The restart replaces the program in its process (exec), so its pid stays, and
with it its supervisor or container.  What was in hand comes back: messages are acknowledged when their task is done.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final

from billiard import active_children
from celery import Celery, signals
from celery.worker import state
from kombu import Connection
from kombu.exceptions import OperationalError
from kombu.pidbox import Mailbox

from worker.errors import StoreUnavailable
from worker.ops.broker import queue_lengths
from worker.runtime.process import get_runtime
from worker.stores.redis.heartbeats import Heartbeats, WorkerHeartbeat

log = logging.getLogger("releve.watchdog")

LOOK_EVERY_S: Final = 15.0
RECONNECTING_S: Final = 35.0  # Celery pauses up to 30 s between two tries
GRACE_BEYOND_CALL_S: Final = 10.0  # as our supervisor's: worker/cli/up.py
_HEARTBEATS: Final = 3
LATE: Final = 1  # exit code of a worker that didn't come to its end


class Watchdog(threading.Thread):
    """Of one worker, from when it is ready to its end."""

    def __init__(self, consumer: Any, pulse: Heartbeats, *, silence_s: float) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._name_of_worker = str(consumer.hostname)
        self._earshot = BrokerProbe(consumer.app, consumer)
        self._pulse = pulse
        self._silence_s = silence_s
        self._look_every_s = min(LOOK_EVERY_S, silence_s / 4) if silence_s else LOOK_EVERY_S
        self._patience_s = min(ANSWER_S, silence_s / 3)  # for one ping, so that it takes several to be called silent
        self._ending = threading.Event()
        self._received = 0
        self._progress = -1
        self._progress_at = time.time()
        self._deaf_since: float | None = None
        self._connection = self._earshot.connection

    def note_received(self) -> None:
        self._received += 1

    def run(self) -> None:
        while not self._ending.is_set():
            self._look()
            self._ending.wait(self._look_every_s)

    def end(self, grace_s: float) -> None:
        """No more looks; whoever is still here after ``grace_s`` waits for what never comes, and leaves."""
        self._ending.set()
        threading.Thread(target=_leave, args=(grace_s,), name="last minute", daemon=True).start()

    def say_goodbye(self) -> None:
        """It was asked to end, and did: nobody need miss it."""
        try:
            self._pulse.forget_worker(self._name_of_worker)
        except StoreUnavailable as error:
            log.debug("no goodbye said: %s", error)

    def _look(self) -> None:
        progress = self._received + state.all_total_count[0] - self._earshot.running  # taken and finished
        if progress != self._progress:
            self._progress, self._progress_at = progress, time.time()
        self._note_pulse()
        if self._silence_s and self._silent_s(progress) > self._silence_allowed_s() and not self._ending.is_set():
            self._start_anew()

    def _silent_s(self, progress: int) -> float:
        """For how long it has heard nothing, while the broker was there."""
        began = time.monotonic()
        if self._connection != (now := self._earshot.connection):  # it noticed itself, and has its time for a new one
            self._connection, self._deaf_since = now, None
        if self._earshot.listen(progress, self._patience_s) is not BrokerAnswer.NOTHING:
            self._deaf_since = None
            return 0.0
        if self._deaf_since is None:
            self._deaf_since = began
            log.warning("worker=%s does not answer its broker, which answers others", self._name_of_worker)
        return time.monotonic() - self._deaf_since

    def _silence_allowed_s(self) -> float:
        return self._silence_s + (RECONNECTING_S if self._connection is None else 0)

    def _note_pulse(self) -> None:
        queues = tuple(sorted(queue.name for queue in self._earshot.queues()))
        told = WorkerHeartbeat(
            self._name_of_worker, time.time(), self._progress_at, self._earshot.running, self._earshot.slots, queues
        )
        try:
            self._pulse.note_worker(told)
        except StoreUnavailable as error:  # whoever reads the pulse sees that Redis is away
            log.debug("no pulse noted: %s", error)

    def _start_anew(self) -> None:
        log.error(
            "worker=%s heard nothing from its broker for %d s, while the broker answers others: it starts anew",
            self._name_of_worker,
            time.monotonic() - (self._deaf_since or time.monotonic()),
        )
        try:
            self._pulse.note_restart(self._name_of_worker)
        except StoreUnavailable as error:
            log.warning("this restart is not counted: %s", error)
        _end_children()
        # Sockets and locked files are closed by it (close-on-exec), other threads end with it.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own command line


def _end_children() -> None:
    """Those of a prefork pool: the new program would not know them."""
    for child in active_children():
        if child.pid is not None:
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)


def _leave(grace_s: float) -> None:
    time.sleep(grace_s)
    log.error("the worker did not end within %d s of being asked to: it leaves; work in hand comes back", grace_s)
    _end_children()
    os._exit(LATE)


def watch(consumer: Any) -> Watchdog:
    """Watch the worker that has just become ready in this process, until it ends."""
    runtime = get_runtime()
    settings = runtime.settings
    silence_s = _allowed_silence_s(consumer, settings.watchdog_silence_s)
    watchdog = Watchdog(consumer, runtime.pulse, silence_s=silence_s)
    grace_s = settings.supplier_timeout_s + GRACE_BEYOND_CALL_S
    for signal_sent, heard in (
        (signals.task_received, lambda **_: watchdog.note_received()),
        (signals.worker_shutting_down, lambda **_: watchdog.end(grace_s)),
        (signals.worker_shutdown, lambda **_: watchdog.say_goodbye()),
    ):
        signal_sent.connect(heard, weak=False)
    watchdog.start()
    return watchdog


def _allowed_silence_s(consumer: Any, told_s: float) -> float:
    """On RabbitMQ not less than three heartbeats.

    It keeps the mailbox of a dead connection locked until that missed two; a worker that starts before can't have one.
    """
    if told_s and consumer.connection.transport.driver_type == "amqp":
        return max(told_s, _HEARTBEATS * (consumer.app.conf.broker_heartbeat or 0))
    return told_s


# Whether a worker still hears its broker, asked the way work reaches it.


ANSWER_S: Final = 5.0
_CONNECT_S: Final = 5.0
_IO_TIME_OUTS: Final = {  # whatever the worker's own connection does, ours must not wait for ever
    "redis": {"socket_timeout": ANSWER_S, "socket_connect_timeout": _CONNECT_S},
    "amqp": {"read_timeout": ANSWER_S, "write_timeout": ANSWER_S},
}


class BrokerAnswer(Enum):
    WELL = "hears"
    NOTHING = "is deaf"
    BROKER_AWAY = "can't be asked: the broker does not answer us either"


class BrokerProbe:
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

    def listen(self, progress: int, patience_s: float = ANSWER_S) -> BrokerAnswer:
        """Ask both ways over a fresh connection; ``progress`` grows with each task taken."""
        try:
            with self._fresh_connection() as connection:
                answers = self._answers(connection, patience_s)
                works = self._takes_work(connection, progress)
        except _broker_errors(self._app) as error:
            log.debug("the broker does not answer: %s", type(error).__name__)
            self._hungry_at = None
            return BrokerAnswer.BROKER_AWAY
        return BrokerAnswer.WELL if answers and works else BrokerAnswer.NOTHING

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
