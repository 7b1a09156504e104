"""The receiver of a drill's webhook of measures: it keeps what it is sent; the drill compares it with the store."""

from __future__ import annotations

import hmac
import json
import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Final, Self

from worker.clients.signed_webhook import SIGNATURE_HEADER, sign_body
from worker.domain.measures.documents import ALL_KEYS, key_of, start_of
from worker.domain.measures.series import Series
from worker.runtime.process import Runtime
from worker.stores.registry.outputs.outbox import OutboxTable

_LATER: Final = timedelta(days=1)

Readings = dict[datetime, float]


class MeasuresReceiver:
    """A web server that takes signed measures; while ``away`` it answers 503."""

    def __init__(self) -> None:
        self.away = False
        self.requests = 0
        self._secret = secrets.token_hex(32)
        self._readings: defaultdict[tuple[str, str], Readings] = defaultdict(dict)
        self._lock = Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.receiver = self  # type: ignore[attr-defined]
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="receiver", daemon=True)
        self._output_id = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def set_up(self, runtime: Runtime) -> None:
        """Add this receiver as an output of all accounts."""
        url = f"http://127.0.0.1:{self._server.server_address[1]}/measures"
        options = {"url": url, "secret": self._secret, "more": {}}
        self._output_id = runtime.outputs.insert("webhook", options, runtime.now())

    def deliver_rest(self, runtime: Runtime) -> bool:
        """Deliver what waits, now that no window runs any more, and return whether all is sent."""
        # A day later each window that was killed counts as killed.
        outbox = OutboxTable(runtime.registry.database, lambda: runtime.now() + _LATER, timedelta(hours=2))
        runtime.outputs.end_wait(self._output_id)
        replace(runtime.output_delivery, outbox=outbox).deliver(self._output_id)
        return not runtime.outputs.get(self._output_id).waiting

    def count_differences(self, runtime: Runtime, account_ids: Sequence[str]) -> int:
        """Return how many readings the receiver has otherwise than the store, or one of the two alone."""
        return sum(self._count_differences(runtime, account, series) for account in account_ids for series in Series)

    def _count_differences(self, runtime: Runtime, account_id: str, series: Series) -> int:
        if series.is_state:
            return 0
        documents = runtime.measures.read(account_id, {series.inputs: ALL_KEYS})[series.inputs]
        stored = {start_of(key_of(document)): document["load"] for document in documents}
        received = self._readings[account_id, series.value]
        return sum(stored.get(start) != received.get(start) for start in stored.keys() | received.keys())

    def take(self, signature: str, body: bytes) -> int:
        """Keep the readings of a signed request, and return the status of the answer."""
        if self.away:
            return 503
        sent_at = signature.partition(",")[0].removeprefix("t=")
        if not hmac.compare_digest(signature, sign_body(self._secret, int(sent_at or 0), body)):
            return 401
        message = json.loads(body)
        with self._lock:
            self.requests += 1
            readings = self._readings[message["account"], message["series"]]
            begin, until = (datetime.fromisoformat(message[name]) for name in ("from", "until"))
            for start in [start for start in readings if begin <= start < until]:
                del readings[start]
            readings |= {datetime.fromisoformat(row["start"]): row["value"] for row in message["readings"]}
        return 204


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        receiver: Any = self.server.receiver  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(receiver.take(self.headers[SIGNATURE_HEADER] or "", body))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log no requests."""
