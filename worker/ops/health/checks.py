"""Table of all checks in their order, and what each role needs to be ready."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from worker.ops.health.connections import CheckConnections
from worker.ops.health.databases import check_couchdb, check_measures, check_registry
from worker.ops.health.gas import check_gas_access, check_gas_quota_now, check_gas_token, has_gas
from worker.ops.health.host import (
    check_clock,
    check_disk,
    check_plain_connections,
    check_python,
    check_settings,
    check_supplier_credentials,
    check_time_zone,
)
from worker.ops.health.keys import check_session_key, check_token_keys
from worker.ops.health.ledger import check_ledger
from worker.ops.health.liveness import check_beat, check_liveness
from worker.ops.health.outputs import check_outputs
from worker.ops.health.redis import check_broker, check_queues, check_redis
from worker.ops.health.results import Check, CheckResult, run_check, summarize, warn
from worker.ops.health.supplier import check_incidents, check_quota_now, check_supplier
from worker.ops.health.tokens import check_api_tokens
from worker.ops.health.workers import check_workers

CHECKS: Final = {
    "settings": Check(
        check_settings,
        "what is spoken, where, and how many calls an hour; plain http that is wanted; no name is mistyped",
    ),
    "credentials": Check(
        check_supplier_credentials, "the application's own id and secret, where Enedis itself is asked"
    ),
    "python": Check(check_python, "which Python, and which Relève"),
    "time zone": Check(check_time_zone, "data of Europe/Paris is there and right"),
    "disk": Check(check_disk, "data_dir can be written to, by us alone, and has 200 MiB left"),
    "token keys": Check(
        check_token_keys, "tokens can be sealed, and those stored can be opened; keys of old are out of use"
    ),
    "session key": Check(
        check_session_key, "where the web application runs: long enough, random, and for its owner's eyes alone"
    ),
    "ledger": Check(check_ledger, "erasures and ended consents can be written to it, and no line was changed"),
    "redis": Check(check_redis, "version, no eviction, append-only file, a primary and no cluster"),
    "broker": Check(check_broker, "reachable; where it is not the same Redis, its version"),
    "plain lines": Check(
        check_plain_connections, "which servers on other hosts are spoken to without TLS; public hosts are a warning"
    ),
    "registry": Check(
        check_registry, "reachable, version, in UTF-8, its tables are those of this program, accounts by state"
    ),
    "tokens": Check(check_api_tokens, "API tokens that end within 14 days, and those without an end", ("registry",)),
    "outputs": Check(
        check_outputs, "each output took what was last sent to it, and since when something waits", ("registry",)
    ),
    "measures": Check(
        check_measures,
        "each database answers; shards and copies are as told; nothing is in the other layout",
    ),
    "couchdb": Check(check_couchdb, "version 3 or newer, set-up finished, nobody gets in without a password"),
    "supplier": Check(
        check_supplier,
        "it answers; with v5 and 2026 it gives the application a token",
        ("redis", "credentials"),
    ),
    "grdf access": Check(
        check_gas_access,
        "with gas: GRDF's address, and the application's own id and secret where GRDF itself is asked",
        applies=has_gas,
    ),
    "grdf": Check(
        check_gas_token, "with gas: GRDF gives the application a token", ("redis", "grdf access"), applies=has_gas
    ),
    "clock": Check(
        check_clock,
        "this machine's clock beside Redis', PostgreSQL's, CouchDB's and the supplier's; who of them gave no answer",
    ),
    "quota": Check(
        check_quota_now,
        "what is left of the quota, whether the supplier has us wait, and the nights of the accounts fit into it",
        ("redis", "registry"),
    ),
    "grdf quota": Check(
        check_gas_quota_now,
        "with gas: what is left of its quota, and the nights of the homes with gas fit into it",
        ("redis", "registry"),
        applies=has_gas,
    ),
    "queues": Check(check_queues, "how many messages wait in each", ("redis", "broker")),
    "incidents": Check(check_incidents, "whether a supplier is known to be unwell, or has us wait", ("redis",)),
    "workers": Check(
        check_workers,
        "each worker heard of, when, and whether it takes the work that waits",
        ("redis", "broker"),
    ),
    "beat": Check(check_beat, "beat sends, and what it sends every minute is done", ("redis",)),
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
        if not check.applies(connections.settings):
            continue
        if missing := [need for need in check.needs if need in failed]:
            yield summarize(name, [warn(f"not looked at: mend {' and '.join(missing)} first")])
            continue
        result = run_check(name, check, connections)
        if result.failed:
            failed.add(name)
        yield result


def check_readiness(role: str, connections: CheckConnections) -> Iterator[CheckResult]:
    """Check whether the process can do its work now: first the servers that it needs, then the process itself."""
    for name in READINESS_CHECKS[role]:
        yield run_check(name, CHECKS[name], connections)
    yield from check_liveness(role, connections)
