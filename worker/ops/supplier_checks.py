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
from worker.ops.check_results import (
    CheckConnections,
    Found,
    describe_limit,
    fail,
    missing_sqlite_file,
    ok,
    phrase,
    warn,
)
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
from worker.texts import Message

IDLE_AFTER_S: Final = 300.0


def check_token(connections: CheckConnections, supplier: str | None = None) -> Found:
    """Check that a supplier, by default the main one, gives the application a token for its credentials.

    If the preset has a token for each account, nothing is checked, because only the account's holder can get such a
    token. Raises a WorkerError.
    """
    settings = connections.settings
    chosen = supplier_settings.configured_suppliers(settings)[supplier or supplier_settings.main_supplier(settings)]
    endpoints = chosen.endpoints()
    if endpoints.preset.token_mode != "application":  # noqa: S105 - This is a mode and no secret.
        yield ok("supplier.own_tokens", preset=endpoints.preset.name)
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
    yield ok("supplier.gives_token")


def check_incidents(connections: CheckConnections) -> Found:
    """Warn about each open incident and each closed gate (pause of all calls); both can be why no new data come."""
    for preset in supplier_settings.chosen_presets(connections.settings).values():
        quota = supplier_settings.ledger_of(preset, connections.settings, connections.redis).state(())
        if closed_s := math.ceil(quota.opens_in_s):
            yield warn("closed.for", why=_why_closed(preset, quota), closed_s=closed_s)
    for incident in IncidentStore(connections.redis).open_incidents().values():
        key = "incidents.holds" if incident.kind.holds else "incidents.passes"
        yield warn(key, kind=incident.kind, began_at=incident.began_at.astimezone(PARIS), series=incident.series)
    yield ok("incidents.none")


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
        key = "closed.until_hour" if opens_at.date() == now.date() else "closed.until"
        yield warn(key, why=_why_closed(preset, quota), opens_at=opens_at)
    if limit is None:
        yield ok("told", text=describe_limit(limit, quota.span))
    elif used >= limit:
        name = f"RELEVE_{setting}" if supplier == ENEDIS.name else f"RELEVE_{supplier.upper()}_{setting}"
        title, hours = preset.title, quota.hours
        yield warn("quota.used_up", used=used, limit=limit, hours=hours, setting=name, supplier=title)
    else:
        yield ok("quota.used", used=used, limit=limit, hours=quota.hours)


def _why_closed(preset: Preset, quota: QuotaState) -> Message:
    key = "closed.banned" if quota.gate_code == GatewayBanned.code else "closed.limited"
    return phrase(key, supplier=preset.title)


def check_quota(connections: CheckConnections) -> Found:
    """Check that a night of all active accounts fits the quota under the policy in force.

    Warns if the preset does not offer a series of RELEVE_SERIES, and about accounts whose supplier is not set up.
    """
    if missing := supplier_settings.missing_series(connections.settings):
        yield warn("quota.not_offered", preset=connections.settings.preset, series=missing)
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
            yield warn("quota.no_supplier", accounts=accounts, supplier=supplier, setting=setting)


def check_night(connections: CheckConnections, supplier: str) -> Found:
    """Check that a night of a supplier's active accounts fits its quota."""
    if missing_sqlite_file(connections.settings.registry()):
        yield ok("quota.no_account")
        return
    if not connections.registry_is_current:
        return
    today = civil_date(clock_from(connections.settings.pretend_now)())
    capacity = capacity_of(connections.registry, connections.settings, today, supplier)
    yield (ok if capacity.current.fits else warn)("told", text=capacity.describe())


def has_gas(settings: Settings) -> bool:
    """Return whether gas is set up; if not, gas is neither checked nor mentioned."""
    return bool(settings.grdf_client_id)


def check_gas_access(connections: CheckConnections) -> Found:
    """Check GRDF's address and the application's credentials.  Raises ConfigError."""
    settings, endpoints = connections.settings, supplier_settings.build_endpoints(connections.settings, GRDF.name)
    check_gas_credentials(settings)
    host = urlsplit(endpoints.base_url).hostname
    where = phrase("on.grdf" if endpoints.production else "on.simulator")
    preset = endpoints.preset
    limits = [describe_limit(preset.calls_per_second, "second"), describe_limit(preset.calls_per_day, "day")]
    yield ok("grdf", preset=preset.name, host=host, where=where, limits=limits)


