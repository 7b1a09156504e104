"""Heartbeat and watchdog of a worker, and the requeueing of dead workers' messages.

**Heartbeat**: a worker without a recent heartbeat counts as dead, and its messages are requeued. This is done only with
Redis as the broker; RabbitMQ itself requeues the messages of a lost connection.

**Watchdog**: a worker can be alive and connected and yet receive nothing. ``BrokerProbe`` tests it through the broker,
in the same way that work reaches it. Silence is counted only while the broker answers a connection of our own, so a
broker that is down causes no restart.

**Restart**: the program is started again in the same process (exec). The process id stays the same, so a supervisor or
container does not notice. No work is lost, because messages are acknowledged when their task is done.

**Shutdown**: a worker that has not ended in time is ended by force.

Heartbeat and watchdog are one thread each in the worker's main process.
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
from typing import Any, Final

from billiard import active_children
from celery import Celery, signals
from celery.worker import state
from kombu import Connection
from kombu.exceptions import OperationalError
from kombu.pidbox import Mailbox

from worker.errors import WorkerError
from worker.metrics import MESSAGES_GIVEN_BACK
from worker.ops.broker import WORKER_ID, queue_lengths
from worker.runtime import current
from worker.stores.redis.heartbeats import BrokerMessages, Heartbeats, WorkerHeartbeat

log = logging.getLogger("releve.watchdog")
heartbeat_log = logging.getLogger("releve.heartbeat")
INTERVAL_S: Final = 4.0
HOME_INTERVAL_S: Final = 60.0  # Each heartbeat is a write to a small computer's memory card.
# The watchdog restarts the program in the same process, so this environment variable can count the restarts.
RESTARTS_VARIABLE: Final = "RELEVE_WATCHDOG_RESTARTS"
CHECK_EVERY_S: Final = 15.0
RECONNECTING_S: Final = 35.0  # Celery waits up to 30 s between two attempts to connect.
# The grace period of a worker that is told to end is the time-out of one call plus this many seconds. `releve up` gives
# each part the same time (worker/cli/processes.py).
GRACE_BEYOND_CALL_S: Final = 10.0
ANSWER_S: Final = 5.0
LATE: Final = 1  # Exit code of a worker that did not end within its grace period.
_CONNECT_S: Final = 5.0
_AMQP_HEARTBEATS: Final = 3
# The worker's own connection may wait without limit, but the probe's must not.
_IO_TIME_OUTS: Final = {
    "redis": {"socket_timeout": ANSWER_S, "socket_connect_timeout": _CONNECT_S},
    "amqp": {"read_timeout": ANSWER_S, "write_timeout": ANSWER_S},
}


class WorkerActivity:
    """The current activity of a worker; all values are zero or empty until the worker is ready."""

    consumer: Any = None

    @property
    def progress(self) -> tuple[int, int, int]:
        """Numbers that change with each task that the worker receives, begins or ends."""
        return state.all_total_count[0], len(state.reserved_requests), self.running

    @property
    def running(self) -> int:
        return len(state.active_requests)

    @property
    def slots(self) -> int:
        if self.consumer is None:
            return 0
        controller, pool = self.consumer.controller, self.consumer.pool
        return int(getattr(controller, "max_concurrency", None) or pool.num_processes)

    def queues(self) -> list[Any]:
        """Return the queues that the worker consumes now; an operator can take some away while the worker runs."""
        task_consumer = getattr(self.consumer, "task_consumer", None)
        return list(task_consumer.queues) if task_consumer is not None else []


class Heartbeat:
    """Thread that records every ``every_s`` seconds, until ``stop``, that this worker is alive and what it does."""

    def __init__(
        self,
        heartbeats: Heartbeats,
        name: str,
        fingerprint: str,
        worker: str = WORKER_ID,
        every_s: float = INTERVAL_S,
    ) -> None:
        self.activity = WorkerActivity()
        self._heartbeats, self._name, self._worker, self._every_s = heartbeats, name, worker, every_s
        self._fingerprint = fingerprint
        self.restarts = int(os.environ.get(RESTARTS_VARIABLE, "0"))
        self._progress, self._progress_at = (-1, 0, 0), 0.0
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        # The first heartbeat is sent before this method returns, because the messages of a worker without a heartbeat
        # are given to other workers.
        self._beat()
        self._thread.start()

    def watch(self, consumer: Any) -> None:
        """Report the worker's activity at once and in all later heartbeats. Called when the worker is ready."""
        self.activity.consumer = consumer
        self._beat()

    def stop(self) -> None:
        """Stop the thread and forget this worker; call it when the worker takes no more messages."""
        self._stop_event.set()
        if self._thread.ident is not None:
            # Otherwise the thread could write a heartbeat after the worker was forgotten.
            self._thread.join(INTERVAL_S)
        try:
            self._heartbeats.forget_worker(self._worker)
        except WorkerError as error:  # The heartbeat then expires by itself.
            heartbeat_log.warning("could not record that this worker has stopped: %s", error)

    def _run(self) -> None:
        # Heartbeats are sent when the clock shows a multiple of the interval, so that a home's heartbeat and beat's
        # round share one write to the memory card.
        while not self._stop_event.wait(self._every_s - time.time() % self._every_s):
            self._beat()

    def _beat(self) -> None:
        activity = self.activity
        try:
            now = self._heartbeats.now()
            if activity.progress != self._progress:
                self._progress, self._progress_at = activity.progress, now
            queues = tuple(sorted(queue.name for queue in activity.queues()))
            state = (self._progress_at, activity.running, activity.slots, queues, self.restarts)
            self._heartbeats.record_worker(self._worker, WorkerHeartbeat(self._name, now, *state), self._fingerprint)
        except WorkerError as error:
            heartbeat_log.warning("could not record that this worker is alive: %s", error)


