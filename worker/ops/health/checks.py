"""Which checks there are, in what order, and which of them a container of each role is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from config.settings import ConfigError
from worker.errors import WorkerError
from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import CheckResult, Level, Note, sum_up, warn

Look = Callable[[CheckConnections], Iterable[Note]]


@dataclass(frozen=True, slots=True)
class Check:
    """``where`` is module and function; ``needs``: checks whose fault leaves this one nothing to look at."""

    where: str
    about: str  # for the reference page
    needs: tuple[str, ...] = ()

    def look(self) -> Look:
        module, _, name = self.where.partition(":")
        found: Look = getattr(import_module(f"worker.ops.health.{module}"), name)
        return found


CHECKS: Final = {
    "settings": Check("host:settings", "what is spoken, where, and how many calls an hour"),
    "credentials": Check("host:credentials", "the application's own id and secret, where Enedis itself is asked"),
    "python": Check("host:python", "which Python, and which Relève"),
    "time zone": Check("host:time_zone", "data of Europe/Paris is there and right"),
    "disk": Check("host:disk", "data_dir can be written to and has 200 MiB left"),
    "token keys": Check(
        "keys:token_keys", "tokens can be sealed, and those stored can be opened; keys of old are out of use"
    ),
    "session key": Check("keys:session_key", "long enough, and for its owner's eyes alone"),
    "redis": Check("redis:state", "version, no eviction, append-only file, a primary and no cluster"),
    "broker": Check("redis:broker", "where it is not the same Redis: reachable, version"),
    "registry": Check(
        "databases:registry", "reachable, version, its tables are those of this program, accounts by state"
    ),
    "measures": Check(
        "databases:measures", "each database answers; shards and copies are as told; nothing is in the other layout"
    ),
    "couchdb": Check("databases:couchdb", "version, set-up finished, nobody gets in without a password"),
    "supplier": Check(
        "supplier:supplier", "it answers; with v5 and 2026 it gives the application a token", ("redis", "credentials")
    ),
    "clock": Check("host:clock", "this machine's clock beside Redis', PostgreSQL's, CouchDB's and the supplier's"),
    "quota": Check("supplier:quota", "the nights of the accounts there are fit into the quota", ("registry",)),
    "queues": Check("redis:queues", "how many messages wait in each", ("redis", "broker")),
    "incidents": Check("supplier:incidents", "whether the supplier is known to be unwell", ("redis",)),
    "workers": Check(
        "fleet:workers", "each worker heard of, when, and whether it takes the work that waits", ("redis", "broker")
    ),
    "beat": Check("fleet:beat", "beat sends, and what it sends every minute is done", ("redis",)),
}

# For containers: their own business alone.
OF_ROLES: Final = {
    "worker": Check("fleet:own_worker", "a worker of this machine has given a sign of life within 90 s"),
    "beat": Check("fleet:own_beat", "beat has sent something within 3 minutes"),
    "web": Check("listeners:web", "the web service answers"),
    "flower": Check("listeners:flower", "Flower answers"),
    "metrics": Check("listeners:metrics", "the metrics endpoint answers"),
}
READY: Final = {
    "worker": ("redis", "broker", "registry", "measures"),
    "beat": ("redis", "broker"),
    "web": ("redis", "registry"),
    "flower": ("broker",),
    "metrics": ("redis", "registry"),
}


def examine(visit: CheckConnections) -> Iterator[CheckResult]:
    """Every check; what depends on a fault already found is not looked at."""
    failed: set[str] = set()
    for name, check in CHECKS.items():
        finding = _look(name, check, visit, failed)
        if finding.failed:
            failed.add(name)
        yield finding


def live(role: str, visit: CheckConnections) -> Iterator[CheckResult]:
    """Whether the process itself is at work: a false answer is a reason to start it anew."""
    yield _look(role, OF_ROLES[role], visit)


def ready(role: str, visit: CheckConnections) -> Iterator[CheckResult]:
    """Whether it can do its work now: what it needs, then itself."""
    for name in READY[role]:
        yield _look(name, CHECKS[name], visit)
    yield from live(role, visit)


def _look(name: str, check: Check, visit: CheckConnections, failed: Iterable[str] = ()) -> CheckResult:
    if missing := [need for need in check.needs if need in failed]:
        return sum_up(name, [warn(f"not looked at: mend {' and '.join(missing)} first")])
    try:
        return sum_up(name, check.look()(visit))
    except (ConfigError, WorkerError) as error:
        return CheckResult(name, Level.FAIL, " ".join(str(error).split()))
