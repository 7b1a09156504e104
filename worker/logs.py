"""Logging: each line is text or JSON, and has a message, fields and its task's context. Secrets are masked.

``log.info("window stored", extra=fields(account_id=…, created=4))`` writes one line to the console, ``… window stored
account_id=… created=4``, or one JSON object in which numbers stay numbers. Every line written during a task also has
that task's context: ``task``, ``run``, ``chain``. Other attributes of a record, such as the task arguments that Celery
attaches, are not written.

A filter on every handler masks known secrets, texts that look like secrets, and meter numbers.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TextIO
from urllib.parse import quote, quote_plus, unquote

MASK: Final = "***"
# A shorter secret may be part of ordinary words, so it is masked only after a name like password=.
MIN_SECRET_LENGTH: Final = 6
_VALUE = r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s"'&,;(){}<>\[\]]+)"""
_EQUALS = r"""(["']?\s*(?:[=:]|%3[Dd])\s*)"""
# Pairs of a pattern and its replacement. No pattern backtracks far, so masking is fast for every text.
_PATTERNS: Final = (
    # redis://:s3cret@host:6379/0  ->  redis://***@host:6379/0
    (re.compile(r"://[^/\s\"'<>]+@"), f"://{MASK}@"),
    # {"refresh_token": "opaque"}  ->  {"refresh_token": ***}, and password='it is a secret'  ->  password=***
    (re.compile(rf"(?i)((?:access|refresh|id)_?token|client_?secret|passwo?r?d){_EQUALS}{_VALUE}"), rf"\1\2{MASK}"),
    # /callback?code=aBc-1.2  ->  /callback?code=***. A code of up to three digits stays: it is a status code.
    (re.compile(rf"(?:(?<![A-Za-z0-9_])|(?<=%3F)|(?<=%26))(code){_EQUALS}(?!\d{{1,3}}\b){_VALUE}"), rf"\1\2{MASK}"),
    # Authorization: Bearer xxxxxxxx  ->  Authorization: Bearer ***
    (re.compile(r"\b([Bb]earer|[Bb]asic)\s+[\w.~+/=-]{8,}"), rf"\1 {MASK}"),
    (re.compile(r"eyJ[\w-]{4,}(?:\.[\w-]*)*"), MASK),  # A JWT.
    # A secret as the registry stores it: sealed, or as a Fernet token of an older version.
    (re.compile(r"(?:AgAAAA|gAAAAA)[\w-]{20,}=*"), MASK),
    (re.compile(r"releve_[a-z0-9]{12}_[\w-]{43}"), MASK),  # A token of our own API.
    (re.compile(r"invite_[a-z0-9]{12}_[\w-]{43}"), MASK),  # The secret of an invitation.
    # The secret of a session or of a link, and a recovery code.
    (re.compile(r"(?:household|operator|(?:sign_in|address|operator)_link)_[a-z0-9]{12}_[\w-]{43}"), MASK),
    (re.compile(r"\b(?:[0-9A-HJKMNP-TV-Z]{4}-){6}[0-9A-HJKMNP-TV-Z]{4}\b"), MASK),
    # PATCH /droit_acces/1d3c…  ->  /droit_acces/***: the supplier's number of an access right.
    (re.compile(r"(droit_acces/)(?!\?)[\w%-]+"), rf"\1{MASK}"),
    (re.compile(r"proxy(?:client|access|refresh)_[a-z0-9]{12}_[\w-]{43}"), MASK),  # A secret or token of our proxy.
)
# Fourteen digits are a meter number, unless they are the decimals of a number, or part of a hash or of a trace id. GI
# and six digits are a gas meter's number. The digits of an escape sequence right before a meter number (%22, \x22) are
# not part of the meter number.
_BEFORE_METER: Final = (
    r"(?:(?<![0-9])(?<![0-9]\.)|(?<=%[\dA-Fa-f]{2})|(?<=\\x[\da-f]{2})|(?<=\\u[\da-f]{4})|(?<=\\U[\da-f]{8}))"
)
_METER: Final = re.compile(
    rf"(?P<ours>(?<![0-9A-Za-z])(?:[0-9a-f]{{64}}|[0-9a-f]{{40}}|[0-9a-f]{{32}})(?![0-9A-Za-z]))"
    rf"|{_BEFORE_METER}[0-9]{{14}}(?![0-9])"
    r"|(?:(?<![0-9A-Za-z])|(?<=%[\dA-Fa-f]{2})|(?<=\\[nrt]))GI[0-9]{6}(?![0-9A-Za-z])"
)
_SECRET_FIELDS: Final = re.compile(r"(?i)token$|secret|passwo?r?d|authorization|usage_point|(?:^|_)pce(?:$|_)")


