"""Celery's processes log as ours do, and each line of a task says which task, which run and which chain it is of.

``run`` is the window's: one from its fan-out to its store.  ``chain`` is the id of the task that began it all (the
night's fan-out, or the backfill of an account): every task that it leads to, over however many workers, has the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from celery import Task, signals

from config.settings import get_settings
from worker import logs
from worker.ops.logging_setup import configure_process

_STEPS: Final = "tasks.pipeline."
# Celery quotes a message that it can't use, and with it what a household used.
_UNUSABLE: Final = {
    "UNKNOWN_FORMAT": "a message that is no task's was thrown away: does another program use this broker?",
    "UNKNOWN_TASK_ERROR": "a message for a task unknown here was thrown away: are all workers of one version?",
    "INVALID_TASK_ERROR": "a message that no task can take was thrown away: are all workers of one version?",
    "MESSAGE_DECODE_ERROR": "a message that can't be read was thrown away: are all workers of one version?",
}


def install() -> None:
    """Before Celery sets up logging of its own.  Safe to repeat."""
    signals.setup_logging.connect(_configure)
    signals.celeryd_init.connect(_begin)
    signals.task_prerun.connect(_bind)
    signals.task_postrun.connect(_unbind)


def _configure(loglevel: int = logging.WARNING, logfile: str | None = None, **_: Any) -> None:
    """``-l`` on Celery's command line may ask for more than RELEVE_LOG_LEVEL, not for less."""
    configure_process(get_settings(), level=loglevel, logfile=logfile, takeover=True)
    _quote_no_message()
    _one_line_a_window()


def _begin(instance: Any, **_: Any) -> None:
    """What a worker says before it sets up logging comes out the same way."""
    configure_process(get_settings(), takeover=True)
    if get_settings().log_format == "json":  # its banner is printed, not logged
        instance.quiet = True


def _bind(task: Task[Any, Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **_: Any) -> None:
    run = {"run": found} if (found := run_of(args, kwargs or {})) else {}
    logs.bind(task=task.name, **run, chain=task.request.root_id)


def _unbind(**_: Any) -> None:
    logs.bind()


def run_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """The run of a window's task, whose arguments name it; None for a task about no window."""
    window = args[0] if args and isinstance(args[0], Mapping) else kwargs
    return window.get("run_id")


def _one_line_a_window() -> None:
    for name in ("celery.app.trace", "celery.worker.strategy"):
        logging.getLogger(name).addFilter(_worth_a_line)


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Of the steps of a window, by the thousand each night, Celery's "received" and "succeeded" are for DEBUG.

    What goes wrong with one, or is tried again, is told all the same; and the window's end by ``worker.sync.results``.
    """
    from celery.app import trace

    if record.msg not in (trace.LOG_RECEIVED, trace.LOG_SUCCESS) or not isinstance(record.args, Mapping):
        return True
    of_a_step = str(record.args.get("name")).startswith(_STEPS)
    return not of_a_step or logging.getLogger().isEnabledFor(logging.DEBUG)


def _quote_no_message() -> None:
    from celery.worker.consumer import consumer  # which beat and the command line have no use for

    told = {getattr(consumer, name): text for name, text in _UNUSABLE.items()}

    def without_body(record: logging.LogRecord) -> bool:
        if text := told.get(str(record.msg)):
            record.msg, record.args = text, ()
            record.exc_info = None  # it quotes the message too
        return True

    logging.getLogger(consumer.__name__).addFilter(without_body)
