"""Handlers of Celery's signals: they set each task's lane, label its log lines, and count and serve its metrics.

Each log line of a task names task, run and chain.  ``run`` is the run id of a window, like ``20240725T071500.123456``;
it stays the same from the publishing of the window to its storing. ``chain`` is the id of the first task, which is the
nightly run or the backfill of an account: all tasks that follow from it have the same chain, on whichever workers they
run. Messages get the time of their publishing, from which a task's waiting time is counted.

If tracing is on, each task is a span, and a message carries the trace of the request or task that sends it. There are
two exceptions, because a trace of thousands of windows can't be read: what a task of beat sends, and the next window of
a history, begin traces of their own.

The endpoint serves the metrics of one worker, in a thread of its main process. If the pool has threads, tasks are
counted in that process. If the pool has processes, PROMETHEUS_MULTIPROC_DIR must be set, as prometheus_client
documents: each process then counts in files of that folder, and the endpoint adds up the counts.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Any, Final
from wsgiref.simple_server import WSGIServer

from celery import Task, current_app, current_task, signals
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from config.settings import get_settings
from worker import logs, tracing
from worker.domain.lanes import current_lane, enter_lane, leave_lane
from worker.domain.series import Series
from worker.metrics import ERROR_KINDS, REGISTRY, TASK_FAILURES, TASK_RETRIES, TASK_SECONDS, TASK_WAIT, TASKS_RUNNING
from worker.ops.broker import PUBLISHED_AT, to_worker_error
from worker.ops.logging_setup import configure_process
from worker.ops.machine import keep_files_private

_TASK_PREFIX: Final = "tasks."
_STEP_PREFIX: Final = "tasks.pipeline."
_OUTCOMES: Final = {"SUCCESS": "done", "RETRY": "retry", "FAILURE": "failed", "IGNORED": "ignored"}
# Celery logs the whole body of a message that it can't use, which may contain a household's measures. These texts
# replace Celery's own; the keys are the names of Celery's constants.
_REJECTION_TEXTS: Final = {
    "UNKNOWN_FORMAT": "a message that is not a task was discarded: check whether another program uses this broker",
    "UNKNOWN_TASK_ERROR": "a message for an unknown task was discarded: run the same version in all workers",
    "INVALID_TASK_ERROR": "a message with wrong arguments was discarded: run the same version in all workers",
    "MESSAGE_DECODE_ERROR": "an unreadable message was discarded: run the same version in all workers",
}
_OTHER_LABEL: Final = "other"  # The label of all tasks that are not ours, so that there are few labels.
log = logging.getLogger("releve.metrics")


def install() -> None:
    """Connect our functions to Celery's signals. Safe to repeat.

    Must be called before Celery sets up its own logging, which ours replaces.
    """
    signals.setup_logging.connect(_configure)
    signals.celeryd_init.connect(_configure_early)
    signals.worker_init.connect(_begin_at_zero)
    signals.before_task_publish.connect(_stamp_message)
    signals.task_prerun.connect(_record_start)
    signals.task_postrun.connect(_record_end)
    signals.task_retry.connect(_count_retry)
    signals.task_failure.connect(_count_failure)
    signals.worker_ready.connect(_open_endpoint)
    signals.worker_process_shutdown.connect(_end_process)


# -- Lane, metrics and context of a task


def _begin_at_zero(**_: Any) -> None:
    """Create the counters of retries and failures with the value 0.

    Prometheus sees no increase in a counter that first appears with the value 1.
    """
    for name in filter(_is_ours, current_app.tasks):
        TASK_RETRIES.labels(name)
        for error in ERROR_KINDS:
            TASK_FAILURES.labels(name, error)


def _stamp_message(sender: str, headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers[PUBLISHED_AT] = time.time()
        headers.pop(tracing.TRACEPARENT, None)  # A retried message still has that of its last try.
        if not current_task or _passes_trace_on(current_task, sender):
            headers.update(tracing.message_headers())


def _passes_trace_on(task: Task[Any, Any], sent: str) -> bool:
    if (task.name or "").startswith(_STEP_PREFIX):
        return sent.startswith(_STEP_PREFIX)
    return task.request.get(tracing.TRACEPARENT) is not None


def _record_start(
    task: Task[Any, Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **_: Any
) -> None:
    """Enter the task's lane and count the task.

    What ``_record_end`` needs is kept in ``task.request``, because each run of the task has its own request.
    """
    request: Any = task.request
    run = {"run": run_id} if (run_id := run_id_of(args, kwargs or {})) else {}
    logs.bind(task=task.name, **run, chain=request.root_id)
    wait_s, request.traced = _wait_s(request), ExitStack()
    waited = None if wait_s is None else round(wait_s, 3)
    about = dict(**run, **_series_of(task, args), chain=request.root_id, tries=request.retries, wait_s=waited)
    request.traced.enter_context(tracing.task_span(_label(task), request.get(tracing.TRACEPARENT), **about))
    request.lane_token = enter_lane((request.delivery_info or {}).get("routing_key"))
    request.lane, request.began_at = current_lane(), time.perf_counter()
    TASKS_RUNNING.labels(request.lane).inc()
    if wait_s is not None:
        TASK_WAIT.labels(request.lane).observe(wait_s)


def _record_end(task: Task[Any, Any], state: str | None = None, **_: Any) -> None:
    request: Any = task.request
    TASK_SECONDS.labels(_label(task)).observe(time.perf_counter() - request.began_at)
    TASKS_RUNNING.labels(request.lane).dec()
    leave_lane(request.lane_token)
    tracing.note(outcome=_OUTCOMES.get(state or ""))
    request.traced.close()
    logs.bind()


def _count_retry(sender: Task[Any, Any], reason: Any = None, **_: Any) -> None:
    TASK_RETRIES.labels(_label(sender)).inc()
    tracing.note(error=to_worker_error(getattr(reason, "exc", None)).kind)


def _count_failure(sender: Task[Any, Any], exception: BaseException, **_: Any) -> None:
    kind = to_worker_error(exception).kind
    TASK_FAILURES.labels(_label(sender), kind).inc()
    tracing.note(error=kind)


def _wait_s(request: Any) -> float | None:
    """Return the seconds since a task's publishing, or since its countdown ended; None without a publishing time.

    The result is at least 0, because the publisher's clock may be ahead of ours.
    """
    published_at = request.get(PUBLISHED_AT)
    if not isinstance(published_at, int | float):
        return None
    due_at = datetime.fromisoformat(request.eta).timestamp() if request.eta else 0.0
    return max(0.0, time.time() - max(published_at, due_at))


def _label(task: Task[Any, Any]) -> str:
    return task.name if task.name and _is_ours(task.name) else _OTHER_LABEL


def _is_ours(name: str) -> bool:
    return name.startswith(_TASK_PREFIX)


def run_id_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return the run id in the arguments of a window's task; None for any other task."""
    arguments = args[0] if args and isinstance(args[0], Mapping) else kwargs
    return arguments.get("run_id")


