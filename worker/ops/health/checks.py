"""List of all checks in their order, and the checks for the containers of each role."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from config.settings import ConfigError
from worker.errors import WorkerError
from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import CheckNote, CheckResult, Level, summarize, warn

CheckFunction = Callable[[CheckConnections], Iterable[CheckNote]]


@dataclass(frozen=True, slots=True)
class Check:
    """Definition of a check.

    ``location``: module and function, like ``host:check_disk``.
    ``description``: the text on the reference page, docs/reference/doctor.md.
    ``needs``: names of the checks that must not fail, or this one is skipped.
    """

    location: str
    description: str
    needs: tuple[str, ...] = ()

    def load(self) -> CheckFunction:
        """Import the module of the check and return its function."""
        module, _, name = self.location.partition(":")
        function: CheckFunction = getattr(import_module(f"worker.ops.health.{module}"), name)
        return function


CHECKS: Final = {
    "settings": Check("host:check_settings", "what is spoken, where, and how many calls an hour"),
    "credentials": Check(
        "host:check_supplier_credentials", "the application's own id and secret, where Enedis itself is asked"
    ),
    "python": Check("host:check_python", "which Python, and which Relève"),
    "time zone": Check("host:check_time_zone", "data of Europe/Paris is there and right"),
    "disk": Check("host:check_disk", "data_dir can be written to and has 200 MiB left"),
    "token keys": Check(
        "keys:check_token_keys", "tokens can be sealed, and those stored can be opened; keys of old are out of use"
    ),
    "session key": Check("keys:check_session_key", "long enough, and for its owner's eyes alone"),
    "redis": Check("redis:check_redis", "version, no eviction, append-only file, a primary and no cluster"),
    "broker": Check("redis:check_broker", "where it is not the same Redis: reachable, version"),
    "registry": Check(
        "databases:check_registry", "reachable, version, its tables are those of this program, accounts by state"
    ),
    "measures": Check(
        "databases:check_measures",
        "each database answers; shards and copies are as told; nothing is in the other layout",
    ),
    "couchdb": Check("databases:check_couchdb", "version, set-up finished, nobody gets in without a password"),
    "supplier": Check(
        "supplier:check_supplier",
        "it answers; with v5 and 2026 it gives the application a token",
        ("redis", "credentials"),
    ),
    "clock": Check(
        "host:check_clock", "this machine's clock beside Redis', PostgreSQL's, CouchDB's and the supplier's"
    ),
    "quota": Check("supplier:check_quota", "the nights of the accounts there are fit into the quota", ("registry",)),
    "queues": Check("redis:check_queues", "how many messages wait in each", ("redis", "broker")),
    "incidents": Check("supplier:check_incidents", "whether the supplier is known to be unwell", ("redis",)),
    "workers": Check(
        "fleet:check_workers",
        "each worker heard of, when, and whether it takes the work that waits",
        ("redis", "broker"),
    ),
    "beat": Check("fleet:check_beat", "beat sends, and what it sends every minute is done", ("redis",)),
}

# A container is restarted when this check fails, so it looks at the container's own process only.
ROLE_CHECKS: Final = {
    "worker": Check("fleet:check_own_worker", "a worker of this machine has given a sign of life within 90 s"),
    "beat": Check("fleet:check_own_beat", "beat has sent something within 3 minutes"),
    "web": Check("listeners:check_web", "the web service answers"),
    "flower": Check("listeners:check_flower", "Flower answers"),
    "metrics": Check("listeners:check_metrics", "the metrics endpoint answers"),
}
READINESS_CHECKS: Final = {
    "worker": ("redis", "broker", "registry", "measures"),
    "beat": ("redis", "broker"),
    "web": ("redis", "registry"),
    "flower": ("broker",),
    "metrics": ("redis", "registry"),
}


def run_checks(connections: CheckConnections) -> Iterator[CheckResult]:
    """Run every check; one that needs a check that has failed is skipped with a warning."""
    failed: set[str] = set()
    for name, check in CHECKS.items():
        result = _run_check(name, check, connections, failed)
        if result.failed:
            failed.add(name)
        yield result


def check_liveness(role: str, connections: CheckConnections) -> Iterator[CheckResult]:
    """Check whether the process itself works: if not, it should be restarted."""
    yield _run_check(role, ROLE_CHECKS[role], connections)


def check_readiness(role: str, connections: CheckConnections) -> Iterator[CheckResult]:
    """Check whether the process can do its work now: first the servers that it needs, then the process itself."""
    for name in READINESS_CHECKS[role]:
        yield _run_check(name, CHECKS[name], connections)
    yield from check_liveness(role, connections)


def _run_check(name: str, check: Check, connections: CheckConnections, failed: Iterable[str] = ()) -> CheckResult:
    if missing := [need for need in check.needs if need in failed]:
        return summarize(name, [warn(f"not looked at: mend {' and '.join(missing)} first")])
    try:
        return summarize(name, check.load()(connections))
    except (ConfigError, WorkerError) as error:
        return CheckResult(name, Level.FAIL, " ".join(str(error).split()))
