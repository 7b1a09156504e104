"""The simulator over HTTP."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner, Result

from simulator.application import serve
from simulator.command import simulate
from simulator.switches import SimulatorOptions
from tests.support.simulators import serve_in_background
from tests.support.waiting import DEADLINE_S


@pytest.mark.sockets
def test_it_serves_quietly_and_ends(capfd: pytest.CaptureFixture[str]) -> None:
    with serve_in_background(SimulatorOptions()) as url:
        assert requests.get(f"{url}/__sim__/health", timeout=DEADLINE_S).json()["ok"] is True
        assert requests.get(f"{url}/nowhere", timeout=DEADLINE_S).status_code == 404
    assert capfd.readouterr() == ("", "")
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/__sim__/health", timeout=DEADLINE_S)


@pytest.mark.sockets
def test_a_port_that_is_taken_is_an_error_of_the_callers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            serve(SimulatorOptions(), port=taken.getsockname()[1])


def _start_with(folder: Path) -> Result:
    """Return what is printed before the simulator listens, which it can't: the port is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        return CliRunner().invoke(simulate, ["--port", port, "--data", str(folder)])


@pytest.mark.sockets
def test_the_command_names_each_file_that_it_serves_or_passes_over(tmp_path: Path) -> None:
    (tmp_path / "01234567890123.daily.csv").write_text("date,wh\n2024-10-31,7000\n")
    (tmp_path / "01234567890124-daily.csv").write_text("date,wh\n2024-10-31,7000\n")
    started = _start_with(tmp_path)
    assert started.stdout == "serving …0123.daily.csv: meter …0123, daily consumption, 1 day: 2024-10-31\n"
    assert started.stderr.startswith(
        "releve: skipped …0124-daily.csv: not the name of a recording: name it <14 digits>.daily.csv\n"
    )
    assert "can't listen" in started.stderr


@pytest.mark.sockets
@pytest.mark.parametrize("names", [(), ("household_a.daily.csv", "readme.txt")])
def test_a_folder_with_nothing_to_serve_is_an_error_with_a_mend(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).write_text("date,wh\n2024-10-31,7000\n")
    started = _start_with(tmp_path)
    assert started.exit_code == 1
    assert "no recorded series" in started.stderr
    assert "<14 digits>.daily.csv" in started.stderr
    assert all(name in started.stderr for name in names)
    assert len(started.stderr.splitlines()) == 1
