"""Builders for what decides which windows are due: claims, the night, histories, repair, probes."""

from __future__ import annotations

from collections.abc import Callable

from worker.domain.clock import Clock
from worker.domain.fleet.lanes import QUEUES
from worker.domain.fleet.policy import FleetPolicy
from worker.domain.measures.messages import WindowJob
from worker.stores.redis.broker import BrokerMessages
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.sync.backfills import Resumption
from worker.sync.claims import LOST_AFTER_S, ClaimPolicy
from worker.sync.due import FanOut, Publish, most_waiting
from worker.sync.history import History
from worker.sync.incidents import Incidents
from worker.sync.probes import IncidentProber
from worker.sync.repair import Repair, most_repairs
from worker.sync.ttl_cache import TtlCache
from worker.sync.window import WindowSync


def build_claims(
    *,
    registry: AccountRegistry,
    progress: ProgressStore,
    history: History,
    incidents: Incidents,
    broker_messages: BrokerMessages | None,
    claim_ttl_s: int,
    now: Clock,
) -> ClaimPolicy:
    """Return what claims windows; a broker that isn't Redis can't tell which claims lost their message."""

    def run_ids_in_broker() -> frozenset[str] | None:
        return broker_messages.run_ids_in_broker(QUEUES) if broker_messages else None

    return ClaimPolicy(
        registry=registry,
        progress=progress,
        history=history,
        now=now,
        claim_ttl_s=claim_ttl_s,
        run_ids_in_broker=TtlCache(run_ids_in_broker, LOST_AFTER_S / 2),
        is_held=incidents.is_held,
    )


def build_fan_out(
    *,
    claims: ClaimPolicy,
    progress: ProgressStore,
    publish: Publish,
    queue_length: Callable[[str], int],
    calls_per_hour: int | None,
    held: Callable[[], bool],
    policy: FleetPolicy | None,
) -> FanOut:
    """Return what publishes a night's windows as the quota lets them through."""
    return FanOut(
        claims=claims,
        progress=progress,
        publish=publish,
        queue_length=queue_length,
        most_waiting=most_waiting(calls_per_hour),
        is_held=held,
        policy=policy,
    )


def build_backfills(
    *,
    claims: ClaimPolicy,
    progress: ProgressStore,
    publish: Callable[[str], object],
    queue_length: Callable[[str], int],
    calls_per_hour: int | None,
    held: Callable[[], bool],
) -> Resumption:
    """Return what starts and resumes the histories that are due."""
    return Resumption(
        claims=claims,
        progress=progress,
        publish=publish,
        queue_length=queue_length,
        most_waiting=most_waiting(calls_per_hour),
        is_held=held,
    )


def build_repair(
    *,
    claims: ClaimPolicy,
    registry: AccountRegistry,
    publish: Callable[[WindowJob], None],
    waiting: Callable[[], int],
    calls_per_hour: int | None,
) -> Repair:
    """Return what asks again for open days within its share of the quota."""
    return Repair(
        claims=claims,
        completeness=registry.completeness,
        publish=publish,
        waiting=waiting,
        most=most_repairs(calls_per_hour),
    )


def build_probes(
    *,
    incidents: Incidents,
    registry: AccountRegistry,
    progress: ProgressStore,
    claims: ClaimPolicy,
    window_sync: WindowSync,
    now: Clock,
) -> IncidentProber:
    """Return what asks a few accounts whether an incident is over."""
    return IncidentProber(
        incidents=incidents,
        accounts=registry,
        progress=progress,
        look_back=claims.manual_look_back,
        sync_window=window_sync.sync_window,
        now=now,
    )
