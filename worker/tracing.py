"""Traces with OpenTelemetry, on if OTEL_EXPORTER_OTLP_ENDPOINT is set: from a web request over tasks to the supplier.

FastAPI makes the spans of requests, ``task_span`` those of tasks, and ``span`` those inside both. A message carries the
trace in its header ``traceparent``. No request to another system carries a trace, and no request from outside begins
one of its own choice. ``worker.exported_spans`` decides what is sent. While tracing is off, this module imports nothing
of OpenTelemetry.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from worker.errors import WorkerError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
PREFIX: Final = "releve."  # Of the names of our attributes.
TRACEPARENT: Final = "traceparent"
_NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_lock = threading.Lock()
_providers: list[TracerProvider] = []  # The process's only provider, once there is one.


def is_on() -> bool:
    return bool(os.environ.get(ENDPOINT))


def lacks_package() -> bool:
    """Return whether tracing is on, but its packages aren't installed."""
    return is_on() and not all(map(_is_installed, _NEEDED))


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # A parent of the package is missing.
        return False


def provider(role: str) -> TracerProvider:
    """Return the provider of this process; the first call creates it, so each forked process has its own.

    ``role``: the service's name is ``releve-<role>``.
    """
    with _lock:
        if not _providers:
            from worker.exported_spans import build_provider

            _providers.append(build_provider(role))
            atexit.register(shut_down)
        return _providers[0]


def shut_down() -> None:
    """Send the last spans. The exporter waits some seconds at most."""
    for opened in _providers:
        opened.shutdown()


@contextmanager
def span(name: str, **attributes: Any) -> Iterator[None]:
    """Trace the block if it runs in a traced request or task. Of an error, the span gets only the kind."""
    if not _is_traced():
        yield
        return
    with _tracer().start_as_current_span(
        name, attributes=_named(attributes), record_exception=False, set_status_on_exception=False
    ):
        try:
            yield
        except WorkerError as error:
            note(error=error.kind)
            raise


@contextmanager
def task_span(name: str, traceparent: object, **attributes: Any) -> Iterator[None]:
    """Trace a task, as a part of the trace that its message names, or else as the root of a trace."""
    if not is_on():
        yield
        return
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {TRACEPARENT: traceparent} if isinstance(traceparent, str) else {}
    context = TraceContextTextMapPropagator().extract(carrier, Context())
    with _tracer().start_as_current_span(
        name, context, SpanKind.CONSUMER, _named(attributes), record_exception=False, set_status_on_exception=False
    ):
        yield


def note(**attributes: Any) -> None:
    """Add attributes to the current span."""
    if _is_traced():
        from opentelemetry.trace import get_current_span

        get_current_span().set_attributes(_named(attributes))


def message_headers() -> dict[str, str]:
    """Return the header that makes a message a part of the current trace; empty if there is none."""
    if not _is_traced():
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return {TRACEPARENT: carrier[TRACEPARENT]}


def _is_traced() -> bool:
    if not is_on():
        return False
    from opentelemetry.trace import get_current_span

    return get_current_span().get_span_context().is_valid


def _tracer() -> Any:
    return provider("worker").get_tracer("releve")


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {PREFIX + name: value for name, value in attributes.items() if value is not None}
