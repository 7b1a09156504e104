"""The metrics endpoint of a worker."""

from __future__ import annotations

import logging
import socket

import pytest
import requests

from worker.ops.metrics_endpoint import serve_metrics

pytestmark = pytest.mark.sockets


def test_a_taken_port_is_one_line_and_no_end(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert serve_metrics("127.0.0.1", port) is None
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"127.0.0.1:{port}" in record.getMessage() and "RELEVE_METRICS_PORT" in record.getMessage()


def test_the_main_process_tells_of_itself_and_nobody_may_write() -> None:
    server = serve_metrics("127.0.0.1", 0)
    assert server is not None
    address = f"http://127.0.0.1:{server.server_port}/metrics"
    assert "process_resident_memory_bytes" in requests.get(address, timeout=10).text
    assert requests.post(address, timeout=10).status_code == 405
    server.shutdown()
    server.server_close()