def start_heartbeat(heartbeats: Heartbeats, name: str, fingerprint: str, *, is_home: bool) -> Heartbeat:
    """Write heartbeats of this worker until it ends; the first heartbeat is written before this function returns."""
    heartbeat = Heartbeat(heartbeats, name, fingerprint, every_s=HOME_INTERVAL_S if is_home else INTERVAL_S)
    heartbeat.start()
    signals.worker_shutdown.connect(lambda **_: heartbeat.stop(), weak=False)
    return heartbeat


def requeue_orphans(heartbeats: Heartbeats, deliveries: BrokerMessages) -> int:
    """Requeue the messages of dead workers; return the number of messages."""
    total = 0
    for worker in heartbeats.dead_workers(deliveries.workers_with_messages() - {WORKER_ID}):
        count = deliveries.requeue(worker)
        total += count
        MESSAGES_GIVEN_BACK.inc(count)
        heartbeat_log.warning("worker gone worker=%s messages_requeued=%d", worker, count)
    heartbeats.forget_vanished()
    return total


class Watchdog(threading.Thread):
    """Thread that watches one worker from the moment it is ready until the worker ends."""

    def __init__(self, heartbeat: Heartbeat, *, silence_s: float, pings: bool = True) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._heartbeat = heartbeat
        self._worker = str(heartbeat.activity.consumer.hostname)
        self._probe = BrokerProbe(heartbeat.activity, pings=pings)
        self._silence_s = silence_s
        self._check_every_s = min(CHECK_EVERY_S, silence_s / 4)
        # One ping waits for at most a third of the allowed silence, so several must fail before a restart.
        self._timeout_s = min(ANSWER_S, silence_s / 3)
        self._stop_event = threading.Event()
        self._silent_since: float | None = None
        self._connection = self._probe.connection

    def run(self) -> None:
        while self._silence_s and not self._stop_event.is_set():
            if self._silent_s() > self._silence_allowed_s() and not self._stop_event.is_set():
                self._restart()
            self._stop_event.wait(self._check_every_s)

    def end(self, grace_s: float) -> None:
        """Stop checking, and end the process by force if it still runs after ``grace_s`` seconds."""
        self._stop_event.set()
        threading.Thread(target=_exit_after, args=(grace_s,), name="last minute", daemon=True).start()

    def _silent_s(self) -> float:
        """Return the seconds for which the worker has been silent although the broker answers; otherwise 0."""
        began = time.monotonic()
        connection = self._probe.connection
        if connection != self._connection:
            # The worker has noticed the loss itself, and gets time to reconnect.
            self._connection, self._silent_since = connection, None
        if not self._probe.is_silent(self._timeout_s):
            self._silent_since = None
            return 0.0
        if self._silent_since is None:
            self._silent_since = began
            log.warning("worker=%s does not answer its broker, which answers others", self._worker)
        return time.monotonic() - self._silent_since

    def _silence_allowed_s(self) -> float:
        return self._silence_s + (RECONNECTING_S if self._connection is None else 0)

    def _restart(self) -> None:
        log.error(
            "worker=%s heard nothing from its broker for %d s, while the broker answers others: it restarts",
            self._worker,
            time.monotonic() - (self._silent_since or time.monotonic()),
        )
        # The restarted program has another worker id, so the heartbeat of this id is deleted. Other workers can then
        # take the messages of this id at once.
        self._heartbeat.stop()
        os.environ[RESTARTS_VARIABLE] = str(self._heartbeat.restarts + 1)
        _kill_children()
        # Exec closes sockets and locked files (close-on-exec) and ends all other threads.
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - It is our own command line.


def _kill_children() -> None:
    """Kill the processes of a prefork pool, which the restarted program would not know."""
    for child in active_children():
        if child.pid is not None:
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)


