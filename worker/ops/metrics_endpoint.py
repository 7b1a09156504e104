"""Where Prometheus finds a worker's metrics: one thread of its main process answers for all of its processes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Metric, PlatformCollector, ProcessCollector, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from worker.stores.redis.child_processes import lives

log = logging.getLogger("releve.metrics")

_LIVE: Final = "gauge_live*_*.db"  # files of what only a living process can say; their names end with its id


class _AllProcesses(MultiProcessCollector):
    """Adds up what processes count in ``folder``; of those that ended the counts stay, not the gauges."""

    def __init__(self, folder: Path) -> None:
        super().__init__(None, str(folder))  # type: ignore[no-untyped-call]
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        for pid in {int(file.stem.rpartition("_")[2]) for file in self._folder.glob(_LIVE)}:
            if not lives(pid):
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        added_up: Iterable[Metric] = super().collect()  # type: ignore[no-untyped-call]
        return added_up


def serve(folder: Path, host: str, port: int) -> WSGIServer | None:
    """Answer on ``host`` and ``port`` from now on.  None where that can't be: said in the log, and no reason to die."""
    registry = CollectorRegistry()
    registry.register(_AllProcesses(folder))
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
