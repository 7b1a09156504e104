"""The simulator over HTTP."""

from __future__ import annotations

import socket

import pytest
import requests

from tests.support.simulators import serve_in_background
from worker.simulator.options import SimulatorOptions
from worker.simulator.server import serve


@pytest.mark.sockets
def test_it_serves_quietly_and_ends(capfd: pytest.CaptureFixture[str]) -> None:
    with serve_in_background(SimulatorOptions()) as url:
        assert requests.get(f"{url}/__sim__/health", timeout=5).json()["ok"] is True
        assert requests.get(f"{url}/nowhere", timeout=5).status_code == 404
    assert capfd.readouterr() == ("", "")
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/__sim__/health", timeout=5)


@pytest.mark.sockets
def test_a_port_that_is_taken_is_an_error_of_the_callers() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            serve(SimulatorOptions(), port=taken.getsockname()[1])
