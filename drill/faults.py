"""Plan of a drill's faults, and the HTTP relay that produces those of a CouchDB-protocol server.

The same seed gives the same plan. Kills happen every few seconds during the whole drill. The other faults happen one at
a time with a gap after each, in rounds that contain every kind once.

The relay in front of the server has these faults: slow, conflicts, errors, half a bulk, lost answers.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import urlsplit

import click

from worker.stores.redis.heartbeats import ALIVE_S

_FIRST_S: Final = 8.0  # The workers are busy by then.
_KILL_EVERY_S: Final = (6.0, 11.0)
_USUAL_PACE_FROM_S: Final = 90.0  # In a shorter drill kills come closer together.
_FAULT_LENGTHS_S: Final = (3.0, 10.0)
_GAP_S: Final = (6.0, 11.0)
_LASTING: Final = "storms"  # Part of a random seed; another word would change all plans.
_NO_FAULT_END_S: Final = 8.0  # No fault begins in these last seconds.
_EVERY_KIND_FROM_S: Final = 300.0
_LEAST_S: Final = 3.0
_START_S: Final = 9.0  # The least length of faults for which processes must start first.
_LOOKS_DEAD_S: Final = ALIVE_S + 3  # Others get the messages of a worker that is paused for this long.
_FORWARDED_HEADERS: Final = ("accept", "authorization", "content-type", "if-none-match")
_HOP_HEADERS: Final = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}
_SLOW_S: Final = 1.5
_TIMEOUT_S: Final = 60.0


class FaultKind(StrEnum):
    """Kind of fault; the value is its name in the printed lines."""

    KILL_BETWEEN_WRITES = "worker killed between two touches of the store"
    KILL_WORKER = "worker and its children killed"
    KILL_CHILD = "one child of a worker killed"
    KILL_BEAT = "beat killed"
    KILL_WEB = "web process killed during a consent"
    TERM_WORKER = "worker told to end, with work in hand"
    REDIS_RESTARTED = "redis restarted"
    REDIS_KILLED = "redis killed"
    REDIS_KILLED_IN_RETRY = "redis killed while retries wait"
    REDIS_EMPTIED = "redis emptied"
    REDIS_CUT = "redis connections cut"
    REDIS_STALLED = "redis stalled"
    REDIS_PAUSED = "redis paused"
    REDIS_LEFT = "redis killed and left to its supervisor"
    REDIS_FULL = "disk full under redis"
    MESSAGES_LOST = "broker loses its messages"
    COUCH_STOPPED = "couchdb killed"
    COUCH_SLOW = "couchdb slow"
    COUCH_CONFLICTS = "couchdb answers 409"
    COUCH_ERRORS = "couchdb answers 500"
    COUCH_HALF = "couchdb takes half a bulk"
    COUCH_CUT = "couchdb answers lost"
    COUCH_PAUSED = "couchdb paused"
    COUCH_DROPPED = "a database dropped"
    POSTGRES_KILLED = "postgresql killed"
    POSTGRES_PAUSED = "postgresql paused"
    SQLITE_LOCKED = "sqlite locked by another"
    DISK_FULL = "disk full"
    SUPPLIER_429 = "supplier answers 429"
    SUPPLIER_5XX = "supplier answers 500 and 503"
    SUPPLIER_HTML = "supplier answers HTML"
    SUPPLIER_EMPTY = "supplier answers nothing"
    SUPPLIER_SILENT = "supplier times out"
    SUPPLIER_TRUNCATED = "supplier's JSON truncated"
    TOKEN_LOST = "token answers lost"  # noqa: S105
    RECEIVER_AWAY = "receiver of measures away"
    WORKER_PAUSED = "worker paused"
    BEAT_PAUSED = "beat paused"
    TWO_BEATS = "two beats"
    DOUBLED = "every message twice"
    WRITES_LATE = "workers halt before they write"
    CLOCK_BACK = "clock set back an hour"


# Work goes on during these faults.
WORK_CONTINUES: Final = (
    FaultKind.RECEIVER_AWAY,
    FaultKind.WORKER_PAUSED,
    FaultKind.BEAT_PAUSED,
    FaultKind.TWO_BEATS,
    FaultKind.DOUBLED,
    FaultKind.WRITES_LATE,
    FaultKind.CLOCK_BACK,
)
# Faults for which processes must start first.
_NEEDS_STARTS: Final = (FaultKind.TWO_BEATS, FaultKind.DOUBLED, FaultKind.CLOCK_BACK)
INSTANT: Final = (FaultKind.REDIS_EMPTIED, FaultKind.REDIS_CUT, FaultKind.REDIS_LEFT, FaultKind.MESSAGES_LOST)
KILLS: Final = (
    FaultKind.KILL_BETWEEN_WRITES,
    FaultKind.KILL_WORKER,
    FaultKind.KILL_CHILD,
    FaultKind.TERM_WORKER,
    FaultKind.KILL_WEB,
    FaultKind.KILL_BEAT,
)
_WEIGHTS: Final = (8, 5, 5, 2, 3, 1)
# The faults that only one store has, by the first word of the store's name.
_OF_STORES: Final = {
    "couchdb": tuple(kind for kind in FaultKind if kind.name.startswith("COUCH")),
    "postgresql": tuple(kind for kind in FaultKind if kind.name.startswith("POSTGRES")),
    "sqlite": (FaultKind.SQLITE_LOCKED,),
}
_OWN_COUCHDB: Final = (FaultKind.COUCH_PAUSED, FaultKind.COUCH_DROPPED)


def possible_kinds(store: str, *, own_couchdb: bool = True) -> tuple[FaultKind, ...]:
    """Return the kinds for a drill of that store; a CouchDB that isn't its own is neither paused nor emptied."""
    excluded = {kind for name, kinds in _OF_STORES.items() if name != store.partition("-")[0] for kind in kinds}
    excluded |= set(() if own_couchdb else _OWN_COUCHDB)
    return tuple(kind for kind in FaultKind if kind not in excluded)


