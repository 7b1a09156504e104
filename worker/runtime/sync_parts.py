"""Builds, once per process, the parts that ask suppliers for windows of readings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from config.settings import Settings
from worker.accounts.alerts import AlertWatch
from worker.accounts.notice_channels import LOG, WEBHOOK, Channel, NoticeChannels, NoticeLog, NotifyService, Webhook
from worker.accounts.refusals import RefusalPolicy
from worker.clients.endpoints import SHARED_QUOTA
from worker.clients.oauth import OAuthClient
from worker.clients.supplier_session import Transport
from worker.clients.suppliers import SUPPLIERS, SupplierClients, Suppliers
from worker.domain.incident import Thresholds
from worker.domain.lanes import QUEUES
from worker.domain.messages import WindowJob
from worker.domain.networks import Network, parse_networks
from worker.domain.series import Series, grid_operator_of, is_gateway, of_supplier
from worker.quota.ledger import QuotaLedger
from worker.runtime import supplier_settings
from worker.runtime.stores import Stores
from worker.stores.redis.heartbeats import Heartbeats
from worker.stores.redis.incidents import IncidentStore
from worker.stores.token_store import ApplicationTokenStore, UserTokenStore
from worker.sync.claims import RunningSteps, WindowClaims
from worker.sync.due import DueWindows, GatewayWindows
from worker.sync.history import History
from worker.sync.incidents import IncidentProber, Incidents
from worker.sync.quarantine import AnswerWatch
from worker.sync.results import ResultRecorder
from worker.sync.window import WindowSync

if TYPE_CHECKING:
    from worker.accounts.explanations import Explainer
    from worker.stores.registry.api_tokens import TenantTable
    from worker.sync.file_import import FileImporter
    from worker.sync.inline import Inline
    from worker.sync.verification import Auditor

_CONNECT_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """The parts that ask suppliers for windows, and record the results."""

    suppliers: Suppliers
    ledgers: Mapping[str, QuotaLedger]
    incidents: Incidents
    history: History
    claims: WindowClaims
    steps: RunningSteps
    refusals: RefusalPolicy
    results: ResultRecorder
    window: WindowSync
    due: Sequence[DueWindows]

    def due_of(self, series: Series) -> DueWindows:
        """Return the part that claims a series' windows.

        If the series' supplier is no longer set up, any part will do: the call to the supplier fails with the reason.
        """
        return next((due for due in self.due if series in due.series), self.due[0])

    @property
    def ledger(self) -> QuotaLedger:
        """The quota ledger of the main supplier."""
        return next(iter(self.ledgers.values()))


def build_sync(stores: Stores, suppliers: Suppliers | None = None) -> Sync:
    """Build the parts of ``Sync``. ``suppliers``: replaces the suppliers of the settings."""
    settings, registry, windows, now = stores.settings, stores.registry, stores.windows, stores.now
    channels = build_channels(settings, registry.tenants)
    # A supplier's due windows and its clients share one quota.
    ledgers = {
        name: supplier_settings.ledger_of(preset, settings, stores.redis)
        for name, preset in supplier_settings.chosen_presets(settings).items()
    }
    answers = _build_answer_watch(stores, channels)
    if suppliers is None:
        suppliers = _build_suppliers(stores, ledgers, answers)
    incidents = Incidents(
        store=IncidentStore(stores.redis),
        registry=registry,
        channels=channels.names(),
        now=now,
        thresholds=Thresholds(settings.incident_accounts, settings.incident_share, settings.incident_minutes),
        first_wait_s=settings.incident_probe_s,
    )
    history = History(
        registry=registry,
        now=now,
        curve_days=settings.history_load_days,
        nightly_at=time.fromisoformat(settings.nightly_at),
    )
    broker = stores.broker
    claims = WindowClaims(
        registry=registry,
        progress=windows,
        history=history,
        now=now,
        claim_ttl_s=settings.inflight_expiry_s,
        words_in_broker=lambda: broker.words_in_messages(QUEUES) if broker else None,
        is_held=incidents.is_held,
    )
    refusals = RefusalPolicy(registry=registry, channels=channels, now=now, incidents=incidents)
    results = ResultRecorder(
        claims=claims,
        refusals=refusals,
        incidents=incidents,
        report=answers.report_deviation,
    )
    window = WindowSync(
        accounts=registry.accounts,
        supplier_of=suppliers.client_of,
        measures=stores.measures,
        recorder=results,
        now=now,
        observe=answers.record_answer,
        incidents=incidents,
        daily_limit_kwh=settings.daily_limit_kwh,
        outbox=registry.outbox,
        days_to_compute=history.days_to_compute,
        tell_alerts=AlertWatch(registry=registry, measures=stores.measures, channels=channels).tell,
    )
    return Sync(
        suppliers=suppliers,
        ledgers=ledgers,
        incidents=incidents,
        history=history,
        claims=claims,
        steps=RunningSteps(windows, Heartbeats(stores.redis).dead_workers),
        refusals=refusals,
        results=results,
        window=window,
        due=[_build_due_windows(stores, claims, *one) for one in ledgers.items()],
    )


def build_channels(settings: Settings, tenants: TenantTable) -> NoticeChannels:
    """Return the channels of notices: the operator's and the tenants'."""
    networks = parse_networks(settings.webhook_networks)
    return NoticeChannels(of_settings=_channels_of(settings, networks), tenants=tenants, networks=networks)


def _channels_of(settings: Settings, networks: Sequence[Network]) -> dict[str, Channel]:
    """Return the channels of notices that are set up; if there are none, the log is the only channel."""
    channels: dict[str, Channel] = {}
    if settings.webhook_url and settings.webhook_secret:
        secret = settings.webhook_secret.get_secret_value()
        channels[WEBHOOK] = Webhook(settings.webhook_url, secret, networks=networks)
    for url in settings.notify_urls():
        scheme = url.partition(":")[0].lower()
        same = sum(name.partition("-")[0] == scheme for name in channels)
        name = f"{scheme}-{same + 1}" if same else scheme
        channels[name] = NotifyService(name, url, settings.notify_language, networks)
    return channels or {LOG: NoticeLog()}


def _build_answer_watch(stores: Stores, channels: NoticeChannels) -> AnswerWatch:
    presets = supplier_settings.chosen_presets(stores.settings)
    return AnswerWatch(
        quarantine=stores.registry.quarantine,
        channels=channels.names(),
        presets={grid_operator_of(name): preset.name for name, preset in presets.items()},
        now=stores.now,
        # The suppliers that are set up come last, so that a gateway's shapes replace those of the grid operator.
        shapes={
            series: shapes
            for one in (*SUPPLIERS.values(), *map(SUPPLIERS.__getitem__, presets))
            for series, shapes in one.shapes.items()
        },
        raw_answers=stores.registry.raw_answers if stores.settings.raw_answers_days else None,
    )


def _build_suppliers(stores: Stores, ledgers: Mapping[str, QuotaLedger], answers: AnswerWatch) -> Suppliers:
    configured = supplier_settings.configured_suppliers(stores.settings)
    return Suppliers({name: _build_clients(stores, one, ledgers[name], answers) for name, one in configured.items()})


def _build_clients(
    stores: Stores, of: supplier_settings.SupplierSettings, permits: QuotaLedger, answers: AnswerWatch
) -> SupplierClients:
    """Return the clients of one supplier, which share its quota."""
    endpoints, secret = of.endpoints(), of.client_secret.get_secret_value()
    timeouts = (_CONNECT_TIMEOUT_S, stores.settings.supplier_timeout_s)
    # A gateway's owner wants to know which program calls.
    agent = f"releve/{version('releve')}" if endpoints.preset.token_mode == "bearer" else None  # noqa: S105 - a mode
    transport = Transport(endpoints.base_url, timeouts, endpoints.token_url, agent)
    return SupplierClients(
        supplier=of.supplier,
        endpoints=endpoints,
        transport=transport,
        oauth=OAuthClient(endpoints, of.client_id, secret, transport, permits),
        permits=permits,
        user_tokens=partial(UserTokenStore, registry=stores.registry, progress=stores.windows),
        application_token=ApplicationTokenStore(endpoints.preset.name, stores.keys.redis, stores.windows),
        now=stores.now,
        report=partial(answers.report_deviation, supplier=grid_operator_of(of.name)),
    )


def _build_due_windows(stores: Stores, claims: WindowClaims, supplier: str, ledger: QuotaLedger) -> DueWindows:
    build: Callable[..., DueWindows] = DueWindows
    if is_gateway(supplier):
        limit, calls_left = stores.settings.gateway_calls_per_half_day, partial(ledger.calls_left, SHARED_QUOTA)
        build = partial(GatewayWindows, calls_in_half_a_day=limit, calls_left=calls_left)
    return build(
        table=stores.registry.due,
        policies=stores.registry.policies,
        claims=claims,
        calls_per_hour=ledger.per_hour,
        now=stores.now,
        closed_for_s=ledger.closed_for_s,
        series=of_supplier(supplier),
    )


def build_prober(stores: Stores, sync: Sync) -> IncidentProber:
    return IncidentProber(incidents=sync.incidents, claims=sync.claims, sync_window=sync.window.sync_window)


def build_auditor(stores: Stores, sync: Sync, publish: Callable[[WindowJob], None]) -> Auditor:
    from worker.sync.verification import Auditor

    return Auditor(window_sync=sync.window, claims=sync.claims, publish=publish)


def build_inline(stores: Stores, sync: Sync, print_line: Callable[[str], None]) -> Inline:
    from worker.sync.inline import Inline

    return Inline(
        claims=sync.claims,
        window_sync=sync.window,
        results=sync.results,
        print_line=print_line,
    )


def build_importer(stores: Stores, sync: Sync) -> FileImporter:
    """Return the importer of files. Its module is imported here because few processes need the readers of workbooks."""
    from worker.sync.file_import import FileImporter

    return FileImporter(window_sync=sync.window, results=sync.results, outcomes=stores.registry.outcomes)


def build_explainer(stores: Stores, sync: Sync) -> Explainer:
    from worker.accounts.explanations import Explainer

    return Explainer(measures=stores.measures, progress=stores.windows, history=sync.history)
