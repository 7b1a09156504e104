"""A time series server for the tests, like InfluxDB 2: it demands a token, parses lines strictly, and keeps points."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Final

from tests.support.line_parser import Point, parse_lines

TOKEN: Final = "t0ken-of-series"


@dataclass
class LineServer:
    """Its state: the last point of each key, and the number of points of each write. ``away``: it answers 503."""

    url: str = ""
    away: bool = False
    points: dict[Any, Point] = field(default_factory=dict)
    writes: list[list[Point]] = field(default_factory=list)
    refused: int = 0

    def total(self, measurement: str, account: str, name: str = "wh") -> float:
        """Return the sum of a field of all points of a measurement."""
        points = (point for point in self.points.values() if point.measurement == measurement)
        return sum(point.fields[name] for point in points if point.tags["account"] == account)

    def take(self, path: str, authorization: str | None, body: bytes) -> int:
        """Return the status of a write."""
        if self.away:
            self.refused += 1
            return 503
        if authorization != f"Token {TOKEN}":
            return 401
        if path.startswith("/api/v2/delete?bucket=home"):
            self._delete(**json.loads(body))
            return 204
        if path != "/api/v2/write?bucket=home&precision=s":
            return 404
        points = parse_lines(body)
        self.writes.append(points)
        self.points.update({point.key: point for point in points})
        return 204

    def _delete(self, start: str, stop: str, predicate: str) -> None:
        """Delete the points of a measurement with these tags, from ``start`` to ``stop``, included."""
        tags = dict(re.findall(r'(\w+)="(\w+)"', predicate))
        name, first, last = (
            tags.pop("_measurement"),
            *(datetime.fromisoformat(one).timestamp() for one in (start, stop)),
        )
        for key, point in list(self.points.items()):
            if point.measurement == name and tags.items() <= point.tags.items() and first <= point.time <= last:
                del self.points[key]


@contextmanager
def line_server() -> Iterator[LineServer]:
    """Yield a running server that has the bucket ``home``."""
    state = LineServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(state.take(self.path, self.headers.get("Authorization"), body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, args=(0.01,), name="line server")
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
