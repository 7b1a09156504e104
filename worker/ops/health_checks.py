"""Table of all checks in their order, and what each role needs to be ready."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from worker.ops.check_results import Check, CheckConnections, CheckResult, ok, run_check, summarize, warn
from worker.ops.host_checks import (
    check_clock,
    check_disk,
    check_plain_connections,
    check_python,
    check_session_key,
    check_settings,
    check_supplier_credentials,
    check_time_zone,
    check_token_keys,
)
from worker.ops.liveness import check_beat, check_liveness
from worker.ops.quick_health import READINESS_CHECKS
from worker.ops.store_checks import (
    check_broker,
    check_couchdb,
    check_ledger,
    check_measures,
    check_queues,
    check_redis,
    check_registry,
)
from worker.ops.supplier_checks import (
    check_api_tokens,
    check_gas_access,
    check_gas_quota_now,
    check_gas_token,
    check_incidents,
    check_outputs,
    check_proxy_clients,
    check_quota_now,
    check_supplier,
    check_workers,
    has_gas,
)

CHECKS: Final = {
    "settings": Check(
        check_settings,
        "preset, address, calls per hour; whether plain http is allowed; misspelt settings",
    ),
    "credentials": Check(check_supplier_credentials, "client id and secret, if Relève calls Enedis itself"),
    "python": Check(check_python, "versions of Python and Relève"),
    "time zone": Check(check_time_zone, "time zone data of Europe/Paris is there and correct"),
    "disk": Check(check_disk, "RELEVE_DATA_DIR is writable, private, and has 200 MiB left"),
    "token keys": Check(check_token_keys, "stored tokens can be decrypted; no old key is still in use"),
    "session key": Check(check_session_key, "this machine's key, if any, is long enough, random, private"),
    "ledger": Check(check_ledger, "the ledger of erasures is writable, and no line is missing or changed"),
    "redis": Check(check_redis, "version; no eviction; append-only file; a primary, not a cluster"),
    "broker": Check(check_broker, "reachable; version, unless `RELEVE_REDIS_URL` is also the broker"),
    "plain lines": Check(check_plain_connections, "connections to other hosts without TLS; `warn` for public hosts"),
    "registry": Check(check_registry, "reachable, version, UTF-8, up-to-date tables, accounts by state"),
    "tokens": Check(check_api_tokens, "API tokens that expire within 14 days, or never", ("registry",)),
    "proxy clients": Check(check_proxy_clients, "no proxy client keeps the rules of version 0.2.0", ("registry",)),
    "outputs": Check(check_outputs, "each output accepts data; if not, since when it has failed", ("registry",)),
    "measures": Check(
        check_measures,
        "each database answers; shards and copies match the settings; no data in the other layout",
    ),
    "couchdb": Check(
        check_couchdb,
        "version 3 or newer, not 3.5.1, setup finished, no access without a password, no missing database",
    ),
    "supplier": Check(
        check_supplier,
        "the supplier answers; with v5 and 2026 it gives the application a token",
        ("redis", "credentials"),
    ),
    "grdf access": Check(
        check_gas_access,
        "with gas: GRDF's address; client id and secret, if Relève calls GRDF itself",
        applies=has_gas,
    ),
    "grdf": Check(
        check_gas_token, "with gas: GRDF gives the application a token", ("redis", "grdf access"), applies=has_gas
    ),
    "clock": Check(
        check_clock,
        "this machine's clock compared with those of Redis, PostgreSQL, CouchDB and the supplier",
    ),
    "quota": Check(
        check_quota_now,
        "rate-limit pauses, remaining quota, and whether it is enough for the nightly sync",
        ("redis", "registry"),
    ),
    "grdf quota": Check(
        check_gas_quota_now,
        "with gas: GRDF's remaining quota, and whether it is enough for the nightly sync",
        ("redis", "registry"),
        applies=has_gas,
    ),
    "queues": Check(check_queues, "messages waiting in each queue", ("redis", "broker")),
    "incidents": Check(check_incidents, "open incidents and rate-limit pauses", ("redis",)),
    "workers": Check(
        check_workers,
        "each worker is alive and takes waiting messages",
        ("redis", "broker"),
    ),
    "beat": Check(check_beat, "beat sends messages, and workers run its test task", ("redis",)),
}


def run_checks(connections: CheckConnections) -> Iterator[CheckResult]:
    """Run every check; one that needs a check that has failed is skipped with a warning.

    A stopped embedded Redis is no fault, but what needs it isn't checked.
    """
    failed: set[str] = set()
    for name, check in CHECKS.items():
        if not check.applies(connections.settings):
            continue
        if connections.stopped_servers & {name, *check.needs}:
            yield summarize(name, [ok("not checked: the embedded Redis is not running, `releve up` starts it")])
            continue
        if missing := [need for need in check.needs if need in failed]:
            yield summarize(name, [warn(f"not checked: fix {' and '.join(missing)} first")])
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
