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
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TextIO
from urllib.parse import quote, quote_plus, unquote

MASK: Final = "***"
SHORTEST: Final = 6  # a shorter secret would tear holes into every line; beside a password= it is masked all the same

_VALUE = r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"'&,;(){}<>\[\]]+)"""
_EQUALS = r"""(["']?\s*(?:[=:]|%3[Dd])\s*)"""
_NAMES: Final = r"(?i)((?:access|refresh|id)_?token|client_?secret|passwo?r?d)"
# What each has in it, in small letters; the shape; what is left.  The first saves most texts the second.  A shape
# that has begun never fails far behind its beginning, so that no text, however odd, takes long.
_SHAPES: Final = (
    ("@", re.compile(r"://[^/\s\"'<>]+@"), f"://{MASK}@"),
    ("token", re.compile(_NAMES + _EQUALS + _VALUE), rf"\1\2{MASK}"),
    ("secret", re.compile(_NAMES + _EQUALS + _VALUE), rf"\1\2{MASK}"),
    ("passw", re.compile(_NAMES + _EQUALS + _VALUE), rf"\1\2{MASK}"),
    # an authorization code, and no status code
    (
        "code",
        re.compile(rf"(?:(?<![A-Za-z0-9_])|(?<=%3F)|(?<=%26))(code){_EQUALS}(?!\d{{1,3}}\b){_VALUE}"),
        rf"\1\2{MASK}",
    ),
    ("bearer", re.compile(r"\b([Bb]earer)\s+[\w.~+/=-]{8,}"), rf"\1 {MASK}"),
    ("basic", re.compile(r"\b([Bb]asic)\s+[\w.~+/=-]{8,}"), rf"\1 {MASK}"),
    ("eyj", re.compile(r"eyJ[\w-]{4,}(?:\.[\w-]*)*"), MASK),  # JWT
    ("gaaaaa", re.compile(r"gAAAAA[\w-]{20,}=*"), MASK),  # what is sealed
    ("releve_", re.compile(r"releve_[a-z0-9]{12}_[\w-]{43}"), MASK),  # our own API's tokens
    ("/renew/", re.compile(r"/renew/[\w.~=-]{8,}"), f"/renew/{MASK}"),
)
# Fourteen digits are a meter, but not within a hash or a trace's id, and not as the decimals of a number.  The digits
# of an escape (%22, \x22) that stands before are not its own.
_BEGINS: Final = (
    r"(?:(?<![0-9])(?<![0-9]\.)|(?<=%[\dA-Fa-f]{2})|(?<=\\x[\da-f]{2})|(?<=\\u[\da-f]{4})|(?<=\\U[\da-f]{8}))"
)
_METER: Final = re.compile(
    rf"(?P<ours>(?<![0-9A-Za-z])(?:[0-9a-f]{{64}}|[0-9a-f]{{40}}|[0-9a-f]{{32}})(?![0-9A-Za-z]))"
    rf"|{_BEGINS}[0-9]{{14}}(?![0-9])"
)
_DIGITS: Final = re.compile(r"[0-9]{14}")
_SECRET_NAMES: Final = re.compile(r"(?i)token$|secret|passwo?r?d|authorization|usage_point")


class Redactor:
    """Masks texts and values.  Knows the secrets it has learned, and shows none."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._forms: frozenset[str] = frozenset()
        self._known: tuple[frozenset[str], re.Pattern[str]] | None = None  # made once a text asks for it
        self.learn(*secrets)

    def learn(self, *secrets: str) -> None:
        """Mask these from now on too; ones of less than ``SHORTEST`` characters are left to the shapes."""
        with self._lock:
            told = {form for secret in secrets if len(secret) >= SHORTEST for form in forms_of(secret)}
            if not told <= self._forms:
                self._forms |= told

    def text(self, text: str) -> str:
        """The same text, without what must not be read."""
        if self._forms:  # first, for a shape might cut one in two
            text = self._pattern().sub(MASK, text)
        lowered = text.lower()
        for has, shape, masked in _SHAPES:
            if has in lowered:
                text = shape.sub(masked, text)
        if not _DIGITS.search(text):
            return text
        return _METER.sub(lambda found: found["ours"] or MASK, text)

    def _pattern(self) -> re.Pattern[str]:
        """Without the lock: whoever forks while a line is written must not leave it shut in the child."""
        forms, known = self._forms, self._known
        if known is None or known[0] is not forms:
            longest_first = sorted(forms, key=len, reverse=True)
            self._known = known = forms, re.compile("|".join(map(re.escape, longest_first)))
        return known[1]

    def value(self, value: Any) -> Any:
        """The same for a field: numbers stay numbers, what is inside lists and mappings is masked as well."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int) and abs(value) < 10 ** (SHORTEST - 1):
            return value
        if isinstance(value, int | float):
            return value if self.text(shown := str(value)) == shown else MASK
        if isinstance(value, Mapping):
            return {self.text(str(name)): self._named(str(name), item) for name, item in value.items()}
        if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
            return [self.value(item) for item in value]
        return self.text(value.decode(errors="replace") if isinstance(value, bytes) else str(value))

    def _named(self, name: str, item: Any) -> Any:
        return MASK if item is not None and _SECRET_NAMES.search(name) else self.value(item)

    def __repr__(self) -> str:
        return "Redactor(…)"


def forms_of(secret: str) -> set[str]:
    """Each way a secret may be written: as it is, in a URL, in a repr, in JSON."""
    written = {secret, unquote(secret), quote(secret), quote(secret, safe=""), quote_plus(secret)}
    written |= {re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), form) for form in written}
    written |= {repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {form for form in written if len(form) >= SHORTEST}


class Redaction(logging.Filter):
    """Masks a record in place: its message, its ``fields``, its traceback.  To be put on every handler."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redactor.text(_message(record)), ()
        if fields := getattr(record, "fields", None):
            record.fields = self._redactor.value(fields)
        if record.exc_info and not record.exc_text:
            record.exc_text = _TRACEBACKS.formatException(record.exc_info)
        if record.exc_text:  # formatters take it rather than make their own
            record.exc_text = self._redactor.text(record.exc_text)
        if record.stack_info:
            record.stack_info = self._redactor.text(record.stack_info)
        return True


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):  # logging's own complaint would quote the arguments
        return f"{record.msg} (its arguments don't fit)"


_TRACEBACKS: Final = logging.Formatter()
REDACTOR: Final = Redactor()  # this process's; whoever reads a secret tells it


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
