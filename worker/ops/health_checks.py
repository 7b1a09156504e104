"""All checks of `releve doctor` in their order (docs/reference/doctor.md), and the readiness checks of each role."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from worker.clients.grdf import GRDF
from worker.ops import host_checks as host
from worker.ops import store_checks as stores
from worker.ops import supplier_checks as suppliers
from worker.ops.check_results import Check, CheckConnections, CheckResult, ok, run_check, warn
from worker.ops.liveness import check_beat, check_liveness
from worker.ops.quick_health import READINESS_CHECKS

_gas: Final = partial(Check, applies=suppliers.has_gas)
CHECKS: Final = {
    "settings": Check(host.check_settings),
    "credentials": Check(host.check_supplier_credentials),
    "python": Check(host.check_python),
    "time zone": Check(host.check_time_zone),
    "disk": Check(host.check_disk),
    "token keys": Check(host.check_token_keys),
    "session key": Check(host.check_session_key),
    "ledger": Check(stores.check_ledger),
    "redis": Check(stores.check_redis),
    "broker": Check(stores.check_broker),
    "plain lines": Check(host.check_plain_connections),
    "registry": Check(stores.check_registry),
    "tokens": Check(suppliers.check_api_tokens, ("registry",)),
    "proxy clients": Check(suppliers.check_proxy_clients, ("registry",)),
    "outputs": Check(suppliers.check_outputs, ("registry",)),
    "tempo": Check(suppliers.check_colours, ("registry",)),
    "measures": Check(stores.check_measures),
    "couchdb": Check(stores.check_couchdb),
    "supplier": Check(suppliers.check_token, ("redis", "credentials")),
    "grdf access": _gas(suppliers.check_gas_access),
    "grdf": _gas(partial(suppliers.check_token, supplier=GRDF.name), ("redis", "grdf access")),
    "clock": Check(host.check_clock),
    "quota": Check(suppliers.check_quota_now, ("redis", "registry")),
    "grdf quota": _gas(partial(suppliers.check_quota_now, supplier=GRDF.name), ("redis", "registry")),
    "queues": Check(stores.check_queues, ("redis", "broker")),
    "incidents": Check(suppliers.check_incidents, ("redis",)),
    "workers": Check(suppliers.check_workers, ("redis", "broker")),
    "beat": Check(check_beat, ("redis",)),
}


def run_checks(connections: CheckConnections) -> Iterator[CheckResult]:
    """Run the checks. A check is skipped, with a warning, if it needs one that has failed.

    If the embedded Redis is stopped, which is no fault, the checks that need it are skipped without a warning.
    """
    failed: set[str] = set()
    for name, check in CHECKS.items():
        if not check.applies(connections.settings):
            continue
        if connections.stopped_servers & {name, *check.needs}:
            yield ok("skipped.stopped", name)
            continue
        if missing := [need for need in check.needs if need in failed]:
            yield warn("skipped.needs", name, missing=missing)
            continue
        result = run_check(name, check.run, connections)
        if result.failed:
            failed.add(name)
        yield result


def check_readiness(role: str, connections: CheckConnections) -> Iterator[CheckResult]:
    """Check whether the process can do its work now: first the servers that it needs, then the process itself."""
    for name in READINESS_CHECKS[role]:
        yield run_check(name, CHECKS[name].run, connections)
    yield from check_liveness(role, connections)