def check_api_tokens(connections: CheckConnections) -> Found:
    """Warn about valid API tokens that expire soon or never."""
    if not connections.registry_is_current:
        yield ok("tokens.none")
        return
    tokens = connections.registry.api_tokens
    for token in [*tokens.list_ending(), *tokens.list_endless()]:
        key = "tokens.ending" if token.expires_at else "tokens.endless"
        day = civil_date(token.expires_at or token.created_at)
        yield warn(key, id=token.id, name=token.name, day=day)
    yield ok("tokens.open", open=tokens.count_open())


def check_proxy_clients(connections: CheckConnections) -> Found:
    """Warn about each valid client of the proxy that keeps the rules of version 0.2.0."""
    clients = connections.registry.proxy_clients.list_clients() if connections.registry_is_current else []
    in_force = [client for client in clients if client.revoked_at is None]
    for client in in_force:
        if not client.strict:
            yield warn("proxy_clients.lax", id=client.id, name=client.name)
    yield ok("proxy_clients", clients=len(in_force)) if in_force else ok("proxy_clients.none")


def check_colours(connections: CheckConnections) -> Found:
    """Tell the newest colour of Tempo if an account is on Tempo; warn if today's is needed and unknown."""
    now = clock_from(connections.settings.pretend_now)()
    window = days_on_tempo(connections.registry, now) if connections.registry_is_current else None
    if window is None:
        yield ok("tempo.unused")
        return
    colours, today = load_colours(connections.registry), civil_date(now)
    newest = max(colours, default=date.min)
    told = phrase("tempo.none")
    if colours:
        days = (today - newest).days
        age = phrase({-1: "tempo.tomorrow", 0: "tempo.today", 1: "tempo.yesterday"}.get(days, "tempo.age"), days=days)
        told = phrase("tempo.newest", colour=colours[newest], day=newest, age=age)
    is_late = newest < min(today, window.end - ONE_DAY)
    if supplier_settings.rte_application(connections.settings) is None:
        told = phrase("tempo.by_files", told=told)
    elif is_late:
        told = phrase("tempo.late", told=told)
    yield (warn if is_late else ok)("told", text=told)


def check_outputs(connections: CheckConnections) -> Found:
    outputs = list_outputs(connections.registry.database) if connections.registry_is_current else []
    for output in outputs:
        if output.failing_since is not None:
            since = output.failing_since.astimezone(PARIS)
            yield warn("outputs.fails", id=output.id, kind=output.kind, since=since, error=output.error)
    yield ok("outputs", outputs=len(outputs)) if outputs else ok("outputs.none")


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
            last = phrase("workers.lost.last", last_at=error.last_at.astimezone(PARIS)) if error.last_at else ""
            yield warn("workers.lost", accounts=error.accounts, last=last, code=error.code)


def judge_workers(workers: Sequence[WorkerHeartbeat], waiting: Mapping[str, int], now: float) -> Found:
    """Judge the workers by their heartbeats; ``waiting``: messages by queue; ``now``: Redis' time."""
    if not workers:
        yield fail("workers.none")
    for worker in workers:
        yield from _judge_worker(worker, waiting, now)
    if unserved := [name for name, length in waiting.items() if length and not _is_served(name, workers, now)]:
        yield fail("workers.unserved", queues=unserved)
    if restarted := [
        phrase("workers.times", name=worker.name, times=worker.restarts) for worker in workers if worker.restarts
    ]:
        yield warn("workers.restarted", workers=restarted)
    yield ok(
        "told",
        text=[phrase("workers.busy", name=worker.name, busy=worker.running, slots=worker.slots) for worker in workers],
    )


def _judge_worker(worker: WorkerHeartbeat, waiting: Mapping[str, int], now: float) -> Found:
    length = sum(waiting.get(queue, 0) for queue in worker.queues)
    silent_s, idle_s = now - worker.seen_at, now - worker.progress_at
    if silent_s > MAX_AGE_S:
        judge, key = (fail, "workers.silent") if length else (warn, "workers.gone")
        yield judge(key, name=worker.name, silent_s=silent_s, messages=length)
    elif length and worker.running < worker.slots and idle_s > IDLE_AFTER_S:
        yield fail("workers.stuck", name=worker.name, idle_s=idle_s, messages=length)


def _is_served(queue: str, workers: Sequence[WorkerHeartbeat], now: float) -> bool:
    return any(queue in worker.queues and now - worker.seen_at <= MAX_AGE_S for worker in workers)
