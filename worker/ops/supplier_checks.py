"""Checks of the suppliers, their quota and their incidents, of the API's tokens, of outputs and of workers.

Each supplier's quota is compared with the calls for its accounts; GRDF is checked only if gas is set up. Workers are
judged by the heartbeats that they write to Redis, and by the messages that wait for them. Checks that read a store
raise StoreUnavailable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

from config.settings import Settings
from worker.accounts.prices import load_colours
from worker.accounts.tempo import days_on_tempo
from worker.app import queue_lengths
from worker.clients.endpoints import Preset
from worker.clients.enedis import ENEDIS
from worker.clients.grdf import GRDF
from worker.clients.oauth import OAuthClient
from worker.clients.supplier_session import Transport
from worker.clients.suppliers import SUPPLIERS
from worker.clients.tokens import ApplicationTokens
from worker.domain.clock import clock_from
from worker.domain.series import is_gateway
from worker.domain.windows import ONE_DAY, PARIS, civil_date
from worker.errors import GatewayBanned, WorkerLost
from worker.ops.capacity import capacity_of
from worker.ops.check_results import CheckConnections, Found, fail, missing_sqlite_file, ok, warn
from worker.ops.quick_health import MAX_AGE_S
from worker.ops.startup import check_gas_credentials
from worker.quota.ledger import QuotaState
from worker.runtime import supplier_settings
from worker.runtime.keys import build_sealer, has_keys
from worker.stores.encryption import Purpose
from worker.stores.redis.claims import ProgressStore
from worker.stores.redis.connection import redis_errors
from worker.stores.redis.heartbeats import Heartbeats, WorkerHeartbeat
from worker.stores.redis.incidents import IncidentStore
from worker.stores.registry.fleet_counts import ErrorCount
from worker.stores.registry.outputs import list_outputs
from worker.stores.token_store import ApplicationTokenStore

IDLE_AFTER_S: Final = 300.0
_START_ONE: Final = "start one with `releve up` or `celery -A worker worker -l INFO`"


def check_token(connections: CheckConnections, supplier: str | None = None) -> Found:
    """Check that a supplier, by default the main one, gives the application a token for its credentials.

    If the preset has a token for each account, nothing is checked, because only the account's holder can get such a
    token. Raises a WorkerError.
    """
    settings = connections.settings
    chosen = supplier_settings.configured_suppliers(settings)[supplier or supplier_settings.main_supplier(settings)]
    endpoints = chosen.endpoints()
    if endpoints.preset.token_mode != "application":  # noqa: S105 - This is a mode and no secret.
        yield ok(f"{endpoints.preset.name} has a token for each account: not checked")
        return
    oauth = OAuthClient(
        endpoints,
        chosen.client_id,
        chosen.client_secret.get_secret_value(),
        Transport(endpoints.base_url, (5.0, settings.supplier_timeout_s), endpoints.token_url),
        supplier_settings.ledger_of(endpoints.preset, settings, connections.redis),
    )
    if has_keys(settings, "token_keys"):
        sealer = build_sealer(settings, Purpose.REDIS)
        store = ApplicationTokenStore(endpoints.preset.name, sealer, ProgressStore(connections.redis))
        ApplicationTokens(store, oauth).current()
    else:
        # The token is not stored: sealing it would need a key, and a check creates no key.
        oauth.application_token()
    yield ok("gives the application a token")


def check_incidents(connections: CheckConnections) -> Found:
    """Warn about each open incident and each closed gate (pause of all calls); both can be why no new data come."""
    for preset in supplier_settings.chosen_presets(connections.settings).values():
        quota = supplier_settings.ledger_of(preset, connections.settings, connections.redis).state(())
        if closed_s := math.ceil(quota.opens_in_s):
            yield warn(f"{_why_closed(preset, quota)}: no calls for another {closed_s} s")
    for incident in IncidentStore(connections.redis).open_incidents().values():
        effect = "no calls" if incident.kind.holds else "refusals of this kind suspend no account"
        series = " and ".join(incident.series)
        yield warn(
            f"{incident.kind} since {incident.began_at:%Y-%m-%d %H:%M}, {series}: {effect} until it is over "
            "(`releve incidents`)"
        )
    yield ok("none is open")


def check_quota_now(connections: CheckConnections, supplier: str | None = None) -> Found:
    """Check what is left of a supplier's quota, and that a night of its active accounts fits into it.

    Without ``supplier``, check the main supplier, and also report series and accounts that no supplier serves.
    """
    yield from check_pace(connections, supplier or supplier_settings.main_supplier(connections.settings))
    yield from check_night(connections, supplier) if supplier else check_quota(connections)


def check_pace(connections: CheckConnections, supplier: str) -> Found:
    """Check that a supplier can be called now: its gate is open (no pause), and some of its quota is left."""
    preset = supplier_settings.chosen_presets(connections.settings)[supplier]
    ledger = supplier_settings.ledger_of(preset, connections.settings, connections.redis)
    with redis_errors():
        quota = ledger.state(preset.quota_names)
    used, limit = max(quota.used.values()), quota.limit
    setting = {1: "CALLS_PER_HOUR", 24: "CALLS_PER_DAY"}.get(quota.hours, "CALLS_PER_HALF_DAY")
    if quota.opens_in_s > 0:
        now = datetime.now(PARIS)
        opens_at = now + timedelta(seconds=quota.opens_in_s)
        when = f"{opens_at:%H:%M}" if opens_at.date() == now.date() else f"{opens_at:%Y-%m-%d %H:%M}"
        yield warn(f"{_why_closed(preset, quota)}: no calls until {when}; they resume by themselves")
    if limit is None:
        yield ok(f"no limit of calls a {quota.span}")
    elif used >= limit:
        name = f"RELEVE_{setting}" if supplier == ENEDIS.name else f"RELEVE_{supplier.upper()}_{setting}"
        yield warn(
            f"the quota of the last {quota.span} is used up, {used} of {limit} calls: wait, or raise {name} if "
            f"{preset.title} allows more"
        )
    else:
        yield ok(f"{used} of {limit} calls used in the last {quota.span}")


def _why_closed(preset: Preset, quota: QuotaState) -> str:
    banned = quota.gate_code == GatewayBanned.code
    return f"{preset.title} blocks this address (403)" if banned else f"{preset.title} has asked for a rate-limit pause"


def check_quota(connections: CheckConnections) -> Found:
    """Check that a night of all active accounts fits the quota under the policy in force.

    Warns if the preset does not offer a series of RELEVE_SERIES, and about accounts whose supplier is not set up.
    """
    if missing := supplier_settings.missing_series(connections.settings):
        names = ", ".join(missing)
        yield warn(
            f"{connections.settings.preset} does not offer {names}, so it is not collected: remove it from "
            "RELEVE_SERIES"
        )
    yield from check_night(connections, supplier_settings.main_supplier(connections.settings))
    yield from _check_without_supplier(connections)


def _check_without_supplier(connections: CheckConnections) -> Found:
    """Warn about active accounts of a supplier that is no longer set up."""
    if not connections.registry_is_current:
        return
    today = civil_date(clock_from(connections.settings.pretend_now)())
    for supplier in SUPPLIERS.keys() - supplier_settings.chosen_presets(connections.settings).keys():
        if accounts := connections.registry.overview.count_active_accounts(supplier, today):
            setting = "RELEVE_HOME" if is_gateway(supplier) else f"RELEVE_{supplier.upper()}_CLIENT_ID"
            yield warn(
                f"{accounts} active accounts of {supplier} are not synced, because it is not set up: set {setting}"
            )


def check_night(connections: CheckConnections, supplier: str) -> Found:
    """Check that a night of a supplier's active accounts fits its quota."""
    if missing_sqlite_file(connections.settings.registry()):
        yield ok("no account yet")
        return
    if not connections.registry_is_current:
        return
    today = civil_date(clock_from(connections.settings.pretend_now)())
    capacity = capacity_of(connections.registry, connections.settings, today, supplier)
    yield ok(capacity.describe()) if capacity.current.fits else warn(capacity.describe())


