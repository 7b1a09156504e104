"""Log format of Celery's processes, and the task, run and chain in each line of a task.

``run`` is the run id of a window, like ``20240725T071500.123456``; it stays the same from the publishing of the window
to its storing.  ``chain`` is the id of the first task, which is the night's feed or the backfill of an account: all
tasks that follow from it have the same chain, however many workers they run on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from celery import Task, signals

from config.settings import get_settings
from worker import logs
from worker.ops.logging_setup import configure_process

_PIPELINE_TASKS: Final = "tasks.pipeline."
# Celery quotes a message that it can't use, and with it a household's measures.  These texts take the place of
# Celery's, by the names of its constants.
_REJECTION_TEXTS: Final = {
    "UNKNOWN_FORMAT": "a message that is no task's was thrown away: does another program use this broker?",
    "UNKNOWN_TASK_ERROR": "a message for a task unknown here was thrown away: are all workers of one version?",
    "INVALID_TASK_ERROR": "a message that no task can take was thrown away: are all workers of one version?",
    "MESSAGE_DECODE_ERROR": "a message that can't be read was thrown away: are all workers of one version?",
}


def install() -> None:
    """Connect to Celery's signals, before Celery sets up its own logging.  Safe to repeat."""
    signals.setup_logging.connect(_configure)
    signals.celeryd_init.connect(_configure_early)
    signals.task_prerun.connect(_bind)
    signals.task_postrun.connect(_unbind)


def _configure(loglevel: int = logging.WARNING, logfile: str | None = None, **_: Any) -> None:
    """Set up logging; ``-l`` on Celery's command line may log more than RELEVE_LOG_LEVEL, but not less."""
    configure_process(get_settings(), level=loglevel, logfile=logfile, takeover=True)
    _hide_message_bodies()
    _quiet_pipeline_steps()


def _configure_early(instance: Any, **_: Any) -> None:
    """Set up the format for what a worker logs before Celery calls ``setup_logging``."""
    configure_process(get_settings(), takeover=True)
    if get_settings().log_format == "json":  # The worker prints its banner as text, which is not JSON.
        instance.quiet = True


def _bind(task: Task[Any, Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **_: Any) -> None:
    run = {"run": run_id} if (run_id := run_id_of(args, kwargs or {})) else {}
    logs.bind(task=task.name, **run, chain=task.request.root_id)


def _unbind(**_: Any) -> None:
    logs.bind()


def run_id_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return the run id in the arguments of a window's task; None for a task that is not about a window."""
    arguments = args[0] if args and isinstance(args[0], Mapping) else kwargs
    return arguments.get("run_id")


def _quiet_pipeline_steps() -> None:
    for name in ("celery.app.trace", "celery.worker.strategy"):
        logging.getLogger(name).addFilter(_should_log)


def _should_log(record: logging.LogRecord) -> bool:
    """Return whether to log a record: of a window's steps, Celery's "received" and "succeeded" are only for DEBUG.

    There are thousands of them each night.  Errors and retries of a step are always logged, and ``worker.sync.results``
    logs the end of each window.
    """
    from celery.app import trace

    if record.msg not in (trace.LOG_RECEIVED, trace.LOG_SUCCESS) or not isinstance(record.args, Mapping):
        return True
    is_step = str(record.args.get("name")).startswith(_PIPELINE_TASKS)
    return not is_step or logging.getLogger().isEnabledFor(logging.DEBUG)


def _hide_message_bodies() -> None:
    from celery.worker.consumer import consumer  # Imported here because beat and the command line do not need it.

    texts = {getattr(consumer, name): text for name, text in _REJECTION_TEXTS.items()}

    def without_body(record: logging.LogRecord) -> bool:
        if text := texts.get(str(record.msg)):
            record.msg, record.args = text, ()
            record.exc_info = None  # The traceback quotes the message too.
        return True

    logging.getLogger(consumer.__name__).addFilter(without_body)
