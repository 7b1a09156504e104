"""What a trace may tell, whatever made its spans; and that tracing loads nothing while it is off."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from tests.golden.test_outside_names import all_routes, pretend_app
from tests.support.commands import run_releve
from tests.support.servers import ROOT
from worker import exported_spans
from worker.clients.suppliers import SUPPLIERS
from worker.domain.series import Series
from worker.exported_spans import ALLOWED, AllowedSpans
from worker.ops import startup
from worker.tracing import ENDPOINT

METER = "98765432109801"
SECRETS = (
    *(METER, "GI987654", f"a {METER}", "jeanne@example.org", "Jeanne", "http://127.0.0.1/x", "SELECT 1"),
    *(
        "eyJhbGciOiJIUzI1NiJ9",
        "ValueError: x",
        "",
        "a\nb",
        f"/daily/{METER}",
        "/accounts/k9xgwnz9gvp2",
        "Bearer abcdefgh",
    ),
)
CONTEXT = SpanContext(1, 2, False, TraceFlags(1), TraceState([("a", METER)]))


class Kept(SpanExporter):
    """An exporter that keeps spans in memory, or fails."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.result = SpanExportResult.SUCCESS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return self.result


def exported(name: str, attributes: dict[str, Any], kind: SpanKind = SpanKind.INTERNAL) -> ReadableSpan:
    kept = Kept()
    span = ReadableSpan(
        name,
        CONTEXT,
        CONTEXT,
        Resource({"host.name": "canary"}),
        attributes,
        [Event("exception", {"exception.message": METER})],
        [Link(CONTEXT, {"a": METER})],
        kind,
        status=Status(StatusCode.ERROR, METER),
    )
    AllowedSpans(kept, Resource({"service.name": "releve-web"})).export([span])
    return kept.spans[0]


@pytest.mark.parametrize("kind", SpanKind)
def test_of_a_span_that_tells_too_much_only_its_place_in_the_trace_leaves(kind: SpanKind) -> None:
    for name, value in product((*ALLOWED, "url.path", "db.statement"), (*SECRETS, [METER], METER.encode())):
        span = exported(METER, {name: value}, kind)
        assert (span.name, dict(span.attributes or {}), span.events, span.links) == ("other", {}, (), ()), name
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
        assert span.context and span.parent and not span.context.trace_state and not span.parent.trace_state
        assert dict(span.resource.attributes) == {"service.name": "releve-web"}


def test_routes_suppliers_and_series_have_the_allowed_form() -> None:
    for is_home in (True, False):
        paths = [route.path for route in all_routes(pretend_app(is_home=is_home).routes)]
        assert len(paths) > 30
        assert [path for path in paths if not ALLOWED["http.route"].fullmatch(path)] == []
    presets = {preset.name for supplier in SUPPLIERS.values() for preset in supplier.presets.values()}
    operators = {series.description.supplier for series in Series}
    assert [name for name in presets | operators if not ALLOWED["supplier"].fullmatch(name)] == []


def test_a_failing_collector_is_logged_once_until_it_takes_spans_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exported_spans, "_PAUSE_S", 0)
    caplog.set_level(logging.INFO, "releve.tracing")
    kept = Kept()
    exporter = AllowedSpans(kept, Resource({}))
    for result in (SpanExportResult.FAILURE,) * 3 + (SpanExportResult.SUCCESS,) * 2 + (SpanExportResult.FAILURE,):
        kept.result = result
        assert exporter.export([]) is result
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "traces are not sent",
        "traces are sent again",
        "traces are not sent",
    ]


@pytest.fixture
def without_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tracing be wanted, but its packages be missing."""
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "worker.exported_spans")


@pytest.mark.usefixtures("without_extra")
@pytest.mark.parametrize("command", ["web", "up"])
def test_without_its_extra_tracing_is_refused_with_one_line(command: str, tmp_path: Path) -> None:
    result = run_releve(tmp_path, {"RELEVE_ENEDIS_URL": "http://127.0.0.1:1"}, command)
    assert result.code == 2
    assert result.error_line.startswith("releve: OTEL_EXPORTER_OTLP_ENDPOINT needs the extra otel: pip install 'rele")


@pytest.mark.usefixtures("without_extra")
def test_a_worker_does_not_start_without_it_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "limit_remote_control", lambda: None)  # It would change Celery for all tests.
    with pytest.raises(SystemExit, match=r"^releve: OTEL_EXPORTER_OTLP_ENDPOINT needs the extra otel"):
        startup.prepare_worker()


_OF_WORKER = """
import celery, tasks.base, worker.app
worker.app.app.loader.import_default_modules()
@worker.app.app.task(name="tasks.pipeline.fetch")
def task(): pass
celery.signals.before_task_publish.send(sender="tasks.pipeline.fetch", headers={})
assert task.apply().successful()
"""
_OF_WEB = """
from worker.web import asgi, server
from worker.web.api import create_described_app
create_described_app()
"""


@pytest.mark.parametrize("program", [pytest.param(_OF_WORKER, marks=pytest.mark.rest), _OF_WEB], ids=["worker", "web"])
def test_while_tracing_is_off_only_what_libraries_load_by_themselves_is_loaded(program: str) -> None:
    """FastAPI loads OpenTelemetry's API, and redis the SDK's metrics if they are installed."""
    libraries, ours = (loaded(code) for code in ("import fastapi, redis", program))
    assert ours <= libraries
    assert not any(name.startswith(("opentelemetry.exporter", "opentelemetry.sdk.trace", "google")) for name in ours)


def loaded(program: str) -> set[str]:
    """Return the modules that a program has loaded at its end, of OpenTelemetry and what it needs."""
    show = "import sys; print(*(name for name in sys.modules if name.startswith(('opentelemetry', 'google'))))"
    env = {"PYTHONPATH": str(ROOT), "RELEVE_REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [sys.executable, "-c", f"{program}\n{show}"]
    return set(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.split())