def has_gas(settings: Settings) -> bool:
    """Return whether gas is set up; if not, gas is neither checked nor mentioned."""
    return bool(settings.grdf_client_id)


def check_gas_access(connections: CheckConnections) -> Found:
    """Check GRDF's address and the application's credentials.  Raises ConfigError."""
    settings, endpoints = connections.settings, supplier_settings.build_endpoints(connections.settings, GRDF.name)
    check_gas_credentials(settings)
    host = urlsplit(endpoints.base_url).hostname
    where = "GRDF's own host" if endpoints.production else "a simulator"
    preset = endpoints.preset
    limits = [f"{preset.calls_per_second or 'no limit of'} calls a second"]
    limits.append(f"{preset.calls_per_day or 'no limit of'} calls a day")
    yield ok(f"{preset.name} at {host}, {where}, {', '.join(limits)}")


def check_api_tokens(connections: CheckConnections) -> Found:
    """Warn about valid API tokens that expire soon or never."""
    if not connections.registry_is_current:
        yield ok("none yet")
        return
    tokens = connections.registry.api_tokens
    for token in [*tokens.list_ending(), *tokens.list_endless()]:
        endless = f", created on {civil_date(token.created_at)}, never expires"
        fault = f" expires on {civil_date(token.expires_at)}" if token.expires_at else endless
        yield warn(
            f"token {token.id} of {token.name}{fault}: replace it with `releve access add-token`, then `releve access "
            f"remove token {token.id}`"
        )
    yield ok(f"{tokens.count_open()} open")


def check_proxy_clients(connections: CheckConnections) -> Found:
    """Warn about each valid client of the proxy that keeps the rules of version 0.2.0."""
    clients = connections.registry.proxy_clients.list_clients() if connections.registry_is_current else []
    in_force = [client for client in clients if client.revoked_at is None]
    for client in in_force:
        if not client.strict:
            yield warn(
                f"client {client.id} of {client.name} keeps the rules of version 0.2.0: run `releve access set-client "
                f"{client.id}`, with --no-pkce for a Cozy stack"
            )
    yield ok(f"{len(in_force)} in force")


