"""Asks every part of the fleet how it stands when Prometheus asks us; a silent part costs no more than its own word."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from multiprocessing.pool import ThreadPool
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.errors import WorkerError
from worker.metrics import Definition
from worker.ops.fleet_metrics import UP

log = logging.getLogger("releve.metrics")

FRESH_S: Final = 10.0
PATIENCE_S: Final = 6.0  # Prometheus itself waits 10 s by default

Values = Mapping[tuple[str, ...], float]  # by the values of the labels, () where there are none
Told = Iterable[tuple[Definition, Values]]


class FleetCollector(Collector):
    """``parts`` by name; each gives what it tells, or raises WorkerError.  Safe with threads.

    Parts are asked at once, each in a thread; one that has not answered in ``patience_s`` counts as down, and is
    not asked again before it has.
    """

    def __init__(
        self,
        parts: Mapping[str, Callable[[], Told]],
        *,
        fresh_s: float = FRESH_S,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._fresh_s = fresh_s
        self._patience_s = patience_s
        self._clock = clock
        self._threads = ThreadPool(len(parts))  # of daemons: one that is still asking holds nobody back at the end
        self._asked: dict[str, Future[list[Metric]]] = {}
        self._lock = threading.Lock()
        self._kept: list[Metric] = []
        self._kept_at: float | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing: to find out would mean to ask."""
        return ()

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            if self._kept_at is None or self._clock() - self._kept_at >= self._fresh_s:
                self._kept, self._kept_at = self._ask(), self._clock()
            return list(self._kept)

    def close(self) -> None:
        self._threads.terminate()

    def _ask(self) -> list[Metric]:
        for name, part in self._parts.items():
            if name not in self._asked:
                self._asked[name] = self._submit(part)
        answered, _ = wait(self._asked.values(), timeout=self._patience_s)
        told: list[Metric] = []
        up: dict[tuple[str, ...], float] = {}
        for name, asked in list(self._asked.items()):
            up[name,] = 0.0
            if asked not in answered:
                log.warning("part=%s has not answered in %.0f s", name, self._patience_s)
                continue
            del self._asked[name]
            if (error := asked.exception()) is not None:
                log.warning("part=%s can't be asked: %s", name, _in_words(error))
                continue
            told += asked.result()
            up[name,] = 1.0
        return [to_metric(UP, up), *told]

    def _submit(self, part: Callable[[], Told]) -> Future[list[Metric]]:
        asked: Future[list[Metric]] = Future()
        self._threads.apply_async(_metrics_of, (part,), callback=asked.set_result, error_callback=asked.set_exception)
        return asked


def to_metric(definition: Definition, values: Values) -> Metric:
    family = (CounterMetricFamily if definition.kind == "counter" else GaugeMetricFamily)(
        definition.name, definition.help, labels=list(definition.labels)
    )
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _metrics_of(part: Callable[[], Told]) -> list[Metric]:
    return [to_metric(definition, values) for definition, values in part()]


def _in_words(error: BaseException) -> str:
    return str(error) if isinstance(error, WorkerError) else f"unforeseen {type(error).__name__}, a bug of ours"
