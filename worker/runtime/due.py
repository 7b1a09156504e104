"""Builders for what decides which windows are due: claims, what is due, probes."""

from __future__ import annotations

from collections.abc import Callable

from worker.domain.clock import Clock
from worker.domain.fleet.lanes import QUEUES
from worker.domain.measures.messages import WindowJob
from worker.stores.redis.broker import BrokerMessages
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.sync.claims import LOST_AFTER_S, WindowClaims
from worker.sync.due import DueWindows
from worker.sync.history import History
from worker.sync.incidents import Incidents
from worker.sync.probes import IncidentProber
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
) -> WindowClaims:
    """Return what claims windows; a broker that isn't Redis can't tell which claims lost their message."""

    def words_in_broker() -> frozenset[str] | None:
        return broker_messages.words_in_messages(QUEUES) if broker_messages else None

    return WindowClaims(
        registry=registry,
        progress=progress,
        history=history,
        now=now,
        claim_ttl_s=claim_ttl_s,
        words_in_broker=TtlCache(words_in_broker, LOST_AFTER_S / 2),
        is_held=incidents.is_held,
    )


def build_due_windows(
    *,
    registry: AccountRegistry,
    claims: WindowClaims,
    publish: Callable[[WindowJob, str], object],
    calls_per_hour: int | None,
    is_blocked: Callable[[], bool],
    now: Clock,
) -> DueWindows:
    """Return what publishes the windows that are due, as the quota lets them through."""
    return DueWindows(
        table=registry.due,
        claims=claims,
        publish=publish,
        calls_per_hour=calls_per_hour,
        now=now,
        is_blocked=is_blocked,
        policy=registry.policies.load_current(claims.today()),
    )


def build_probes(
    *,
    incidents: Incidents,
    registry: AccountRegistry,
    progress: ProgressStore,
    claims: WindowClaims,
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
