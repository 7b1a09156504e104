"""Benchmark of the web's bounds: slow connections, suppliers that don't answer, and answers that unpack to much.

    python benchmarks/web_bounds.py [--seconds 30] [--only connections,suppliers,bombs]

It prints one JSON object.  ``connections``: 2 000 connections of ten addresses send a byte now and then and come again
when they are cut, while another address loads ``/``.  ``suppliers``: 200 callbacks wait for their outcome and forty
calls of the proxy hang at a supplier that sends a byte a second, while ``/`` and ``/operator`` are loaded.  ``bombs``:
how much a process that reads answers which unpack to 160 MB grows at most.  The exit code is 1 if a goal is missed.
Nothing outside this machine is called.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import http.client
import json
import os
import platform
import re
import resource
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from config.settings import Settings  # noqa: E402
from drill.embedded_redis import EmbeddedRedis  # noqa: E402
from tests.support.parts import Parts  # noqa: E402
from worker.clients.supplier_session import Transport  # noqa: E402
from worker.clients.tokens import Token  # noqa: E402
from worker.domain.account import DEFAULT_TENANT  # noqa: E402
from worker.errors import WorkerError  # noqa: E402
from worker.ops.logging_setup import configure_process  # noqa: E402
from worker.stores.child_processes import Supervisor, answers, free_port  # noqa: E402
from worker.stores.database import Database  # noqa: E402
from worker.stores.registry.migrations import upgrade_schema  # noqa: E402
from worker.web.server import serve  # noqa: E402

Json = dict[str, Any]
SLOW, CALLBACKS, CALLS = 2000, 200, 40
ATTACKERS: Final = [f"127.0.0.{number}" for number in range(2, 12)]
VISITOR: Final = "127.0.0.12"
GOALS: Final = {"connections": 1.0, "suppliers": 0.5, "bombs": 20.0}  # Seconds (max, p99), and megabytes.
_EVERY_S: Final = 0.1
_MEGABYTE: Final = 1024**2


def main() -> int:
    arguments = _parse()
    if arguments.role:
        return {"serve": _serve, "attack": _attack, "read": _read_bombs}[arguments.role](arguments)
    parts = {"connections": _connections, "suppliers": _suppliers, "bombs": _bombs}
    results = {name: parts[name](arguments.seconds) for name in arguments.only.split(",")}
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "load": round(os.getloadavg()[0], 1)}
    is_met = all(result["goal_met"] for result in results.values())
    print(json.dumps({"benchmark": "web_bounds", **results, "machine": machine}, indent=2))
    return 0 if is_met else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="in which pages are loaded (default %(default)s)")
    parser.add_argument("--only", default="connections,suppliers,bombs", help="parts to run, with commas")
    parser.add_argument("--role", choices=("serve", "attack", "read"), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


# -- Slow connections


def _connections(seconds: float) -> Json:
    with _web() as web:
        attack = web.supervisor.start("attack", _command("attack", web.port), log_path=web.folder / "attack.log")
        time.sleep(5)  # All have come once.
        cpu_before = _cpu_s(web.pid)
        pages = _load(web.port, ["/"], seconds)
        cpu_s, held = _cpu_s(web.pid) - cpu_before, _established(web.port)
        os.kill(attack, 15)
        log_bytes = (web.folder / "web.log").stat().st_size
    goal_met = pages["failed"] == 0 and pages["max_s"] < GOALS["connections"] and log_bytes < 10_000
    facts = {"attempted": SLOW, "held": held, "log_bytes": log_bytes, "web_cpu_s": round(cpu_s, 2)}
    return {"goal_met": goal_met, **facts, **pages}


def _attack(arguments: argparse.Namespace) -> int:
    _allow_files(SLOW + 100)

    async def attack() -> None:
        await asyncio.gather(*(_hold(ATTACKERS[number % 10], arguments.port) for number in range(SLOW)))

    asyncio.run(attack())
    return 0


async def _hold(address: str, port: int) -> None:
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            try:
                writer.write(b"GET / HTTP/1.1\r\nX: ")
                while not reader.at_eof():
                    writer.write(b"a")
                    with suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(1000), 2)
            finally:
                writer.close()
        await asyncio.sleep(1)


# -- Suppliers that don't answer


def _suppliers(seconds: float) -> Json:
    with ExitStack() as opened:
        supplier = opened.enter_context(_supplier(_drip))
        web = opened.enter_context(_web(RELEVE_PRESET="enedis-v4", RELEVE_ENEDIS_URL=supplier))
        callbacks = Counter(_call_back(web.port, ATTACKERS[number % 10]) for number in range(CALLBACKS))
        with Parts(Settings.from_env(_env_file=None)) as parts:
            client, secret = parts.stores.registry.proxy_clients.create(
                "Cozy", ["https://cozy.example/back"], DEFAULT_TENANT, pkce=False
            )
        form = {"client_id": client.id, "client_secret": secret, "grant_type": "refresh_token", "refresh_token": "any"}
        stop = threading.Event()
        calls: Counter[int] = Counter()
        threads = [threading.Thread(target=_renew, args=(web.port, form, stop, calls)) for _ in range(CALLS)]
        for thread in threads:
            thread.start()
        time.sleep(2)
        pages = _load(web.port, ["/", "/operator"], seconds)
        stop.set()
    for thread in threads:
        thread.join()
    goal_met = pages["failed"] == 0 and pages["p99_s"] < GOALS["suppliers"]
    return {"goal_met": goal_met, "callbacks": dict(callbacks), "proxy_calls": dict(calls), **pages}


def _call_back(port: int, address: str) -> int:
    """Begin a consent as a browser of the address, come back from it, and return the status of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, 30, source_address=(address, 0))
    connection.request("GET", "/connect/enedis")
    answer = connection.getresponse()
    answer.read()
    state = parse_qs(urlsplit(answer.headers["Location"]).query)["state"][0]
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    query = urlencode({"state": state, "code": "any", "usage_point_id": "30001640000011"})
    connection.request("GET", f"/callback/enedis?{query}", headers={"Cookie": cookie})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def _renew(port: int, form: dict[str, str], stop: threading.Event, statuses: Counter[int]) -> None:
    """Ask for a token of the supplier again and again. Its answer never ends; beyond eight we say 503 at once."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    while not stop.is_set():
        with suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, 60)
            connection.request("POST", "/proxy/enedis/token", urlencode(form), headers)
            statuses[connection.getresponse().status] += 1
            connection.close()
        stop.wait(1)


def _drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(1)


# -- Bombs

_BOMBS: Final[tuple[tuple[str, Callable[[bytes], bytes]], ...]] = (
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("gzip, gzip", lambda content: gzip.compress(gzip.compress(content))),
    ("identity", lambda content: content[: 20 * _MEGABYTE]),
)


def _bombs(_: float) -> Json:
    zeros = b'{"a": "' + b"0" * (160 * _MEGABYTE)
    bombs = [_packed(encoding, pack(zeros)) for encoding, pack in _BOMBS]
    bombs.insert(0, _packed("identity", b"fine"))
    left = iter(bombs)

    def answer(connection: socket.socket) -> None:
        connection.sendall(next(left))

    with _supplier(answer) as url:
        command = _command("read", urlsplit(url).port or 0)
        result: Json = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=300).stdout)
    goal_met = result["risen_mb"] < GOALS["bombs"] and set(result["answers"].values()) == {"AnswerTooLarge"}
    return {"goal_met": goal_met, **result}


def _packed(encoding: str, content: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


def _read_bombs(arguments: argparse.Namespace) -> int:
    url = f"http://127.0.0.1:{arguments.port}"
    transport, token = Transport(url), Token("any")
    transport.send("GET", f"{url}/", token)
    before, results = _peak_mb(), {}
    for encoding, _ in _BOMBS:
        try:
            transport.send("GET", f"{url}/", token)
            results[encoding] = "read"
        except WorkerError as error:
            results[encoding] = type(error).__name__
    after = _peak_mb()
    facts = {"peak_before_mb": round(before, 1), "peak_after_mb": round(after, 1), "risen_mb": round(after - before, 1)}
    print(json.dumps({**facts, "answers": results}))
    return 0


# -- Processes


class _Web:
    def __init__(self, folder: Path, port: int, pid: int, supervisor: Supervisor) -> None:
        self.folder, self.port, self.pid, self.supervisor = folder, port, pid, supervisor


@contextmanager
def _web(**settings: str) -> Iterator[_Web]:
    """Start `releve web`'s server in a process of its own, over an embedded Redis and SQLite."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="releve-bench-") as name, EmbeddedRedis(Path(name)) as redis:
        folder = Path(name)
        for known in [known for known in os.environ if known.startswith("RELEVE_")]:
            del os.environ[known]  # The user's own settings must not apply.
        os.environ.update(
            {
                "RELEVE_DATA_DIR": name,
                "RELEVE_REDIS_URL": redis.url,
                "RELEVE_ENEDIS_URL": "http://127.0.0.1:9",
                "RELEVE_CALLS_PER_SECOND": "0",
                "RELEVE_CALLS_PER_HOUR": "0",
                **settings,
            }
        )
        database = Database(f"sqlite:///{folder / 'registry.db'}")
        upgrade_schema(database)
        database.close()
        with Supervisor() as supervisor:
            pid = supervisor.start("web", _command("serve", port), log_path=folder / "web.log")
            supervisor.wait_until_ready("web", lambda: answers(f"http://127.0.0.1:{port}/"))
            yield _Web(folder, port, pid, supervisor)