class Redactor:
    """Masks secrets and meter numbers in texts and values. The repr of a Redactor shows no secret."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._forms: frozenset[str] = frozenset()
        self._known: re.Pattern[str] | None = None
        self.add_secrets(*secrets)

    def add_secrets(self, *secrets: str) -> None:
        """Mask these secrets from now on, except those shorter than ``MIN_SECRET_LENGTH``."""
        forms = {form for secret in secrets if len(secret) >= MIN_SECRET_LENGTH for form in written_forms(secret)}
        with self._lock:
            if forms <= self._forms:
                return
            self._forms |= forms
            longest_first = sorted(self._forms, key=len, reverse=True)
            self._known = re.compile("|".join(map(re.escape, longest_first)))

    def mask_text(self, text: str) -> str:
        if self._known:  # Known secrets come first, because a pattern might mask only a part of a secret.
            text = self._known.sub(MASK, text)
        for pattern, replacement in _PATTERNS:
            text = pattern.sub(replacement, text)
        return _METER.sub(lambda match: match["ours"] or MASK, text)

    def mask_value(self, value: Any) -> Any:
        """Mask a value, also inside lists and mappings. A number stays a number, unless it is a meter number."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            return value if self.mask_text(text := str(value)) == text else MASK
        if isinstance(value, Mapping):
            return {self.mask_text(str(name)): self._mask_field(str(name), item) for name, item in value.items()}
        if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
            return [self.mask_value(item) for item in value]
        return self.mask_text(value.decode(errors="replace") if isinstance(value, bytes) else str(value))

    def _mask_field(self, name: str, item: Any) -> Any:
        return MASK if item is not None and _SECRET_FIELDS.search(name) else self.mask_value(item)

    def __repr__(self) -> str:
        return "Redactor(…)"


def written_forms(secret: str) -> set[str]:
    """Return the forms in which a secret may be written: plain, in a URL, in a repr, in JSON."""
    forms = {secret, unquote(secret), quote(secret), quote(secret, safe=""), quote_plus(secret)}
    forms |= {re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), form) for form in forms}
    forms |= {repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {form for form in forms if len(form) >= MIN_SECRET_LENGTH}


class RedactionFilter(logging.Filter):
    """A filter for every handler: it masks a record's message, ``fields`` and traceback in place."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._redactor.mask_text(_message(record)), ()
        if fields := getattr(record, "fields", None):
            record.fields = self._redactor.mask_value(fields)
        if record.exc_info and not record.exc_text:
            record.exc_text = _TRACEBACKS.formatException(record.exc_info)
        if record.exc_text:  # If this text is set, formatters write it and don't format the exception again.
            record.exc_text = self._redactor.mask_text(record.exc_text)
        if record.stack_info:
            record.stack_info = self._redactor.mask_text(record.stack_info)
        return True


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    # If this error were raised, the standard library would print the unmasked arguments.
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} (its arguments don't fit)"


_TRACEBACKS: Final = logging.Formatter()
REDACTOR: Final = Redactor()  # The process's only redactor. Code that reads a secret calls `REDACTOR.add_secrets`.

_NO_CONTEXT: Final[Mapping[str, Any]] = {}
_context: ContextVar[Mapping[str, Any]] = ContextVar("releve.logs", default=_NO_CONTEXT)
_NEEDS_QUOTES: Final = re.compile(r"[\s\"=]|^$")
# At DEBUG, these loggers write too much. celery.pool even writes whole messages with a household's consumption.
_NEVER_AT_DEBUG: Final = ("celery.pool", "amqp", "python_multipart", "celery.utils.functional", "sse_starlette")


def fields(**values: Any) -> dict[str, dict[str, Any]]:
    """Return the argument ``extra=`` of a log call.

    All fields share one attribute of the record, because a field may have the name of a standard attribute, such as
    ``created``.
    """
    return {"fields": values}


def bind(**values: Any) -> None:
    """Replace the context: each line that this thread logs from now on has these fields."""
    _context.set(values)


def configure(
    *, level: str | int, form: Literal["console", "json"], logfile: str | Path | None = None, takeover: bool = False
) -> None:
    """Write this process's log, masked, to the error stream or to ``logfile``. Safe to repeat.

    If other code has set up logging (a test runner, an embedding program), this function changes nothing, unless
    ``takeover`` is True. Then our handler replaces all others, because in our own processes no handler may write
    unmasked text.
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
    logging.captureWarnings(takeover)  # Otherwise, Python would print warnings unmasked.
    for name in _NEVER_AT_DEBUG:
        logging.getLogger(name).setLevel(logging.INFO)


def _handler(form: str, logfile: str | Path | None) -> logging.Handler:
    handler = logging.FileHandler(logfile, encoding="utf-8") if logfile else _ErrorStream()
    handler.addFilter(add_context)
    handler.addFilter(RedactionFilter(REDACTOR))
    handler.setFormatter(JsonFormatter() if form == "json" else ConsoleFormatter())
    return handler


def _is_ours(handler: logging.Handler) -> bool:
    return any(isinstance(item, RedactionFilter) for item in handler.filters)


def add_context(record: logging.LogRecord) -> bool:
    """Add the task's context to a record, and also the task's name and id if Celery gives them. Used as a filter."""
    celery: dict[str, Any] = {}
    if isinstance(data := getattr(record, "data", None), Mapping):
        celery = {"task": data.get("name"), "task_id": data.get("id")}
    own = getattr(record, "fields", {})
    # The record's own fields come twice: first for their place in the line, and last to override the others.
    record.fields = {**own, **celery, **_context.get(), **own}
    return True


class ConsoleFormatter(logging.Formatter):
    """Formats a line for people, followed by any traceback.

    Example: ``2024-07-25 09:00:00,123 INFO releve.window window stored account_id=3kq7d0fr2m created=4``.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        values = getattr(record, "fields", {})
        return " ".join([super().formatMessage(record), *(f"{name}={_to_text(values[name])}" for name in values)])


class JsonFormatter(logging.Formatter):
    """Formats a line for programs: a JSON object with ``time`` in UTC and, if there is a traceback, ``exception``."""

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
    """A handler that looks up ``sys.stderr`` for each line, because other code may replace it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _to_text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if _NEEDS_QUOTES.search(text) else text