def check_colours(connections: CheckConnections) -> Found:
    """Tell the newest colour of Tempo if an account is on Tempo; warn if today's is needed and unknown."""
    now = clock_from(connections.settings.pretend_now)()
    window = days_on_tempo(connections.registry, now) if connections.registry_is_current else None
    if window is None:
        yield ok("no account is on Tempo")
        return
    colours, today = load_colours(connections.registry), civil_date(now)
    newest = max(colours, default=date.min)
    ages = {-1: "tomorrow's", 0: "today's", 1: "yesterday's"}
    age = ages.get((today - newest).days, f"{(today - newest).days} days old")
    told = f"the newest colour is {colours[newest]}, of {newest} ({age})" if colours else "no colour is known"
    is_late = newest < min(today, window.end - ONE_DAY)
    if supplier_settings.rte_application(connections.settings) is None:
        told += (
            "; RELEVE_RTE_CLIENT_ID and its secret are not set, so colours come only from files (`releve prices tempo`)"
        )
    elif is_late:
        told += ": look for `colours not updated` in the workers' logs"
    yield warn(told) if is_late else ok(told)


def check_outputs(connections: CheckConnections) -> Found:
    outputs = list_outputs(connections.registry.database) if connections.registry_is_current else []
    for output in outputs:
        if output.failing_since is not None:
            since = output.failing_since.astimezone(PARIS)
            yield warn(
                f"{output.id} ({output.kind}) has received nothing since {since:%Y-%m-%d %H:%M}: {output.error}; "
                f"then run `releve outputs test {output.id}`"
            )
    yield ok(f"{len(outputs)} set up" if outputs else "none")


def check_workers(connections: CheckConnections) -> Found:
    """Check that workers are alive and take the messages that wait."""
    heartbeats = Heartbeats(connections.redis)
    if connections.registry_is_current:
        yield from judge_errors(connections.registry.overview.count_errors())
    yield from check_first_keys(connections.settings, heartbeats)
    yield from judge_workers(heartbeats.workers(), queue_lengths(connections.broker_url), heartbeats.now())


def check_first_keys(settings: Settings, heartbeats: Heartbeats) -> Found:
    """Warn about workers whose first token key isn't ours. A process without token keys can't tell."""
    if not has_keys(settings, "token_keys"):
        return
    ours = build_sealer(settings, Purpose.REGISTRY).fingerprint
    if others := [name for name, key in heartbeats.first_keys().items() if key not in (None, ours)]:
        yield warn("workers.other_key", names=others)


def judge_errors(errors: Sequence[ErrorCount]) -> Found:
    """Warn about accounts that have a window whose task ended three workers. Other ``errors`` give no warning."""
    for error in errors:
        if error.code == WorkerLost.code:
            last = f", last on {error.last_at.astimezone(PARIS):%d %b at %H:%M}" if error.last_at else ""
            yield warn(
                f"windows of {error.accounts} accounts ended three workers each{last}, and are tried again by "
                "themselves: look for the cause (memory limit, crash) in the system's log; "
                f"`releve status --error {error.code}` lists the accounts"
            )


def judge_workers(workers: Sequence[WorkerHeartbeat], waiting: Mapping[str, int], now: float) -> Found:
    """Judge the workers by their heartbeats; ``waiting``: messages by queue; ``now``: Redis' time."""
    if not workers:
        yield fail(f"no worker is running: {_START_ONE}")
    for worker in workers:
        yield from _judge_worker(worker, waiting, now)
    if unserved := [name for name, length in waiting.items() if length and not _is_served(name, workers, now)]:
        yield fail(
            f"messages wait in {', '.join(unserved)}, which no worker serves: start one with -Q {','.join(unserved)}"
        )
    if restarted := [f"{worker.name} {worker.restarts} times" for worker in workers if worker.restarts]:
        yield warn(
            f"the watchdog restarted {', '.join(restarted)}: something between worker and broker drops connections; "
            "look for a firewall or proxy with a timeout"
        )
    yield ok(", ".join(f"{worker.name} ({worker.running} of {worker.slots} busy)" for worker in workers))


def _judge_worker(worker: WorkerHeartbeat, waiting: Mapping[str, int], now: float) -> Found:
    length = sum(waiting.get(queue, 0) for queue in worker.queues)
    silent_s, idle_s = now - worker.seen_at, now - worker.progress_at
    if silent_s > MAX_AGE_S:
        last_seen = f"the last heartbeat of {worker.name} was {silent_s:.0f} s ago"
        if length:
            yield fail(f"{last_seen}, and {length} messages wait in its queues: check its log and restart it")
        else:
            yield warn(f"{last_seen}: restart it, unless you removed it")
    elif length and worker.running < worker.slots and idle_s > IDLE_AFTER_S:
        yield fail(
            f"{worker.name} is alive, but has taken no message for {idle_s:.0f} s while {length} wait in its queues: "
            "restart it"
        )


def _is_served(queue: str, workers: Sequence[WorkerHeartbeat], now: float) -> bool:
    return any(queue in worker.queues and now - worker.seen_at <= MAX_AGE_S for worker in workers)
