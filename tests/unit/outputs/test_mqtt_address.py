"""A broker in a private network is refused at the moment the connection opens: not even TLS says a word to it."""

from __future__ import annotations

import socket

import pytest

from worker.outputs.mqtt_client import MqttBroker
from worker.outputs.output import OutputRefused


@pytest.mark.sockets
@pytest.mark.parametrize("has_tls", [True, False])
def test_nothing_is_sent_to_a_private_network(has_tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *others, **more: resolve("127.0.0.1", *others, **more))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        broker = MqttBroker(host="broker.example", port=server.getsockname()[1], has_tls=has_tls, timeout_s=2)
        with pytest.raises(OutputRefused, match="RELEVE_WEBHOOK_NETWORKS"), broker.connect():
            pass
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(5)
            assert accepted.recv(100) == b""
