"""HTTP endpoint for the metrics of one worker, in a thread of its main process.

A pool of threads counts in this process.  A pool of processes needs PROMETHEUS_MULTIPROC_DIR, as prometheus_client
documents: each process then counts in files of that folder, and the endpoint adds them up.
"""

from __future__ import annotations

import logging
import os
from typing import Any
from wsgiref.simple_server import WSGIServer

from celery import signals
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from config.settings import get_settings
from worker.metrics import REGISTRY

log = logging.getLogger("releve.metrics")


def install() -> None:
    """Open the endpoint when a worker is ready, where the settings name a port.  Safe to repeat."""
    signals.worker_ready.connect(_open_endpoint)
    signals.worker_process_shutdown.connect(_forget_gauges)


def _open_endpoint(**_: Any) -> None:
    settings = get_settings()
    if settings.metrics_port and (server := serve_metrics(settings.metrics_host, settings.metrics_port)):
        # A child process that outlives its worker would otherwise keep the port.
        signals.worker_process_init.connect(lambda **_: server.socket.close(), weak=False)


def _forget_gauges(pid: int, **_: Any) -> None:
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        mark_process_dead(pid)  # type: ignore[no-untyped-call]


def serve_metrics(host: str, port: int) -> WSGIServer | None:
    """Serve the metrics on ``host`` and ``port`` from now on.

    Returns None where the address can't be used: that is logged, and the worker goes on without an endpoint.
    """
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    try:
        server, _ = start_http_server(port, host, registry)
    except OSError as error:
        log.error(
            "no metrics of this worker: %s:%d can't be listened on (%s); workers on one host need a "
            "RELEVE_METRICS_PORT each",
            host,
            port,
            error.strerror or type(error).__name__,
        )
        return None
    log.info("metrics at http://%s:%d/metrics", f"[{host}]" if ":" in host else host, port)
    return server
