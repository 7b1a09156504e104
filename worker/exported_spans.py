"""What a trace may tell, and its way to the collector: nothing leaves but through ``AllowedSpans``.

A span that leaves is built from the names and attributes below, whatever made the original. All else stays here:
events, links, the texts of exceptions, addresses, statements, and what the environment says of the host. An attribute
whose value doesn't have the allowed form is left out.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import set_global_textmap
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from worker.domain.answers import AnswerKind
from worker.domain.series import Series
from worker.metrics import ERROR_KINDS, OTHER, STATUSES, TOKEN_REFUSED

log = logging.getLogger("releve.tracing")
_SCOPE: Final = InstrumentationScope("releve")
_METHOD, _ROUTE = "http.request.method", "http.route"
_INNER: Final = ("supplier call", "supplier request", "quota permit", "measures", "registry")
_NAME: Final = re.compile(rf"tasks\.[a-z_]+\.[a-z_]+|{'|'.join(_INNER)}")
_TIMEOUT_S: Final = 3.0  # Of one batch, with its retries.
_PAUSE_S: Final = 4.0  # After a batch that failed. A process also ends sooner if the collector is down.
# Their lines may quote the collector's address, which may contain a password. Our own line tells of a failure.
_QUIET: Final = ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal")


def _one_of(values: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, values)))


# The form of each attribute's value; a name without a dot leaves as ``releve.<name>``. No form has room for a meter's
# number, and no text that people or other systems write fits one.
ALLOWED: Final[Mapping[str, re.Pattern[str]]] = {
    _METHOD: _one_of(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "_OTHER")),
    _ROUTE: re.compile(r"/[a-z_.:{}/-]*"),  # The route's template, in which each parameter is a name in braces.
    "http.response.status_code": re.compile(r"[1-5]\d\d"),
    "run": re.compile(r"\d{8}T\d{6}\.\d{6}"),
    "chain": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "series": _one_of(Series),
    # Grid operators, of tasks; and the presets of suppliers, of calls.
    "supplier": re.compile(r"enedis(-2026|-v4|-v5)?|conso-api|grdf(-adict(-sandbox)?)?"),
    "api": _one_of(("data", "token")),
    "status": _one_of(STATUSES),
    "operation": _one_of(("read", "write", "erase", "create")),
    "outcome": _one_of(("done", "retry", "failed", "ignored", TOKEN_REFUSED, OTHER, *AnswerKind)),
    "error": _one_of(ERROR_KINDS),
    "tries": re.compile(r"\d{1,4}"),
    "wait_s": re.compile(r"\d{1,7}(\.\d{1,3})?"),
}


class AllowedSpans(SpanExporter):
    """An exporter that passes on only what ``ALLOWED`` allows, and says once when ``exporter`` begins to fail."""

    def __init__(self, exporter: SpanExporter, resource: Resource) -> None:
        self._exporter, self._resource = exporter, resource
        self._is_failing, self._paused_until = False, 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if time.monotonic() < self._paused_until:
            return SpanExportResult.FAILURE
        result = self._exporter.export([self._allowed(span) for span in spans])
        is_failing = result is not SpanExportResult.SUCCESS
        if is_failing:
            self._paused_until = time.monotonic() + _PAUSE_S
        if is_failing and not self._is_failing:
            log.warning("traces are not sent: the collector of OTEL_EXPORTER_OTLP_ENDPOINT doesn't take them")
        elif self._is_failing and not is_failing:
            log.info("traces are sent again")
        self._is_failing = is_failing
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def _allowed(self, span: ReadableSpan) -> ReadableSpan:
        attributes = {
            name if "." in name else f"releve.{name}": value
            for name, value in (span.attributes or {}).items()
            if name in ALLOWED and ALLOWED[name].fullmatch(str(value))
        }
        is_error = span.status.status_code is StatusCode.ERROR or "releve.error" in attributes
        return ReadableSpan(
            name=_name(span, attributes),
            context=_without_state(span.context),
            parent=_without_state(span.parent),
            resource=self._resource,
            attributes=attributes,
            kind=span.kind,
            status=Status(StatusCode.ERROR if is_error else StatusCode.UNSET),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=_SCOPE,
        )


def _name(span: ReadableSpan, attributes: Mapping[str, object]) -> str:
    if span.kind is SpanKind.SERVER:
        return " ".join(str(attributes[part]) for part in (_METHOD, _ROUTE) if part in attributes) or "other"
    return span.name if _NAME.fullmatch(span.name) else "other"


def _without_state(context: SpanContext | None) -> SpanContext | None:
    return context and SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)


class _NoPropagator(TextMapPropagator):
    """A propagator for all HTTP in this process: no client adds a header, and FastAPI takes none from a request."""

    @property
    def fields(self) -> set[str]:
        return set()

    def extract(self, carrier: Any, context: Context | None = None, *_: Any, **__: Any) -> Context:
        return context or Context()

    def inject(self, *_: Any, **__: Any) -> None:
        """Add nothing."""


def build_provider(role: str) -> TracerProvider:
    """Return a provider that sends its spans in the background; OTEL_TRACES_SAMPLER chooses the traces."""
    set_global_textmap(_NoPropagator())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    names = {"service.name": f"releve-{role}", "service.version": version("releve")}
    resource = Resource({**names, "service.instance.id": str(uuid.uuid4())})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(AllowedSpans(OTLPSpanExporter(timeout=_TIMEOUT_S), resource)))
    return provider
