"""HTTP endpoint for the metrics of one worker: a thread of its main process answers for all of its processes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Metric, PlatformCollector, ProcessCollector, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from worker.stores.redis.child_processes import process_exists

log = logging.getLogger("releve.metrics")

# Files of the gauges of living processes, like gauge_livesum_4711.db; the number is the process id.
_LIVE_GAUGES: Final = "gauge_live*_*.db"


class _WorkerCollector(MultiProcessCollector):
    """Sum of the counts of all processes in ``folder``; an ended process keeps its counts but not its gauges."""

    def __init__(self, folder: Path) -> None:
        super().__init__(None, str(folder))  # type: ignore[no-untyped-call]
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        for pid in {int(file.stem.rpartition("_")[2]) for file in self._folder.glob(_LIVE_GAUGES)}:
            if not process_exists(pid):
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        metrics: Iterable[Metric] = super().collect()  # type: ignore[no-untyped-call]
        return metrics


def serve_metrics(folder: Path, host: str, port: int) -> WSGIServer | None:
    """Serve the metrics on ``host`` and ``port`` from now on.

    Returns None where the address can't be used: that is logged, and the worker goes on without an endpoint.
    """
    registry = CollectorRegistry()
    registry.register(_WorkerCollector(folder))
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
