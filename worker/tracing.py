"""Traces with OpenTelemetry, on if OTEL_EXPORTER_OTLP_ENDPOINT is set: from a web request over tasks to the supplier.

FastAPI makes the spans of requests, ``task_span`` those of tasks, and ``span`` those inside both. A message carries the
trace in its header ``traceparent``. No request to another system carries a trace, and no request from outside chooses
one. ``worker.exported_spans`` decides what is sent. While tracing is off, this module imports nothing of OpenTelemetry.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from worker.errors import WorkerError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACEPARENT: Final = "traceparent"
_lock = threading.Lock()
_providers: list[TracerProvider] = []  # The process's only provider, once there is one.


def is_on() -> bool:
    return bool(os.environ.get(ENDPOINT))


def provider(role: str) -> TracerProvider | None:
    """Return the provider of this process, which the first call creates; so each forked process has its own.

    ``role``: the service's name is ``releve-<role>``. Returns None while tracing is off.
    """
    if not is_on():
        return None
    from worker.exported_spans import build_provider

    with _lock:
        if not _providers:
            _providers.append(build_provider(role))
            atexit.register(shut_down)
        return _providers[0]


def shut_down() -> None:
    """Send the last spans, for some seconds at most."""
    for opened in _providers:
        opened.shutdown()


@contextmanager
def span(name: str, **attributes: Any) -> Iterator[None]:
    """Trace the block if it runs in a traced request or task. Of an error, the span gets only the kind."""
    with _start(name, attributes) if _current_span() else nullcontext():
        try:
            yield
        except WorkerError as error:
            note(error=error.kind)
            raise


def task_span(name: str, traceparent: object, **attributes: Any) -> AbstractContextManager[Any]:
    """Trace a task, as a part of the trace that its message names, or else as the root of a trace."""
    if not is_on():
        return nullcontext()
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {TRACEPARENT: traceparent} if isinstance(traceparent, str) else {}
    context = TraceContextTextMapPropagator().extract(carrier, Context())
    return _start(name, attributes, context=context, kind=SpanKind.CONSUMER)


def note(**attributes: Any) -> None:
    """Add attributes to the current span."""
    if span := _current_span():
        span.set_attributes(_without_none(attributes))


def message_headers() -> dict[str, str]:
    """Return the header that makes a message a part of the current trace; empty if there is none."""
    if not _current_span():
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return {TRACEPARENT: carrier[TRACEPARENT]}


def _current_span() -> Span | None:
    if not is_on():
        return None
    from opentelemetry.trace import get_current_span

    current = get_current_span()
    return current if current.get_span_context().is_valid else None


def _start(name: str, attributes: dict[str, Any], **options: Any) -> AbstractContextManager[Any]:
    if (opened := provider("worker")) is None:
        return nullcontext()
    options |= {"attributes": _without_none(attributes), "record_exception": False, "set_status_on_exception": False}
    return opened.get_tracer("releve").start_as_current_span(name, **options)


def _without_none(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
