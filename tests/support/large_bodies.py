"""Bodies of odd shapes, a server that sends them, and a process that gets sixteen at once and prints its memory peak.

    python -m tests.support.large_bodies http://127.0.0.1:8000 enedis-2026 wide-8000000 long-text-8000000

Each body is requested by sixteen threads, through the clients and observers of a worker. Then a line shows its name and
by how many megabytes the peak has grown since the process had received ordinary bodies.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.support.factories import NOW, PretendSupplier, make_window_sync, window_job
from tests.support.fakes import memory_measures
from tests.support.registries import add_ready, open_registry, prepare_registry, registry_sealer
from tests.support.supplier_server import FakePermits, FakeTokenStore, three_hours_ahead
from worker.clients.enedis.consent import fetch_shared_meters
from worker.clients.http_calls import GuardedHttp, open_session, post_signed
from worker.clients.oauth import OAuthClient
from worker.clients.supplier_session import SupplierSession, Token, Transport
from worker.clients.suppliers import SUPPLIERS
from worker.clients.tokens import BearerTokens
from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.errors import WorkerError
from worker.outputs.line_protocol import LineProtocolOutput, WriteTarget
from worker.stores.registry.supplier_answers import QuarantineTable, RawAnswerTable
from worker.sync.quarantine import AnswerWatch

THREADS: Final = 16
_MEGABYTE: Final = 1024**2
_POINT: Final = '{"value":"%d","date":"2024-07-%02d %02d:%02d:00","interval_length":"PT10M","new":%d}'


def _points() -> Iterator[str]:
    return (_POINT % (n, n % 28 + 1, n % 24, n % 60, n) for n in count())


def filled(size: int, before: str, items: Iterator[str], after: str) -> bytes:
    """Return as many items, separated by commas, as the size allows."""
    parts, left = [before], size - len(before) - len(after)
    for item in items:
        left -= len(item) + 1
        if left < 0:
            break
        parts += (item, ",")
    return "".join([*parts[:-1], after]).encode()


# The body of about so many bytes.
SHAPES: Final[dict[str, Callable[[int], bytes]]] = {
    "long-text": lambda size: b'{"a":"' + b"9" * (size - 8) + b'"}',
    "wide-characters": lambda size: b'{"a":"' + "\U0001f600".encode() + b"9" * (size - 12) + b'"}',
    "escaped-text": lambda size: b'{"a":"' + b'\\"' * ((size - 8) // 2) + b'"}',
    "no-end": lambda size: b'{"a":"' + b'\\"' * ((size - 8) // 2),
    "long-number": lambda size: b'{"a":' + b"9" * (size - 6) + b"}",
    "long-fraction": lambda size: b'{"a":1.' + b"9" * (size - 8) + b"}",
    "long-key": lambda size: b'{"' + b"k" * (size - 6) + b'":1}',
    "deep": lambda size: b"[" * (size // 2) + b"]" * (size // 2),
    "many-deep-lists": lambda size: filled(size, "[", ("[" * 30 + "]" * 30 for _ in count()), "]"),
    "many-deep-objects": lambda size: filled(
        size, "[", ("".join(f'{{"{n * 32 + m:x}":' for m in range(30)) + "1" + "}" * 30 for n in count()), "]"
    ),
    "empty-lists": lambda size: filled(size, "[", ("[]" for _ in count()), "]"),
    "small-objects": lambda size: filled(size, "[", (f'{{"{n:x}":{n}}}' for n in count()), "]"),
    "one-object": lambda size: filled(size, "{", (f'"{n:x}":{n}' for n in count()), "}"),
    "small-texts": lambda size: filled(size, "[", (f'"{n:x}"' for n in count()), "]"),
    "points": lambda size: filled(size, '{"meter_reading":{"interval_reading":[', _points(), "]}}"),
    "wide-points": lambda size: filled(
        size, '{"meter_reading":{"interval_reading":[', (f'{"{"}"n{n % 9}":"{"x" * 60}"{"}"}' for n in count()), "]}}"
    ),
    "page": lambda size: b'<html><img src="data:image/png;base64,' + b"iVBORw0KGgo" * (size // 11) + b'"></html>',
    "values": lambda size: filled(size, "", (f'{{"a":[{"[]," * 9000}[]]}}' for _ in count()), "").replace(
        b"},{", b"}\n{"
    ),
}


@cache
def body_of(name: str) -> bytes:
    """Return the body of a name such as ``wide-8000000``."""
    shape, _, size = name.rpartition("-")
    return SHAPES[shape](int(size))


@contextmanager
def serve_bodies() -> Iterator[str]:
    """Yield the address of a server that answers ``/<name>/<status>/…`` with a body."""
    server = _BodyServer(("127.0.0.1", 0), _Sender)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _BodyServer(ThreadingHTTPServer):
    request_queue_size = 2 * THREADS

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing, because the other side has only read enough."""


