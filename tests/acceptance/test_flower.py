"""Flower beside a running system: who may open it, and that it shows nothing personal."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.system import BIN, System, open_system, until
from tests.support.waiting import DEADLINE_S
from worker.stores.child_processes import free_port

METER, SILENT, REFUSED = "12345678901299", "20123456789012", "21345678901234"
PASSWORD = "canary,of a:password"  # It has characters that Flower's own variable can't hold.


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    settings = {"PRETEND_NOW": "2024-07-25T09:00+02:00", "FLOWER_PASSWORD": PASSWORD, "HISTORY_LOAD_DAYS": "7"}
    with open_system(tmp_path_factory.mktemp("flower"), **settings) as system:
        system.start_simulator()
        yield system


@pytest.fixture(scope="module")
def flower(system: System) -> Callable[[str], Any]:
    """Return a function that asks the Flower of `releve up`, once it has turned on its worker's events."""
    port = free_port()
    command = [BIN / "releve", "up", "--port", str(free_port()), "--flower-port", str(port)]
    system.start_process("up", command)
    until(lambda: listens(port), "Flower's start")

    def ask(path: str) -> Any:
        answer = requests.get(f"http://127.0.0.1:{port}/{path}", auth=("releve", PASSWORD), timeout=DEADLINE_S)
        answer.raise_for_status()
        return answer.json() if "json" in answer.headers["Content-Type"] else answer.text

    assert requests.get(f"http://127.0.0.1:{port}/tasks", timeout=DEADLINE_S).status_code == 401
    assert requests.get(f"http://127.0.0.1:{port}/api/tasks", timeout=DEADLINE_S).status_code == 401
    worker_log = Path(system.settings["DATA_DIR"]) / "logs/worker.log"
    until(lambda: "Events of group {task} enabled by remote" in worker_log.read_text(), "events turned on by Flower")
    return ask


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def listeners(port: int) -> set[str]:
    """Return the addresses on which a process listens on the port, as the kernel writes them."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return {address for _, address, _, state, *_ in lines[1:] if address.endswith(f":{port:04X}") and state == "0A"}


def processes() -> str:
    """Return the command lines of all running programs, which any user of the machine can read."""
    command_lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command_lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):  # The process has ended meanwhile.
            continue
    return "\n".join(command_lines)


def test_a_backfill_is_shown_with_states_times_and_the_window_of_each_task(
    system: System, flower: Callable[[str], Any]
) -> None:
    account = system.add_account(METER)
    system.wait_loaded(account)
    curve = f"{account} load_curve 2024-07-18"
    tasks = until(lambda: find_tasks(flower, curve, "succeeded", "tasks.pipeline.store"), "the tasks in Flower")
    (fetched,) = [task for task in tasks if task["name"] == "tasks.pipeline.fetch" and curve in task["args"]]
    assert (fetched["args"], fetched["state"], fetched["retries"]) == (f"{curve} 2024-07-25", "SUCCESS", 0)
    assert fetched["runtime"] > 0
    (stored,) = [task for task in tasks if task["name"] == "tasks.pipeline.store" and curve in task["args"]]
    window, run, claim = stored["args"].rsplit(" ", 2)
    assert (window, stored["kwargs"]) == (f"{curve}/2024-07-25", "{}")
    assert re.fullmatch(r"\d{8}T\d{6}\.\d{6} backfill/\d{16}", f"{run} {claim}")
    assert any(task["name"] == "tasks.backfill.backfill_account" and account in task["args"] for task in tasks)


def test_retries_and_failures_are_shown_and_no_meter(system: System, flower: Callable[[str], Any]) -> None:
    system.simulator("POST", "faults", {"path": "", "usage_point": SILENT, "count": None, "status": 503})
    system.switch(REFUSED, refusal="ADAM-DC-0008")
    silent, refused = system.add_account(SILENT), system.add_account(REFUSED)
    tasks = until(
        lambda: find_tasks(flower, silent, "retried") and find_tasks(flower, refused, "failed"), "both in Flower"
    )
    reasons = [task["exception"] or "" for task in tasks]
    assert any("SupplierFault" in reason for reason in reasons)
    assert any("ConsentRevoked" in reason for reason in reasons)
    pages = json.dumps(tasks) + json.dumps(flower("api/workers?refresh=1")) + flower("tasks") + flower("metrics")
    assert not [meter for meter in (METER, SILENT, REFUSED) if meter in pages]
    assert "readings" not in pages


def test_the_password_is_in_no_list_of_processes_and_the_door_says_where_it_is(
    system: System, flower: Callable[[str], Any]
) -> None:
    logs = system.logs()
    assert "user releve, password in RELEVE_FLOWER_PASSWORD" in logs
    assert PASSWORD not in logs
    assert PASSWORD not in processes()


def test_by_itself_it_serves_this_machine_alone_with_a_password_and_an_embedded_redis(
    system: System, tmp_path: Path
) -> None:
    port, folder = free_port(), tmp_path / "data"
    command = [BIN / "celery", "-A", "worker", "flower", f"--port={port}"]
    system.start_process("flower", command, {"DATA_DIR": str(folder), "REDIS_URL": "", "FLOWER_PASSWORD": ""})
    until(lambda: listens(port), "Flower's start")
    assert {address.partition(":")[0] for address in listeners(port)} == {"0100007F"}
    file = folder / "flower.password"
    assert file.stat().st_mode & 0o077 == 0
    password = file.read_text()
    address = f"http://127.0.0.1:{port}/api/workers?refresh=1"
    assert [
        requests.get(address, auth=auth, timeout=DEADLINE_S).status_code for auth in (None, ("releve", password))
    ] == [
        401,
        200,
    ]
    system.stop("flower")


def test_a_taken_port_is_named_before_anything_starts(system: System) -> None:
    with socket.socket() as other_socket:
        other_socket.bind(("127.0.0.1", 0))
        other_socket.listen()
        port = str(other_socket.getsockname()[1])
        ports = ("--port", str(free_port()), "--flower-port", port)
        errors = system.releve("up", *ports, code=2, DATA_DIR=str(system.folder / "another")).err
    assert errors.endswith(
        f"releve: port {port} for Flower: Address already in use; choose another with --flower-port, or give 0 for "
        "no Flower\n"
    )


def find_tasks(flower: Callable[[str], Any], args: str, event: str, name: str = "tasks.pipeline.fetch") -> Any:
    """Return all tasks that Flower shows, once there is one with these arguments and a time for that event."""
    tasks = list(flower("api/tasks?limit=1000").values())
    return tasks if any(task["name"] == name and args in task["args"] and task[event] for task in tasks) else []
