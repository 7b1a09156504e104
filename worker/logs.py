"""How we log: a message that names the kind of event, and fields that tell which.

``log.info("window stored", extra=fields(account_id=…, created=4))`` is one line on the console,
``… window stored account_id=… created=4``, or one JSON object in which numbers are numbers.  Every line written
during a task also carries that task's context: ``task``, ``run``, ``chain``.  Only fields named so are written; what
libraries hang on their records (Celery the arguments of tasks) is not.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TextIO

from worker.redaction import REDACTOR, Redaction

_NO_CONTEXT: Final[Mapping[str, Any]] = {}
_context: ContextVar[Mapping[str, Any]] = ContextVar("releve.logs", default=_NO_CONTEXT)
_NEEDS_QUOTES: Final = re.compile(r"[\s\"=]|^$")

# At DEBUG the first writes the messages it is handed, and with them what a household used; the others say too much too.
_NEVER_AT_DEBUG: Final = ("celery.pool", "amqp", "python_multipart", "celery.utils.functional")


def fields(**values: Any) -> dict[str, dict[str, Any]]:
    """What ``extra=`` takes.  Under one name, for logging forbids some of ours, like ``created``."""
    return {"fields": values}


def bind(**values: Any) -> None:
    """Carry these on each line of this thread from here on, in place of what was bound before."""
    _context.set(values)


@contextmanager
def bound(**values: Any) -> Iterator[None]:
    """Carry these too, for the length of the block."""
    token = _context.set({**_context.get(), **values})
    try:
        yield
    finally:
        _context.reset(token)


def configure(
    *, level: str | int, form: Literal["console", "json"], logfile: str | Path | None = None, takeover: bool = False
) -> None:
    """Send what this process logs to its error stream, or ``logfile``, masked.  Safe to repeat.

    Where somebody else has set up logging (a test runner, a program we are embedded in) it stays as it is, unless
    we take it over: in a process that is ours alone, no handler may write past the mask.
    """
    root = logging.getLogger()
    others = [handler for handler in root.handlers if not _is_ours(handler)]
    if others and not takeover:
        return
    for handler in list(root.handlers):
        root.removeHandler(handler)
        if handler not in others:
            handler.close()
    root.addHandler(_handler(form, logfile))
    root.setLevel(level)
    logging.captureWarnings(takeover)  # or Python prints them, past the mask
    for name in _NEVER_AT_DEBUG:
        logging.getLogger(name).setLevel(logging.INFO)


def _handler(form: str, logfile: str | Path | None) -> logging.Handler:
    handler = logging.FileHandler(logfile, encoding="utf-8") if logfile else _ErrorStream()
    handler.addFilter(add_context)
    handler.addFilter(Redaction(REDACTOR))
    handler.setFormatter(JsonLines() if form == "json" else ConsoleLines())
    return handler


def _is_ours(handler: logging.Handler) -> bool:
    return any(isinstance(each, Redaction) for each in handler.filters)


def add_context(record: logging.LogRecord) -> bool:
    """A filter that adds the context of the task, or what Celery says of one: its name and id, nothing else."""
    told: dict[str, Any] = {}
    if isinstance(data := getattr(record, "data", None), Mapping):
        told = {"task": data.get("name"), "task_id": data.get("id")}
    own = getattr(record, "fields", {})
    record.fields = {**own, **told, **_context.get(), **own}  # its own come first, and win
    return True


class ConsoleLines(logging.Formatter):
    """For people: time, level, logger, message, then ``key=value``; a traceback below."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        told = getattr(record, "fields", {})
        return " ".join([super().formatMessage(record), *(f"{name}={_shown(told[name])}" for name in told)])


class JsonLines(logging.Formatter):
    """For programs: one object a line; ``time`` in UTC, ``exception`` with the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if exception := record.exc_text or (record.exc_info and self.formatException(record.exc_info)):
            line["exception"] = exception
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, ensure_ascii=False, default=str)


class _ErrorStream(logging.StreamHandler[TextIO]):
    """Whatever the error stream is when a line is written; it may be replaced meanwhile."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if _NEEDS_QUOTES.search(text) else text
