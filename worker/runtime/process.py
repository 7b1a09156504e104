"""The parts that one process works with, each built from the settings, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from datetime import time, timedelta
from functools import cached_property, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Self

from redis import Redis
from sqlalchemy import Connection

from config.settings import Settings
from worker.accounts.asserted_accounts import AccountAssertion, GatewayAccounts
from worker.accounts.connect import AccountConnector, MeterReadings
from worker.accounts.erasure import erase_account
from worker.accounts.explanations import Explainer
from worker.accounts.gas_rights import RightDeclarations, RightOpenings, RightWithdrawal
from worker.accounts.invitations import Inviter
from worker.accounts.notice_channels import LOG, WEBHOOK, Channel, NoticeChannels, NoticeLog, NotifyService, Webhook
from worker.accounts.notices import NoticeSender, notify_failing_output
from worker.accounts.opening import NewAccountLimits, ProvenRequests
from worker.accounts.proxy_grants import ProxyCodes, ProxyData, ProxyGrants, SupplierCalls
from worker.accounts.refusals import RefusalPolicy
from worker.accounts.right_sweep import OwnRights, ProofUploads, RightSweep
from worker.accounts.series_choice import SeriesChooser
from worker.accounts.token_upkeep import TokenRenewal, TokenRevocation
from worker.clients.endpoints import SHARED_QUOTA
from worker.clients.enedis import ENEDIS
from worker.clients.gateway import GATEWAY
from worker.clients.grdf import GRDF
from worker.clients.oauth import OAuthClient
from worker.clients.supplier import ConsentCalls, SupplierClient, SupplierConsents
from worker.clients.supplier_session import TokenProvider, Transport
from worker.clients.suppliers import SUPPLIERS, SupplierClients
from worker.domain.account import Account
from worker.domain.clock import clock_from, real_clock
from worker.domain.consents import EndReason
from worker.domain.evidence import HOUSEHOLD
from worker.domain.incident import Thresholds
from worker.domain.lanes import QUEUES
from worker.domain.messages import WindowJob
from worker.domain.networks import parse_networks
from worker.domain.series import Series, grid_operator_of, is_gateway, of_supplier, registers_of
from worker.errors import OperatorFault
from worker.outputs.delivery import OutputDelivery
from worker.outputs.output import OutputParts
from worker.quota.ledger import QuotaLedger
from worker.runtime import keys, stores, supplier_settings
from worker.runtime.supplier_settings import fleet_series, is_offered
from worker.runtime.web_access import WebAccess, build_mail_service, build_web_access
from worker.stores.encryption import Purpose
from worker.stores.erasure_ledger import LedgerEntry, LedgerFile, LedgerKind
from worker.stores.redis.claims import ProgressStore
from worker.stores.redis.connection import check_eviction, connect
from worker.stores.redis.heartbeats import Heartbeats
from worker.stores.redis.incidents import IncidentStore
from worker.stores.redis.locks import Locks, RateLimiter
from worker.stores.redis.pending_consents import ConnectionRequests, ConsentFlows, ProofFiles
from worker.stores.registry.access_keys import SessionTable
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.api_tokens import ApiTokenTable, TenantTable
from worker.stores.registry.audit import AuditTable
from worker.stores.registry.consents import ConsentTable, PendingRefusals
from worker.stores.registry.erased_meters import ErasureTable, ReadingTryTable
from worker.stores.registry.evidence import EvidenceCheck
from worker.stores.registry.households import HomeTable
from worker.stores.registry.known_ledger import KnownLedger
from worker.stores.registry.notices import NoticeTable
from worker.stores.registry.outputs import OutboxTable, OutputTable
from worker.stores.registry.proxy import ProxyClientTable, ProxyGrantTable
from worker.stores.registry.rights import RightTable
from worker.stores.registry.supplier_answers import CorrectionTable, QuarantineTable, RawAnswerTable
from worker.stores.token_store import ApplicationTokenStore, UserTokenStore, token_lock
from worker.sync.claims import RunningSteps, WindowClaims
from worker.sync.due import DueBySupplier, DueWindows, GatewayWindows
from worker.sync.history import History, LedgerRebuilder
from worker.sync.incidents import IncidentProber, Incidents
from worker.sync.inline import Inline
from worker.sync.quarantine import AnswerWatch
from worker.sync.results import ResultRecorder
from worker.sync.verification import Auditor

if TYPE_CHECKING:
    from worker.sync.file_import import FileAccounts, FileImporter
from worker.sync.window import WindowSync

_CONNECT_TIMEOUT_S: Final = 5.0


class Runtime(AbstractContextManager["Runtime"]):
    """The parts that tasks and doors work with.

    Stores are opened at once, so that settings which can't work end a process with one clear line: ConfigError or
    a WorkerError.
    """

    def __init__(self, settings: Settings, *, guarded: bool = False) -> None:
        """``guarded`` refuses measures that are laid out in another way than the settings say; for all real doors."""
        self._open = ExitStack()
        self.settings = settings
        self.now = clock_from(settings.pretend_now)
        try:
            self._open_stores(guarded)
            self._build_suppliers()
            self._build_window_sync()
            self._build_account_parts()
            self._build_connections()
        except BaseException:
            self._open.close()
            raise

    def _open_stores(self, guarded: bool) -> None:
        settings = self.settings
        self.registry_sealer = keys.build_sealer(settings, Purpose.REGISTRY)
        self.redis_sealer = keys.build_sealer(settings, Purpose.REDIS)
        self.broker_sealer = keys.build_sealer(settings, Purpose.BROKER)
        self.erasure_hashes = keys.build_erasure_hashes(settings)
        self.ledger_file = LedgerFile(settings.ledger(), self.erasure_hashes)
        database = stores.open_current_database(settings, self._open)
        self.registry = AccountRegistry(database, self.registry_sealer, fleet_series(settings))
        self.erasure_ledger = KnownLedger(database, self.ledger_file)
        self.erasures = ErasureTable(database, self.erasure_hashes)
        self.reading_tries = ReadingTryTable(database, self.erasure_hashes)
        registering = [one.name for one in SUPPLIERS.values() if one.rights is not None]
        self.rights = RightTable(database, self.registry_sealer, self.erasure_hashes, registering)
        self.invitations = self.registry.invitations
        self.api_tokens = ApiTokenTable(database)
        self.audit = AuditTable(database)
        self.proxy_clients = ProxyClientTable(database)
        self.proxy_grant_table = ProxyGrantTable(database)
        self.consents = ConsentTable(database, self.registry_sealer)
        self.evidence = EvidenceCheck(database, self.registry_sealer)
        self.notices = NoticeTable(database)
        self.corrections = CorrectionTable(database)
        self.unknown_answers = QuarantineTable(database, self.registry_sealer)
        self.tenants = TenantTable(database, self.registry_sealer)
        self.homes = HomeTable(database)
        self.sessions = SessionTable(database)
        writer_expiry = timedelta(seconds=settings.inflight_expiry_s)
        self.outputs = OutputTable(database, self.registry_sealer, writer_expiry)
        self.outbox = OutboxTable(database, self.now, writer_expiry)
        self.channels = NoticeChannels(
            of_settings=_build_channels(settings),
            tenants=self.tenants,
            networks=parse_networks(settings.webhook_networks),
        )
        self.measures = stores.build_measures(settings, self._open, guarded=guarded)
        self.redis_url = stores.redis_address(settings, self._open)
        self.redis: Redis = connect(self.redis_url)
        self._open.callback(self.redis.close)
        check_eviction(self.redis)
        self.progress = ProgressStore(self.redis)
        subject_of = partial(self.erasure_hashes.hash, "connection request")
        self.connection_requests = ConnectionRequests(self.redis, self.redis_sealer, subject_of)
        self.heartbeats = Heartbeats(self.redis)
        self.broker_messages = stores.build_broker_messages(settings, self.redis_url, self._open)
        presets = supplier_settings.chosen_presets(settings)
        # What is due of a supplier, and its clients, have the same quota.
        self.ledgers = {
            name: supplier_settings.ledger_of(preset, settings, self.redis) for name, preset in presets.items()
        }
        self.ledger = self.ledgers[supplier_settings.main_supplier(settings)]

    def _build_suppliers(self) -> None:
        settings = self.settings
        self.raw_answers = RawAnswerTable(self.registry.database, self.registry_sealer)
        self.answer_watch = AnswerWatch(
            quarantine=self.unknown_answers,
            channels=self.channels.names(),
            presets={
                grid_operator_of(name): preset.name
                for name, preset in supplier_settings.chosen_presets(settings).items()
            },
            now=self.now,
            shapes={
                series: shapes
                for one in (
                    *SUPPLIERS.values(),
                    *map(SUPPLIERS.__getitem__, supplier_settings.chosen_presets(settings)),
                )
                for series, shapes in one.shapes.items()
            },
            raw_answers=self.raw_answers if settings.raw_answers_days else None,
        )
        self.suppliers = {
            name: self._build_clients(one) for name, one in supplier_settings.configured_suppliers(settings).items()
        }
        # ``clients`` are those of the supplier whose consent pages are offered; windows go to each account's own.
        self.clients = self.suppliers[supplier_settings.main_supplier(settings)]
        self.endpoints = self.clients.endpoints

    def _build_clients(self, of: supplier_settings.SupplierSettings) -> SupplierClients:
        """Return the clients of one supplier, with its quota."""
        endpoints, permits, secret = of.endpoints(), self.ledgers[of.name], of.client_secret.get_secret_value()
        timeouts = (_CONNECT_TIMEOUT_S, self.settings.supplier_timeout_s)
        # A gateway's owner wants to know which program asks.
        agent = f"releve/{version('releve')}" if endpoints.preset.token_mode == "bearer" else None  # noqa: S105 - a mode
        transport = Transport(endpoints.base_url, timeouts, endpoints.token_url, agent)
        return SupplierClients(
            supplier=of.supplier,
            endpoints=endpoints,
            transport=transport,
            oauth=OAuthClient(endpoints, of.client_id, secret, transport, permits),
            permits=permits,
            user_tokens=partial(UserTokenStore, registry=self.registry, progress=self.progress),
            application_token=ApplicationTokenStore(endpoints.preset.name, self.redis_sealer, self.progress),
            now=self.now,
            report=partial(self.answer_watch.report_deviation, supplier=grid_operator_of(of.name)),
        )

    def _build_window_sync(self) -> None:
        settings = self.settings
        self.incidents = Incidents(
            store=IncidentStore(self.redis),
            notices=self.notices,
            channels=self.channels.names(),
            now=self.now,
            thresholds=Thresholds(settings.incident_accounts, settings.incident_share, settings.incident_minutes),
            first_wait_s=settings.incident_probe_s,
            series_in_use=self.registry.outcomes.list_in_use,
        )
        self.history = History(
            registry=self.registry,
            progress=self.progress,
            measures=self.measures,
            now=self.now,
            curve_days=settings.history_load_days,
            nightly_at=time.fromisoformat(settings.nightly_at),
        )
        broker = self.broker_messages
        self.claims = WindowClaims(
            registry=self.registry,
            progress=self.progress,
            history=self.history,
            now=self.now,
            claim_ttl_s=settings.inflight_expiry_s,
            words_in_broker=lambda: broker.words_in_messages(QUEUES) if broker else None,
            is_held=self.incidents.is_held,
        )
        self.running_steps = RunningSteps(self.progress, self.heartbeats.dead_workers)
        self.refusals = RefusalPolicy(
            accounts=self.registry,
            consents=self.consents,
            pending=PendingRefusals(self.registry.database, self.registry_sealer),
            notices=self.notices,
            channels=self.channels,
            now=self.now,
            incidents=self.incidents,
        )
        self.results = ResultRecorder(
            registry=self.registry,
            progress=self.progress,
            history=self.history,
            claims=self.claims,
            now=self.now,
            refusals=self.refusals,
            corrections=self.corrections,
            incidents=self.incidents,
            report=self.answer_watch.report_deviation,
        )
        self.window_sync = WindowSync(
            accounts=self.registry,
            supplier_of=self.client_of,
            measures=self.measures,
            recorder=self.results,
            now=self.now,
            observe=self.answer_watch.record_answer,
            incidents=self.incidents,
            daily_limit_kwh=settings.daily_limit_kwh,
            outbox=self.outbox,
            days_to_compute=self.history.days_to_compute,
        )
        self.due_windows = DueBySupplier([self._build_due_windows(*one) for one in self.ledgers.items()])
        self.probes = IncidentProber(
            incidents=self.incidents,
            accounts=self.registry,
            look_back=self.claims.manual_look_back,
            sync_window=self.window_sync.sync_window,
            now=self.now,
        )

    def _build_due_windows(self, supplier: str, ledger: QuotaLedger) -> DueWindows:
        build: Callable[..., DueWindows] = DueWindows
        if is_gateway(supplier):
            limit, calls_left = self.settings.gateway_calls_per_half_day, partial(ledger.calls_left, SHARED_QUOTA)
            build = partial(GatewayWindows, calls_in_half_a_day=limit, calls_left=calls_left)
        return build(
            table=self.registry.due,
            policies=self.registry.policies,
            claims=self.claims,
            calls_per_hour=ledger.per_hour,
            now=self.now,
            closed_for_s=ledger.closed_for_s,
            series=of_supplier(supplier),
        )

    def _build_account_parts(self) -> None:
        self.series_chooser = SeriesChooser(outcomes=self.registry.outcomes, is_offered=self.offers, now=self.now)
        self.inviter = Inviter(
            invitations=self.invitations,
            registry=self.registry,
            public_url=self.settings.public_url,
            mail_service=build_mail_service(self.settings),
        )
        self.notice_sender = NoticeSender(
            notices=self.notices,
            accounts=self.registry,
            channels=self.channels,
            now=self.now,
        )
        self.token_renewal = TokenRenewal(
            registry=self.registry,
            tokens_of=self.tokens_of,
            calls_per_hour=self.calls_per_hour,
            claims=self.claims,
            incidents=self.incidents,
            refusals=self.refusals,
            now=self.now,
        )
        self.token_revocation = TokenRevocation(
            tokens=self.registry.tokens, revoke=self.clients.revoke_token, lock=token_lock(self.progress)
        )
        self.explainer = Explainer(consents=self.consents, corrections=self.corrections, history=self.history)
        self.completeness_rebuild = LedgerRebuilder(
            measures=self.measures, ledgers=self.registry.completeness, progress=self.progress, today=self.history.today
        )

    def _build_connections(self) -> None:
        clients = self.clients
        pages = {
            name: self._build_consents(self.suppliers[name], calls, one)
            for name, one in supplier_settings.configured_suppliers(self.settings).items()
            if (calls := one.supplier.consent) is not None
        }
        self.suppliers_consents: Mapping[str, SupplierConsents] = pages
        # The consents of the supplier whose pages need no invitation that names it; a gateway has none.
        self.supplier_consents = pages.get(clients.supplier.name)
        proxy_calls = SupplierCalls()
        proxy_codes = ProxyCodes(flows=ConsentFlows(self.redis), sealer=self.redis_sealer)
        self.proxy_grants = ProxyGrants(
            codes=proxy_codes,
            supplier=self.supplier_consents,
            refresh_token=clients.oauth.refresh,
            database=self.registry.database,
            grants=self.proxy_grant_table,
            erasures=self.erasures,
            now=self.now,
            calls=proxy_calls,
        )
        self.proxy_data = ProxyData(
            grants=self.proxy_grant_table,
            erasures=self.erasures,
            client_of=self._application_client,
            now=self.now,
            calls=proxy_calls,
        )
        outcomes = ProvenRequests(
            suppliers=self.suppliers_consents,
            registry=self.registry,
            consents=self.consents,
            invitations=self.invitations,
            erasures=self.erasures,
            ledger=self.erasure_ledger,
            requests=self.connection_requests,
            proxy_codes=proxy_codes,
            proxy_grants=self.proxy_grant_table,
            limiter=RateLimiter(self.redis),
            limits=NewAccountLimits(
                self.settings.new_accounts_per_browser,
                self.settings.new_accounts_per_address,
                self.settings.new_accounts_per_day,
            ),
            channels=self.channels,
            now=self.now,
        )
        openings = RightOpenings(outcomes=outcomes, rights=self.rights, now=self.now)
        self.right_sweep = RightSweep(
            suppliers=self.suppliers,
            rights=self.rights,
            openings=openings,
            accounts=self.registry,
            refusals=self.refusals,
            now=self.now,
        )
        self.right_withdrawal = RightWithdrawal(rights=self.rights, clients_of=self.clients_of)
        self.own_rights = OwnRights(clients_of=self.clients_of, openings=openings, rights=self.rights, now=self.now)
        files = ProofFiles(self.redis, self.redis_sealer)
        self.proof_uploads = ProofUploads(files=files, rights=self.own_rights)
        self.connector = AccountConnector(
            suppliers=self.suppliers_consents,
            outcomes=outcomes,
            declarations=RightDeclarations(
                clients_of=self.clients_of,
                outcomes=outcomes,
                openings=openings,
                rights=self.rights,
                requests=self.connection_requests,
                locks=Locks(self.redis),
                now=self.now,
            ),
            requests=self.connection_requests,
            proxy_codes=proxy_codes,
            locks=Locks(self.redis),
            meter_readings=MeterReadings(
                client_of=self._application_client,
                tries=self.reading_tries,
                locks=Locks(self.redis),
                now=self.now,
                offered=self.offers(registers_of()),
            ),
        )
        self.assertion = AccountAssertion(
            supplier=self.clients.supplier.name,
            registry=self.registry,
            consents=self.consents,
            erasures=self.erasures,
            now=self.now,
        )
        self.gateway_accounts = GatewayAccounts(assertion=self.assertion)

    def _build_consents(
        self, clients: SupplierClients, calls: ConsentCalls, of: supplier_settings.SupplierSettings
    ) -> SupplierConsents:
        address, exchange = f"{self.settings.public_url}/callback/{of.name}", clients.oauth.exchange_code
        return SupplierConsents(
            calls=calls,
            endpoints=clients.endpoints,
            client_id=of.client_id,
            duration=of.consent_duration,
            account_tokens=clients.account_tokens,
            exchange_code=partial(exchange, redirect_uri=address) if calls.sends_redirect else exchange,
            # The application's session: there is no account yet.
            open_session=clients.application_session,
            redirect_uri=address,
            now=self.now,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._open.close()

    def offers(self, series: Series) -> bool:
        """Return whether the supplier of a series offers it."""
        return is_offered(self.settings, series)

    def client_of(self, account: Account) -> SupplierClient:
        """Return the client of an account's supplier, for the calls that follow at once."""
        return self.clients_of(account.supplier).client_of(account)

    def _application_client(self, supplier: str) -> SupplierClient:
        return self.clients_of(supplier).application_client

    def tokens_of(self, account: Account) -> TokenProvider:
        """Return the tokens that calls for an account use."""
        return self.clients_of(account.supplier).tokens_of(account)

    def clients_of(self, supplier: str) -> SupplierClients:
        """Return the clients of a supplier. Raises OperatorFault where it is not set up any more."""
        if supplier not in self.suppliers:
            setting = "HOME" if is_gateway(supplier) else f"{supplier.upper()}_CLIENT_ID"
            raise OperatorFault(f"{supplier} is not set up here: set RELEVE_{setting}")
        return self.suppliers[supplier]

    def consents_of(self, supplier: str) -> SupplierConsents:
        """Return a supplier's side of a consent. Raises OperatorFault where it has no consent page here."""
        if supplier not in self.suppliers_consents:
            raise OperatorFault(f"{supplier} has no consent page here")
        return self.suppliers_consents[supplier]

    @cached_property
    def web_access(self) -> WebAccess:
        """What opens and ends browsers' sessions. It needs the session key, which a worker does not have."""
        return build_web_access(self.settings, self.registry, self.erasure_hashes, RateLimiter(self.redis), self.now)

    @cached_property
    def file_importer(self) -> FileImporter:
        """The import of files; few processes need the readers of workbooks."""
        from worker.sync.file_import import FileImporter

        return FileImporter(
            window_sync=self.window_sync,
            results=self.results,
            outcomes=self.registry.outcomes,
            progress=self.progress,
        )

    @cached_property
    def file_accounts(self) -> FileAccounts:
        from worker.sync.file_import import FileAccounts

        return FileAccounts(
            registry=self.registry,
            assertion=self.assertion,
            suppliers={ENEDIS.name: GATEWAY.name, GRDF.name: GRDF.name},
        )

    @cached_property
    def output_delivery(self) -> OutputDelivery:
        """The delivery to outputs; few processes need their libraries."""
        from worker.outputs.kinds import KINDS

        return OutputDelivery(
            outputs=self.outputs,
            outbox=self.outbox,
            accounts=self.registry,
            kinds=KINDS,
            parts=OutputParts(measures=self.measures, now=self.now),
            locks=Locks(self.redis),
            now=self.now,
            notify=partial(notify_failing_output, self.notices, self.channels),
        )

    @property
    def has_rights(self) -> bool:
        """Whether a supplier that is set up registers rights of access."""
        return not self.rights.suppliers.isdisjoint(self.suppliers)

    @property
    def calls_per_hour(self) -> int | None:
        """The quota that paces a fan-out; None for no limit."""
        return self.ledger.per_hour

    @property
    def broker_url(self) -> str:
        """The address that messages are sent to, embedded or not."""
        return self.settings.broker_options().url or self.redis_url

    def auditor(self, publish: Callable[[WindowJob], None]) -> Auditor:
        return Auditor(
            measures=self.measures,
            corrections=self.corrections,
            window_sync=self.window_sync,
            claims=self.claims,
            publish=publish,
            rebuild_days=self.completeness_rebuild.rebuild,
        )

    def inline(self, print_line: Callable[[str], None]) -> Inline:
        return Inline(
            claims=self.claims,
            windows=self.history,
            window_sync=self.window_sync,
            results=self.results,
            collected=self.registry.outcomes.collected,
            print_line=print_line,
        )

    def stop_consent(self, account_id: str, actor: str = HOUSEHOLD) -> None:
        """End an account's consent as its household asks; see ``ConsentTable.withdraw``."""
        now = self.now()
        entry = LedgerEntry(LedgerKind.STOPPED, account_id, now)
        self.consents.withdraw(
            account_id,
            now,
            actor,
            on_stop=self._end_access,
            at_end=partial(self.erasure_ledger.append, entry),
        )

    def _end_access(self, connection: Connection, account: Account) -> None:
        self.rights.withdraw_meter(connection, account)
        self.proxy_grant_table.end_for(connection, self.meters_of(account), EndReason.WITHDRAWN)

    def meters_of(self, account: Account) -> list[str]:
        """Return the keyed hashes of the account's meter; none where it has no meter any more."""
        number = account.usage_point_id
        return [] if number is None else self.erasures.digests(account.supplier, number)

    def erase(self, account_id: str, actor: str | None = None) -> dict[str, int]:
        """Erase an account's measures, tokens and state; see ``accounts.erasure``."""
        return erase_account(
            account_id,
            registry=self.registry,
            consents=self.consents,
            measures=self.measures,
            progress=self.progress,
            ledger=self.erasure_ledger,
            erasures=self.erasures,
            rights=self.rights,
            requests=self.connection_requests,
            now=self.now(),
            erased_at=real_clock(),
            keep_proof_days=self.settings.keep_consent_proof_days,
            proxy_grants=self.proxy_grant_table,
            actor=actor,
        )


def _build_channels(settings: Settings) -> dict[str, Channel]:
    """Return the channels of notices that are set up; the log where there is none."""
    channels: dict[str, Channel] = {}
    if settings.webhook_url and settings.webhook_secret:
        secret, networks = settings.webhook_secret.get_secret_value(), parse_networks(settings.webhook_networks)
        channels[WEBHOOK] = Webhook(settings.webhook_url, secret, networks=networks)
    for url in settings.notify_urls():
        scheme = url.partition(":")[0].lower()
        same = sum(name.partition("-")[0] == scheme for name in channels)
        name = f"{scheme}-{same + 1}" if same else scheme
        networks = parse_networks(settings.webhook_networks)
        channels[name] = NotifyService(name, url, settings.notify_language, networks)
    return channels or {LOG: NoticeLog()}


def announce_pretend_time(settings: Settings, print_line: Callable[[str], object]) -> None:
    """Print a line where the settings replace the present by another time."""
    if settings.pretend_now is not None:
        print_line(f"PRETENDING that now is {settings.pretend_now.isoformat()} (RELEVE_PRETEND_NOW)")