def _serve(arguments: argparse.Namespace) -> int:
    settings = Settings.from_env(_env_file=None)
    configure_process(settings)
    with Parts(settings) as parts:
        parts.access.operators.add("alice", secrets.token_urlsafe(18), None)  # Without one there is no /operator.
        serve(parts.create_app(), "127.0.0.1", arguments.port, lambda _: None, proxies="127.0.0.1")
    return 0


@contextmanager
def _supplier(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Yield the address of a server that answers each request with ``answer``, in a thread each."""

    def handle(connection: socket.socket) -> None:
        with connection, suppress(OSError, StopIteration):
            if connection.recv(65536):
                answer(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=handle, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _command(role: str, port: int) -> list[str]:
    return [sys.executable, __file__, "--role", role, "--port", str(port)]


def _load(port: int, paths: list[str], seconds: float) -> Json:
    """Load the pages in turn as a visitor with a new connection each, and return how long they took."""
    times, failed, ends_at = [], 0, time.monotonic() + seconds
    while time.monotonic() < ends_at:
        began = time.perf_counter()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, 30, source_address=(VISITOR, 0))
            connection.request("GET", paths[len(times) % len(paths)], headers={"Connection": "close"})
            failed += connection.getresponse().status != 200
            connection.close()
        except OSError:
            failed += 1
        times.append(time.perf_counter() - began)
        time.sleep(_EVERY_S)
    ordered = sorted(times)
    p50, p99 = (round(ordered[int(share * len(ordered))], 3) for share in (0.5, 0.99))
    return {"pages": len(times), "failed": failed, "p50_s": p50, "p99_s": p99, "max_s": round(ordered[-1], 3)}


def _established(port: int) -> int:
    """Return the number of connections to a port of loopback (IPv4) that are open."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii")
    return len(re.findall(rf"\d+: [0-9A-F]{{8}}:{port:04X} [0-9A-F]{{8}}:[0-9A-F]{{4}} 01 ", lines))


def _allow_files(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(number, hard), hard))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb() -> float:
    # Not ru_maxrss: a child begins with its parent's.
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert match
    return int(match[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())
