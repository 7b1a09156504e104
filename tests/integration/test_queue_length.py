"""Lengths of queues in a real broker; the night's feed waits while they are long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ASK = """
from worker.app import app
app.set_current()
from tasks.nightly import queue_length
before = queue_length("nightly"), queue_length("backfill")
for number in range(3):
    app.send_task("tasks.upkeep.purge_account", args=(str(number),), queue="nightly")
print(*before, queue_length("nightly"), queue_length("backfill"))
app.control.purge()
"""

RETRY_LATER = """
from worker.app import app
app.set_current()
from celery.exceptions import Retry
from tasks.pipeline import fetch
from tasks.base import queue_length
from worker.errors import RateLimited
from worker.domain.fleet.lanes import enter_lane
enter_lane("nightly")
window = dict(args=("home1", "daily", "2024-07-01", "2024-07-08"), kwargs={"run_id": "r"})
fetch.push_request(id="m1", retries=0, called_directly=False, delivery_info={"routing_key": "nightly"}, **window)
try:
    fetch.retry_later(RateLimited("no permit", retry_after_s=60))
except Retry:
    app.control.purge()  # A worker takes the message and keeps it until its time.
    print(queue_length("nightly"), queue_length("backfill"))
"""

LOSE_BROKER = """
import sys
from tests.support.cutting_proxy import cutting_proxy
from worker.errors import StoreUnavailable
from worker.app import enqueue_backfill, queue_lengths
with cutting_proxy(sys.argv[1]) as proxy:
    url = f"redis://127.0.0.1:{proxy.port}/7"
    print(queue_lengths(url)["nightly"])
    proxy.close()
    for ask in (lambda: queue_lengths(url), lambda: enqueue_backfill("home1", broker_url=url)):
        try:
            ask()
        except StoreUnavailable:
            print("unavailable")
    proxy.open()
    print(queue_lengths(url)["nightly"])
"""


def test_waiting_messages_are_counted_queue_by_queue(redis_url: str, tmp_path: Path) -> None:
    assert run(ASK, redis_url, tmp_path) == ["0", "0", "3", "0"]


def test_what_waits_for_a_permit_in_a_workers_memory_is_counted_too(redis_url: str, tmp_path: Path) -> None:
    assert run(RETRY_LATER, redis_url, tmp_path) == ["1", "0"]


def test_a_broker_that_went_away_since_the_last_time_is_told_as_an_outage(redis_url: str, tmp_path: Path) -> None:
    assert run(LOSE_BROKER, redis_url, tmp_path) == ["0", "unavailable", "unavailable", "0"]


def run(program: str, redis_url: str, folder: Path) -> list[str]:
    """Return the words that the program prints; it has a Redis database of its own."""
    database_url = redis_url.rsplit("/", 1)[0] + "/7"
    env = {
        "RELEVE_REDIS_URL": database_url,
        "RELEVE_DATA_DIR": str(folder),
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", program, redis_url]
    process = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=folder)
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout.split()