def choose_kinds(possible: Collection[FaultKind], names: str | None) -> tuple[FaultKind, ...]:
    """Return the kinds of these names, like ``messages_lost,kill_worker``; without names all. Raises UsageError."""
    if names is None:
        return tuple(possible)
    by_name = {kind.name.lower(): kind for kind in possible}
    wanted = [name.strip() for name in names.split(",")]
    if unknown := [name for name in wanted if name not in by_name]:
        raise click.UsageError(f"no fault of this drill: {', '.join(unknown)}; there are {', '.join(sorted(by_name))}")
    return tuple(by_name[name] for name in wanted)


@dataclass(frozen=True, slots=True, order=True)
class PlannedFault:
    """Fault at ``at_s`` seconds from the start; ``lasts_s`` is 0 for kills and instant faults."""

    at_s: float
    kind: FaultKind
    lasts_s: float
    seed: int

    def random_source(self) -> random.Random:
        """Return the random source for the choices of this fault."""
        return random.Random(self.seed)


def plan_faults(seed: int, seconds: float, kinds: Collection[FaultKind]) -> list[PlannedFault]:
    """Return faults of these kinds in time order."""
    end_s = seconds - min(_NO_FAULT_END_S, seconds / 4)
    kill_source, lasting_source = random.Random(f"{seed} kills"), random.Random(f"{seed} {_LASTING}")
    kills = [kind for kind in KILLS if kind in kinds]
    others = [kind for kind in FaultKind if kind in kinds and kind not in KILLS]
    lasting = _plan_lasting(lasting_source, end_s, others, seconds >= _EVERY_KIND_FROM_S)
    return sorted([*_plan_kills(kill_source, end_s, kills), *lasting])


def _plan_kills(source: random.Random, end_s: float, kinds: Sequence[FaultKind]) -> Iterator[PlannedFault]:
    """Yield every kind of kill once, then kinds by weight."""
    first = source.sample(kinds, len(kinds))
    weights = [_WEIGHTS[KILLS.index(kind)] for kind in kinds]
    at_s = min(_FIRST_S, end_s / 3)
    scale = min(1.0, max(0.3, end_s / _USUAL_PACE_FROM_S))
    while kinds and at_s < end_s:
        kind = first.pop() if first else source.choices(kinds, weights)[0]
        yield PlannedFault(round(at_s, 1), kind, 0.0, source.getrandbits(32))
        at_s += scale * source.uniform(*_KILL_EVERY_S)


def _plan_lasting(
    source: random.Random, end_s: float, kinds: Sequence[FaultKind], whole_round: bool
) -> Iterator[PlannedFault]:
    """Yield rounds of every kind in random order; ``whole_round`` shortens them until one round fits."""
    spans = [(source.uniform(*_FAULT_LENGTHS_S), source.uniform(*_GAP_S)) for _ in kinds]
    begin_s = min(_FIRST_S, end_s / 3)
    least_s = {kind: _least_s(kind) for kind in kinds}
    available_s = end_s - begin_s - sum(least_s.values())
    scale = min(1.0, available_s / max(1.0, sum(map(sum, spans)))) if whole_round else 1.0
    at_s = begin_s
    while kinds and at_s < end_s:
        for kind, (lasts_s, gap_s) in zip(_in_random_order(source, kinds), spans, strict=True):
            if at_s >= end_s:
                return
            span_s = 0.0 if kind in INSTANT else max(lasts_s * scale, least_s[kind])
            yield PlannedFault(round(at_s, 1), kind, round(span_s, 1), source.getrandbits(32))
            at_s += span_s + gap_s * scale


def _least_s(kind: FaultKind) -> float:
    if kind in INSTANT:
        return 0.0
    if kind is FaultKind.WORKER_PAUSED:
        return _LOOKS_DEAD_S
    return _START_S if kind in _NEEDS_STARTS else _LEAST_S


