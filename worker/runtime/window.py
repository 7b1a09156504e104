"""Builders for a window: its history, incidents, refusals, results, and the four steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from config.settings import Settings
from worker.accounts.refusals import RefusalPolicy
from worker.domain.clock import Clock
from worker.domain.consent.accounts import Account
from worker.domain.fleet.incidents import Thresholds
from worker.domain.measures.answers import RawAnswer
from worker.domain.measures.readings import Series
from worker.stores.measures.base import MeasureStore
from worker.stores.redis.incidents import IncidentStore
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.consents import ConsentTable
from worker.stores.registry.corrections import CorrectionTable
from worker.stores.registry.notices import NoticeTable
from worker.stores.registry.refusals import PendingRefusals
from worker.sync.claims import WindowClaims
from worker.sync.history import History, paris_today
from worker.sync.incidents import Incidents
from worker.sync.results import ResultRecorder
from worker.sync.window import AnswerObserver, SupplierClient, WindowSync


def build_history(
    *, registry: AccountRegistry, progress: ProgressStore, measures: MeasureStore, now: Clock, history_days: int
) -> History:
    """Return what is left to fetch of each account; ``history_days`` is the depth of the load curve."""

    def stored_before(account_id: str, series: Series) -> bool:
        outcome = registry.load_outcomes(account_id).get(series)
        return outcome is not None and outcome.ever_stored

    return History(
        progress=progress,
        measures=measures,
        stored_before=stored_before,
        today=paris_today(now),
        load_curve_days=history_days,
    )


def build_incidents(
    *, settings: Settings, store: IncidentStore, notices: NoticeTable, channels: Sequence[str], now: Clock
) -> Incidents:
    """Return the open incidents, with the thresholds of the settings."""
    thresholds = Thresholds(settings.incident_accounts, settings.incident_share, settings.incident_minutes)
    return Incidents(
        store=store,
        notices=notices,
        channels=channels,
        now=now,
        thresholds=thresholds,
        first_wait_s=settings.incident_probe_s,
    )


def build_refusals(
    *,
    registry: AccountRegistry,
    consents: ConsentTable,
    notices: NoticeTable,
    channels: Sequence[str],
    incidents: Incidents,
    now: Clock,
) -> RefusalPolicy:
    """Return what judges refusals of single accounts."""
    return RefusalPolicy(
        consents=consents,
        pending=PendingRefusals(registry.database),
        notices=notices,
        channels=channels,
        now=now,
        incidents=incidents,
    )


def build_results(
    *,
    registry: AccountRegistry,
    progress: ProgressStore,
    history: History,
    claims: WindowClaims,
    refusals: RefusalPolicy,
    corrections: CorrectionTable,
    incidents: Incidents,
    now: Clock,
) -> ResultRecorder:
    """Return what records how windows end."""
    return ResultRecorder(
        registry=registry,
        progress=progress,
        history=history,
        claims=claims,
        now=now,
        refusals=refusals,
        corrections=corrections,
        incidents=incidents,
    )


def build_window_sync(
    *,
    registry: AccountRegistry,
    client_of: Callable[[Account], SupplierClient],
    measures: MeasureStore,
    results: ResultRecorder,
    observers: Sequence[AnswerObserver],
    incidents: Incidents,
    now: Clock,
) -> WindowSync:
    """Return the four steps of a window; ``observers`` see each answer before it is read."""

    def observe(account_id: str, answer: RawAnswer) -> None:
        for observer in observers:
            observer(account_id, answer)

    return WindowSync(
        accounts=registry,
        supplier_of=client_of,
        measures=measures,
        recorder=results,
        now=now,
        observe=observe,
        incidents=incidents,
    )
