"""Recognition of a worker by its command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worker.ops.metrics_setup import is_worker


@pytest.mark.parametrize(
    "line",
    [
        "/opt/venv/bin/celery -A worker worker -l INFO",
        "celery --app worker worker",
        "celery --app=worker worker",
        "/usr/lib/python3/site-packages/celery/__main__.py -A worker worker -Q nightly",
    ],
)
def test_a_worker_is_known_by_its_command_line(line: str) -> None:
    assert is_worker(line.split())


@pytest.mark.parametrize(
    "line", ["celery -A worker beat", "celery -A worker flower", "celery", "releve status worker", "pytest worker", ""]
)
def test_nobody_else_is_one(line: str) -> None:
    assert not is_worker(line.split())


def test_reading_the_settings_and_options_does_not_yet_decide_where_counts_are_kept() -> None:
    """A worker counts in the folder that ``install`` makes, unless a module that counts was loaded before."""
    program = "import sys, config.celery_options; print(*({'worker.metrics', 'prometheus_client'} & {*sys.modules}))"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.split() == []
