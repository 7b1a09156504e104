"""An HTTP proxy between a store and its server that records the requests on the wire."""

from __future__ import annotations

from drill.faults import CouchdbRelay


class CountingProxy(CouchdbRelay):
    """A relay without faults that records its requests.

    ``requests`` holds method and path (with its query) of each request in order, ``connections`` their client ports.
    """

    def __init__(self, target_url: str) -> None:
        super().__init__(target_url)
        self.requests: list[tuple[str, str]] = []
        self.connections: set[int] = set()

    def record_request(self, method: str, path: str, client_port: int) -> None:
        self.requests.append((method, path))
        self.connections.add(client_port)

    def clear(self) -> None:
        self.requests.clear()
        self.connections.clear()
