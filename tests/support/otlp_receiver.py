"""A receiver of traces over OTLP/HTTP, which refuses what the protocol doesn't describe, and keeps each byte.

Source: opentelemetry.io/docs/specs/otlp, with the messages of the package opentelemetry-proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class ReceivedSpan:
    """A span and the name of its service. ``attributes``: values as text. ``more``: fields that no span should have."""

    service: str
    name: str
    trace: bytes
    id: bytes
    parent: bytes
    attributes: dict[str, str]
    is_error: bool
    more: list[str]


@dataclass
class OtlpReceiver:
    """``bodies``: the body of each accepted request. ``refused``: the others, in words."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def take(self, path: str, content_type: str | None, body: bytes) -> bool:
        if (path, content_type) != ("/v1/traces", "application/x-protobuf"):
            self.refused.append(f"{path} {content_type}")
            return False
        self.bodies.append(body)
        return True

    @property
    def resources(self) -> list[Any]:
        return [one for body in self.bodies for one in ExportTraceServiceRequest.FromString(body).resource_spans]

    @property
    def spans(self) -> list[ReceivedSpan]:
        return [
            _read_span(span, {pair.key: pair.value.string_value for pair in of_process.resource.attributes})
            for of_process in self.resources
            for scope in of_process.scope_spans
            for span in scope.spans
        ]


def _read_span(span: Any, resource: dict[str, str]) -> ReceivedSpan:
    expected = {
        *("trace_id", "span_id", "parent_span_id", "flags", "name", "kind", "attributes", "status"),
        *("start_time_unix_nano", "end_time_unix_nano"),
    }
    more = [field.name for field, _ in span.ListFields() if field.name not in expected]
    return ReceivedSpan(
        resource["service.name"],
        span.name,
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        {pair.key: str(getattr(pair.value, pair.value.WhichOneof("value"))) for pair in span.attributes},
        span.status.code == span.status.STATUS_CODE_ERROR,
        more + (["status.message"] if span.status.message else []),
    )


@contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """Yield a receiver on a free port."""
    receiver = OtlpReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_taken = receiver.take(self.path, self.headers["Content-Type"], body)
            answer = ExportTraceServiceResponse().SerializeToString() if is_taken else b""
            self.send_response(200 if is_taken else 400)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.01,), name="otlp receiver")
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