def _in_random_order(source: random.Random, kinds: Sequence[FaultKind]) -> list[FaultKind]:
    """Return the kinds in random order, but Redis is emptied before messages are lost, or it would hide their loss."""
    order = source.sample(kinds, len(kinds))
    if {FaultKind.REDIS_EMPTIED, FaultKind.MESSAGES_LOST} <= set(order):
        places = sorted(map(order.index, (FaultKind.REDIS_EMPTIED, FaultKind.MESSAGES_LOST)))
        order[places[0]], order[places[1]] = FaultKind.REDIS_EMPTIED, FaultKind.MESSAGES_LOST
    return order


class CouchdbRelay:
    """Relay on its own port in front of ``target_url``; ``fault`` may be set to one of CouchDB's at any moment.

    The fault of conflicts refuses every second row of a bulk, although nobody else wrote it. ``url`` is the relay's
    own, with the target's scheme and user.
    """

    def __init__(self, target_url: str) -> None:
        target = urlsplit(target_url)
        self.fault: FaultKind | None = None
        self._server = _Server(self, (target.hostname or "127.0.0.1", target.port or 5984))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="couch relay")
        user, at, _ = target.netloc.rpartition("@")
        self.url = f"{target.scheme}://{user}{at}127.0.0.1:{self._server.server_address[1]}{target.path}"

    def record_request(self, method: str, path: str, client_port: int) -> None:
        """Record a request before it is forwarded; a subclass that counts them overrides this."""

    def target_path(self, path: str) -> str:
        """Return the path at the target; a subclass that renames databases overrides this and ``client_content``."""
        return path

    def client_content(self, path: str, content: bytes) -> bytes:
        """Return the target's answer to ``path`` for the client."""
        return content

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # Threads wait for a next request that may never come.

    def __init__(self, relay: CouchdbRelay, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.relay, self.target = relay, target

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: killed workers close their connections in the middle."""


class _ConnectionEnded(Exception):
    """End of the connection without an answer."""


class _Handler(BaseHTTPRequestHandler):
    """Handler of one client connection, in its own thread and with its own connection to the target."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.upstream = HTTPConnection(*self.server.target, timeout=_TIMEOUT_S)

    def finish(self) -> None:
        super().finish()
        self.upstream.close()

    def handle_request(self) -> None:
        """Forward a request and answer it; end the connection if that fails."""
        self.server.relay.record_request(self.command, self.path, self.client_address[1])
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            self._answer(*self._forward_with_fault(body))
        except (_ConnectionEnded, OSError, HTTPException):
            self.upstream.close()
            self.close_connection = True

    def _forward_with_fault(self, body: bytes) -> tuple[int, bytes, list[tuple[str, str]]]:
        fault = self.server.relay.fault
        if fault is FaultKind.COUCH_STOPPED:
            raise _ConnectionEnded
        if fault is FaultKind.COUCH_ERRORS:
            return 500, b'{"error":"internal_server_error","reason":"a drill"}', [("Content-Type", "application/json")]
        if fault is FaultKind.COUCH_SLOW:
            time.sleep(_SLOW_S)
        is_bulk = self.path.partition("?")[0].endswith("/_bulk_docs")
        if is_bulk and fault in (FaultKind.COUCH_CONFLICTS, FaultKind.COUCH_HALF):
            return self._forward_part_of_bulk(json.loads(body), fault)
        answer = self._forward(body)
        if fault is FaultKind.COUCH_CUT:
            raise _ConnectionEnded
        return answer

    def _forward_part_of_bulk(self, bulk: Any, fault: FaultKind) -> tuple[int, bytes, list[tuple[str, str]]]:
        docs = bulk["docs"]
        if fault is FaultKind.COUCH_CONFLICTS:
            forwarded, refused, error = docs[::2], docs[1::2], "conflict"
        else:
            forwarded, refused, error = docs[: len(docs) // 2], docs[len(docs) // 2 :], "internal_server_error"
        status, content, headers = self._forward(json.dumps({**bulk, "docs": forwarded}).encode())
        if status != 201:
            # Other answers have no rows, such as 404 for a missing database.
            return status, content, headers
        rows = json.loads(content) + [{"id": doc["_id"], "error": error, "reason": "a drill"} for doc in refused]
        return status, json.dumps(rows).encode(), headers

    def _forward(self, body: bytes) -> tuple[int, bytes, list[tuple[str, str]]]:
        headers = {name: value for name in _FORWARDED_HEADERS if (value := self.headers.get(name))}
        relay = self.server.relay
        self.upstream.request(self.command, relay.target_path(self.path), body or None, headers)
        answer = self.upstream.getresponse()
        content = relay.client_content(self.path, answer.read())
        return answer.status, content, [item for item in answer.getheaders() if item[0].lower() not in _HOP_HEADERS]

    def _answer(self, status: int, content: bytes, headers: list[tuple[str, str]]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_request

    def log_message(self, format: str, *args: object) -> None:
        """Log no requests."""
