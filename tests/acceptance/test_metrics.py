"""A worker's metrics endpoint, asked as Prometheus asks it, after real work with threads and with a prefork pool."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from drill.parts import process_exists
from tests.support.system import QUICK_START, System, open_system, until
from tests.support.waiting import DEADLINE_S
from worker.domain.series import Doctype
from worker.stores.child_processes import free_port

METER = "12345678901299"
Samples = dict[str, dict[tuple[str, ...], float]]


class WorkerMetrics:
    """The metrics that a system's worker serves at ``port``."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.port = free_port()
        self.account = ""

    def text(self) -> str:
        answer = requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=DEADLINE_S)
        answer.raise_for_status()
        return answer.text

    def samples(self) -> Samples:
        """Return samples by name and by label values in the order of the label names, without those that are 0."""
        samples: Samples = {}
        for family in text_string_to_metric_families(self.text()):
            for sample in family.samples:
                if sample.value and not sample.name.endswith("_created"):
                    values = tuple(value for _, value in sorted(sample.labels.items()))
                    samples.setdefault(sample.name, {})[values] = sample.value
        return samples


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerMetrics]:
    with open_system(tmp_path_factory.mktemp("metrics"), PRETEND_NOW="2024-04-01T09:00+02:00") as system:
        system.start_simulator("--per-second", "1000", "--per-hour", "10000")
        metrics = WorkerMetrics(system)
        system.start_worker(*QUICK_START, METRICS_PORT=str(metrics.port), CALLS_PER_SECOND="0", CALLS_PER_HOUR="1000")
        metrics.account = system.add_account(METER)
        system.wait_loaded(metrics.account)
        system.run_night(metrics.account)
        yield metrics


def test_what_a_sync_came_to_is_counted(metrics: WorkerMetrics) -> None:
    system, windows = metrics.system, 3 + 4 + 2
    samples = until(lambda: _if_ended(metrics.samples(), windows))
    assert samples["releve_windows_total"] == {("stored", "daily"): 4, ("stored", "load_curve"): 5}
    calls = samples["releve_supplier_calls_total"]
    assert calls[("data", "first_screen", "2xx")] == 3
    assert calls[("data", "backfill", "2xx")] == 4
    assert calls[("data", "nightly", "2xx")] == 2
    assert sum(calls.values()) == windows + 1 == system.report()["by_status"]["200"]  # The last call asks for a token.
    assert sum(samples["releve_supplier_answers_total"].values()) == windows
    assert sum(samples["releve_permit_wait_seconds_count"].values()) == windows + 1
    created = sum(value for (change, _), value in samples["releve_documents_total"].items() if change == "created")
    assert created == sum(len(system.documents(metrics.account, period)) for period in Doctype)


def test_tasks_are_counted_and_how_long_they_waited(metrics: WorkerMetrics) -> None:
    samples = metrics.samples()
    runs = samples["releve_task_seconds_count"]
    assert runs[("tasks.pipeline.store",)] == 9
    waits = samples["releve_task_wait_seconds_count"]
    assert (waits[("nightly",)], waits[("steps",)]) == (2, 3 * 9)  # Each step waits, the first in its window's lane.
    # Two choices of a history's next window may publish the same one; the second ``fetch`` finds it done, and ends.
    in_lanes = sum(waits[(lane,)] for lane in ("first_screen", "backfill", "nightly"))
    assert in_lanes == runs[("tasks.pipeline.fetch",)] >= 9
    assert sum(waits.values()) >= sum(runs.values())
    assert "releve_task_failures_total" not in samples
    assert samples["process_resident_memory_bytes"][()] > 1_000_000


def test_every_known_failure_has_a_series_before_its_first(metrics: WorkerMetrics) -> None:
    text = metrics.text()
    assert 'releve_task_failures_total{error="unforeseen",task="tasks.pipeline.store"} 0.0' in text
    assert 'releve_windows_total{outcome="operator_fault",series="daily"} 0.0' in text


def test_a_prefork_pool_is_added_up_over_the_end_of_its_processes(
    metrics: WorkerMetrics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replace the worker of the tests before, whose counts end with it."""
    system = metrics.system
    system.stop("worker")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    options = (*QUICK_START, "--concurrency=1")
    system.start_worker(*options, app="tests.acceptance.prefork", METRICS_PORT=str(metrics.port))
    system.run_night(metrics.account)
    until(lambda: _if_ended(metrics.samples(), 2))
    (child,) = {_pid(file) for file in tmp_path.glob("gauge_live*.db")}  # The main process runs no task.
    os.kill(child, signal.SIGKILL)
    until(lambda: not process_exists(child))
    assert metrics.samples()["releve_windows_total"] == {("stored", "daily"): 1, ("stored", "load_curve"): 1}


def _if_ended(samples: Samples, windows: int) -> Samples | None:
    """Return the samples once all windows are counted: the last count comes just after the last outcome."""
    windows_done = sum(samples.get("releve_windows_total", {}).values())
    tasks_done = samples.get("releve_task_seconds_count", {}).get(("tasks.pipeline.store",), 0)
    return samples if windows_done == windows == tasks_done else None


def _pid(file: Path) -> int:
    return int(file.stem.rpartition("_")[2])