def _exit_after(grace_s: float) -> None:
    time.sleep(grace_s)
    log.error("the worker did not end within %d s of being asked to: it leaves; work in hand comes back", grace_s)
    _kill_children()
    os._exit(LATE)


def start_watchdog(consumer: Any, heartbeat: Heartbeat) -> None:
    """Watch the worker that has just become ready in this process, until it ends."""
    settings = current.stores().settings
    heartbeat.watch(consumer)
    silence_s = _allowed_silence_s(consumer, settings.watchdog_silence_s)
    watchdog = Watchdog(heartbeat, silence_s=silence_s, pings=not settings.is_home)
    grace_s = settings.supplier_timeout_s + GRACE_BEYOND_CALL_S
    signals.worker_shutting_down.connect(lambda **_: watchdog.end(grace_s), weak=False)
    watchdog.start()


def _allowed_silence_s(consumer: Any, configured_s: float) -> float:
    """Return the silence that the watchdog allows before it restarts a worker: as configured; 0 means no restart.

    On RabbitMQ, a silence other than 0 is at least the time of three heartbeats. RabbitMQ keeps the mailbox of a dead
    connection locked until two heartbeats were missed, and a worker that restarts before that can't open its mailbox.
    """
    if configured_s and consumer.connection.transport.driver_type == "amqp":
        return max(configured_s, _AMQP_HEARTBEATS * (consumer.app.conf.broker_heartbeat or 0))
    return configured_s


class BrokerProbe:
    """Tests whether a running worker hears its broker.

    ``pings``: also send the worker a ping, which writes to the broker. A home needs no ping: its beat sends messages as
    long as its worker lives, so it is enough to see whether the worker takes these messages.
    """

    def __init__(self, activity: WorkerActivity, *, pings: bool = True) -> None:
        self._activity, self._consumer, self._pings = activity, activity.consumer, pings
        self._app: Celery = self._consumer.app
        conf = self._app.conf
        # The probe has its own mailbox, because the app's mailbox uses the shared connections, which may be dead.
        self._mailbox = Mailbox(
            conf.control_exchange,
            type="fanout",
            accept=["json"],
            reply_queue_ttl=conf.control_queue_ttl,
            reply_queue_expires=conf.control_queue_expires,
        )
        self._has_answered = False
        # The worker's progress at the last test, but only if messages were waiting at that time while the worker had a
        # free slot; otherwise None.
        self._idle_progress: tuple[int, int, int] | None = None

    @property
    def connection(self) -> int | None:
        """A number that changes with each connection that the worker opens; None while the worker is disconnected."""
        return None if self._consumer.connection is None else id(self._consumer.connection)

    def is_silent(self, timeout_s: float) -> bool:
        """Test the worker over a new connection; return True if it answers no ping, or leaves messages waiting.

        False if the broker doesn't answer either, because then nothing is known about the worker.
        """
        progress = self._activity.progress
        try:
            with self._fresh_connection() as connection:
                answers = not self._pings or self._answers(connection, timeout_s)
                works = self._takes_work(connection, progress)
        except _broker_errors(self._app) as error:
            log.debug("the broker does not answer: %s", type(error).__name__)
            self._idle_progress = None
            return False
        return not (answers and works)

    @contextmanager
    def _fresh_connection(self) -> Iterator[Connection]:
        conf = self._app.conf
        driver = self._app.connection_for_read().transport.driver_type
        options = {**conf.broker_transport_options, **_IO_TIME_OUTS.get(driver, {})}
        with self._app.connection_for_write(transport_options=options, connect_timeout=_CONNECT_S) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=int(_CONNECT_S))
            yield connection

    def _answers(self, connection: Connection, timeout_s: float) -> bool:
        """Return whether the worker answers a ping.

        A missing answer counts only after the worker has answered an earlier ping, because some brokers don't deliver
        pings.
        """
        mailbox: Any = self._mailbox(connection)
        channel = connection.default_channel
        try:
            answered = bool(mailbox.call([self._consumer.hostname], "ping", timeout=timeout_s, channel=channel))
        finally:
            mailbox.reply_queue(channel).delete()  # Nobody else deletes this queue.
        self._has_answered = self._has_answered or answered
        return answered or not self._has_answered

    def _takes_work(self, connection: Connection, progress: tuple[int, int, int]) -> bool:
        """Return whether the worker takes messages.

        False if the worker has a free slot, but has taken none of the waiting messages since the last test.
        """
        is_free = self._activity.running < self._activity.slots
        waits = is_free and any(queue_lengths(connection, self._activity.queues()).values())
        was_idle_before = self._idle_progress == progress
        self._idle_progress = progress if waits else None
        return not (waits and was_idle_before)


def _broker_errors(app: Celery) -> tuple[type[BaseException], ...]:
    connection = app.connection_for_read()
    return (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors)