def _series_of(task: Task[Any, Any], args: Sequence[Any]) -> dict[str, str]:
    """Return series and supplier of a window's task; empty for any other task."""
    first, second, *_ = *args, None, None
    name = first.get("series") if isinstance(first, Mapping) else second
    if name not in list(Series) or not _label(task).startswith(_STEP_PREFIX):
        return {}
    return {"series": name, "supplier": Series(name).description.supplier}


# -- Log format of Celery's processes


def _configure(loglevel: int = logging.WARNING, logfile: str | None = None, **_: Any) -> None:
    """Set up logging; ``-l`` on Celery's command line can only add detail to RELEVE_LOG_LEVEL."""
    keep_files_private()  # Early enough: beat, which has no earlier signal, has written no file yet.
    configure_process(get_settings(), level=loglevel, logfile=logfile, takeover=True)
    _hide_message_bodies()
    _quiet_tasks()


def _configure_early(instance: Any, **_: Any) -> None:
    """Set up the format for a worker's logs before Celery calls ``setup_logging``."""
    keep_files_private()
    configure_process(get_settings(), takeover=True)
    if get_settings().log_format == "json":  # The worker prints its banner as text, which is not JSON.
        instance.quiet = True


def _quiet_tasks() -> None:
    """Log only at DEBUG that a task was sent, received or done, which would give thousands of lines each night.

    Errors and retries are always logged, and a task's result has its own lines.
    """
    from celery.app import trace

    quiet, root = (trace.LOG_RECEIVED, trace.LOG_SUCCESS, "Scheduler: Sending due task %s (%s)"), logging.getLogger()
    for name in ("celery.app.trace", "celery.beat", "celery.worker.strategy"):
        logging.getLogger(name).addFilter(lambda record: record.msg not in quiet or root.isEnabledFor(logging.DEBUG))


def _hide_message_bodies() -> None:
    from celery.worker.consumer import consumer  # Imported here because beat and the command line do not need it.

    texts = {getattr(consumer, name): text for name, text in _REJECTION_TEXTS.items()}

    def without_body(record: logging.LogRecord) -> bool:
        if text := texts.get(str(record.msg)):
            record.msg, record.args = text, ()
            record.exc_info = None  # The traceback quotes the message too.
        return True

    logging.getLogger(consumer.__name__).addFilter(without_body)


def _open_endpoint(**_: Any) -> None:
    """Serve the worker's metrics if the settings name a port. Called when the worker is ready."""
    settings = get_settings()
    if settings.metrics_port and (server := serve_metrics(settings.metrics_host, settings.metrics_port)):
        # A child process that outlives its worker would otherwise keep the port.
        signals.worker_process_init.connect(lambda **_: server.socket.close(), weak=False)


def _end_process(pid: int, **_: Any) -> None:
    """End a process of the pool, which runs no exit handlers."""
    tracing.shut_down()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        mark_process_dead(pid)  # type: ignore[no-untyped-call]


def serve_metrics(host: str, port: int) -> WSGIServer | None:
    """Serve the metrics on ``host`` and ``port`` from now on.

    Returns None if the address can't be used: that is logged, and the worker runs without an endpoint.
    """
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        log.error(
            "no metrics of this worker: %s:%d can't be listened on (%s); workers on one host need a "
            "RELEVE_METRICS_PORT each",
            host,
            port,
            error.strerror or type(error).__name__,
        )
        return None
    log.info("metrics at http://%s:%d/metrics", f"[{host}]" if ":" in host else host, port)
    return server
