"""A worker's endpoint, asked as Prometheus asks it, after real work; with threads, and with a prefork pool."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.system import METER_NUMBER, QUICKLY, House, open_house, until
from worker.domain.measures.readings import Period
from worker.stores.redis.child_processes import free_port
from worker.stores.redis.sockets import listen

METER = "12345678901299"
Samples = dict[str, dict[tuple[str, ...], float]]


class Watched:
    """A house whose worker tells of itself at ``port``."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.port = free_port()
        self.account = ""

    def text(self) -> str:
        answer = requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=10)
        answer.raise_for_status()
        return answer.text

    def samples(self) -> Samples:
        """By name and the values of the labels, in the order of their names; what is 0 is left out."""
        found: Samples = {}
        for family in text_string_to_metric_families(self.text()):
            for sample in family.samples:
                if sample.value and not sample.name.endswith("_created"):
                    values = tuple(value for _, value in sorted(sample.labels.items()))
                    found.setdefault(sample.name, {})[values] = sample.value
        return found

    def folders(self) -> list[Path]:
        return sorted((self.house.folder / "data" / "metrics").glob("worker-*"))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with open_house(tmp_path_factory.mktemp("metrics"), PRETEND_NOW="2024-04-01T09:00+02:00") as house:
        house.start_simulator("--per-second", "1000", "--per-hour", "10000")
        watched = Watched(house)
        house.start_worker(*QUICKLY, METRICS_PORT=str(watched.port), CALLS_PER_SECOND="0", CALLS_PER_HOUR="1000")
        watched.account = house.add(METER)
        house.wait_loaded(watched.account)
        house.night(watched.account)
        yield watched


def test_what_a_sync_came_to_is_counted(watched: Watched) -> None:
    house, windows = watched.house, 3 + 4 + 2
    found = until(lambda: _if_ended(watched.samples(), windows))
    assert found["releve_windows_total"] == {("stored", "daily"): 4, ("stored", "load_curve"): 5}
    calls = found["releve_supplier_calls_total"]
    assert calls[("data", "first_screen", "2xx")] == 3
    assert calls[("data", "backfill", "2xx")] == 4
    assert calls[("data", "nightly", "2xx")] == 2
    assert sum(calls.values()) == windows + 1 == house.report()["by_status"]["200"]  # and one token
    assert sum(found["releve_supplier_answers_total"].values()) == windows
    assert sum(found["releve_permit_wait_seconds_count"].values()) == windows + 1
    created = sum(value for (change, _), value in found["releve_documents_total"].items() if change == "created")
    assert created == sum(len(house.documents(watched.account, period)) for period in Period)


def test_tasks_are_counted_and_how_long_they_waited(watched: Watched) -> None:
    found = watched.samples()
    runs = found["releve_task_seconds_count"]
    assert runs[("tasks.pipeline.store",)] == runs[("tasks.pipeline.fetch",)] == 9
    waits = found["releve_task_wait_seconds_count"]
    assert waits[("nightly",)] == 2  # messages: the steps after the first are done at once
    messages = sum(runs.values()) - sum(
        runs[(f"tasks.pipeline.{step}",)] for step in ("filter_known", "aggregate", "store")
    )
    assert sum(waits.values()) >= messages
    assert "releve_task_failures_total" not in found
    assert found["process_resident_memory_bytes"][()] > 1_000_000


def test_every_known_failure_has_a_series_before_its_first(watched: Watched) -> None:
    text = watched.text()
    assert 'releve_task_failures_total{error="unforeseen",task="tasks.pipeline.store"} 0.0' in text
    assert 'releve_windows_total{outcome="operator_fault",series="daily"} 0.0' in text


def test_nothing_personal_is_told(watched: Watched) -> None:
    text = watched.text()
    assert watched.account not in text
    assert METER not in text
    assert not METER_NUMBER.search(text)
    assert "127.0.0.1" not in text


def test_the_fleet_hears_its_worker(watched: Watched) -> None:
    told = watched.house.releve("metrics", "--once").stdout
    assert "releve_workers_answering 1.0" in told
    assert 'releve_freshness_ratio{series="daily"} 1.0' in told
    assert watched.account not in told and not METER_NUMBER.search(told)


def test_a_prefork_pool_is_added_up_over_the_end_of_its_processes(watched: Watched) -> None:
    """The last: it takes the place of the first worker, whose counts end with it."""
    house = watched.house
    house.stop("worker")
    assert watched.folders() == []
    options = (*QUICKLY, "--concurrency=1")
    house.start_worker(*options, app="tests.acceptance.prefork", METRICS_PORT=str(watched.port))
    house.night(watched.account)
    until(lambda: _if_ended(watched.samples(), 2))
    (folder,) = watched.folders()
    (child,) = {_pid(file) for file in folder.glob("gauge_live*.db")}  # the main process runs no task
    os.kill(child, signal.SIGKILL)
    until(lambda: watched.text() and child not in {_pid(file) for file in folder.glob("gauge_live*.db")})
    house.night(watched.account)
    found = until(lambda: _if_ended(watched.samples(), 4))
    assert found["releve_windows_total"] == {("stored", "daily"): 2, ("stored", "load_curve"): 2}
    house.stop("worker")
    assert watched.folders() == []


def test_a_worker_whose_port_is_taken_says_so_and_works(watched: Watched) -> None:
    house = watched.house
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        if house.runs("worker"):
            house.stop("worker")
        log = house.start_worker(*QUICKLY, METRICS_PORT=port)
        house.night(watched.account)
    text = until(lambda: "no metrics of this worker" in log.read_text() and log.read_text())
    assert text.count("RELEVE_METRICS_PORT") == 1
    assert "Traceback" not in text


def _if_ended(found: Samples, windows: int) -> Samples | None:
    """Once all that was asked for is counted; the last count comes a moment after the last note."""
    done = sum(found.get("releve_windows_total", {}).values())
    tasks = found.get("releve_task_seconds_count", {}).get(("tasks.pipeline.store",), 0)
    return found if done == windows == tasks else None


def _pid(file: Path) -> int:
    return int(file.stem.rpartition("_")[2])