class _Sender(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        _, name, status, *_ = self.path.split("/")
        body = body_of(name)
        self.send_response(int(status))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_PATCH = do_GET

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def peak_mb() -> float:
    """Return the peak memory of this process in megabytes."""
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(kilobytes) / 1024


class _Callers:
    """The callers that request a body, by the name of a preset or of another receiver of answers."""

    def __init__(self, folder: Path) -> None:
        prepare_registry(folder)
        registry = open_registry(f"sqlite:///{folder}/registry.db")
        self.account_id = add_ready(registry)
        database, sealer = registry.database, registry_sealer()
        self.watch = AnswerWatch(
            quarantine=QuarantineTable(database, sealer),
            channels=(),
            presets={"enedis": "enedis-2026", "grdf": "grdf-adict"},
            now=lambda: NOW,
            shapes={series: shapes for one in SUPPLIERS.values() for series, shapes in one.shapes.items()},
            raw_answers=RawAnswerTable(database, sealer),
        )

    def caller(self, kind: str, base_url: str) -> Callable[[], object]:
        """Return the function by which a thread requests an answer from this address."""
        if kind == "webhook":
            return lambda: self._notify(base_url)
        if kind == "line-protocol":
            return lambda: LineProtocolOutput(
                target=WriteTarget(f"{base_url}/write", {}), measures=memory_measures(), now=lambda: NOW
            ).check()
        name, _, call = kind.partition("/")
        supplier = next(one for one in SUPPLIERS.values() if name in one.presets)
        endpoints = supplier.presets[name].endpoints(base_url)
        transport = Transport(endpoints.base_url, token_url=endpoints.token_url)
        store = FakeTokenStore(Token("access-token-one", "refresh-token-one", three_hours_ahead()))
        permits = FakePermits()
        oauth = OAuthClient(endpoints, "our-client", "secret", transport, permits)
        if call == "token":
            return oauth.application_token
        if call == "code":
            return lambda: oauth.exchange_code("code")
        session = SupplierSession(endpoints, transport, BearerTokens(store), permits)
        if call == "meters":
            return lambda: fetch_shared_meters(session, 900001, NOW)
        client = supplier.client(
            endpoints, session, lambda: NOW, lambda deviation: self.watch.report_deviation(deviation, "enedis")
        )
        sync = replace(
            make_window_sync(PretendSupplier()), supplier_of=lambda account: client, observe=self.watch.record_answer
        )
        series = Series(call or ("gas_daily" if "grdf" in name else "load_curve"))
        return lambda: sync.fetch(window_job(DateWindow(date(2024, 7, 1), date(2024, 7, 8)), series, self.account_id))

    def _notify(self, url: str) -> None:
        with open_session(GuardedHttp()) as session:
            post_signed(session, url, "s" * 32, b"{}", 0)


def main() -> None:
    base_url, kind, *names = sys.argv[1:]
    with TemporaryDirectory() as folder, ThreadPoolExecutor(THREADS) as threads:
        callers, at_once = _Callers(Path(folder)), threading.Barrier(THREADS)

        def ask(one: Callable[[], object]) -> str:
            at_once.wait()
            try:
                one()
            except WorkerError as error:
                return type(error).__name__
            return "accepted"

        for ordinary in ("points-9000/200", "page-900/500"):
            list(threads.map(ask, [callers.caller(kind, f"{base_url}/{ordinary}")] * THREADS))
        idle = peak_mb()
        for name in names:
            one = callers.caller(kind, f"{base_url}/{name}")
            results = list(threads.map(ask, [one] * THREADS))
            told = {"body": name, "peak_mb": round(peak_mb() - idle), "results": sorted(set(results))}
            sys.stdout.write(f"{json.dumps(told)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
