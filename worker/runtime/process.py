"""The parts that one process works with, each built from the settings, once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Self

from config.settings import Settings
from worker.domain.clock import clock_from
from worker.runtime.parts import Part

if TYPE_CHECKING:
    from redis import Redis

    from worker.accounts.channels import Channel
    from worker.accounts.connect import AccountConnector
    from worker.accounts.explain import Explainer
    from worker.accounts.notices import NoticeSender
    from worker.accounts.refusals import RefusalPolicy
    from worker.accounts.token_renewal import TokenRenewal
    from worker.domain.measures.messages import WindowJob
    from worker.runtime.supplier import SupplierClients
    from worker.stores.encryption import Signer
    from worker.stores.registry.raw_answers import RawAnswerTable
    from worker.sync.answer_watch import AnswerWatch
    from worker.sync.audit import Auditor
    from worker.sync.claims import WindowClaims
    from worker.sync.completeness import LedgerRebuilder
    from worker.sync.due import DueWindows
    from worker.sync.history import History
    from worker.sync.incidents import Incidents
    from worker.sync.inline import Inline
    from worker.sync.probes import IncidentProber
    from worker.sync.results import ResultRecorder
    from worker.sync.window import AnswerObserver, WindowSync


class Runtime(AbstractContextManager["Runtime"]):
    """The parts that tasks and doors work with.

    Stores are opened at once, so that settings which can't work end a process with one clear line: ConfigError or
    a WorkerError.  The parts of single jobs are built when they are first asked for, and their modules are loaded
    then: a task loads what its own job needs.
    """

    def __init__(self, settings: Settings, *, guarded: bool = False) -> None:
        """``guarded`` refuses measures that are laid out in another way than the settings say; for all real doors."""
        self.lock = threading.RLock()
        self._open = ExitStack()
        self.settings = settings
        self.now = clock_from(settings.pretend_now)
        try:
            self._open_stores(guarded)
        except BaseException:
            self._open.close()
            raise

    def _open_stores(self, guarded: bool) -> None:
        from worker.runtime import keys, notices, stores, supplier
        from worker.stores.redis.connection import check_eviction, connect
        from worker.stores.redis.heartbeats import Heartbeats
        from worker.stores.redis.progress import ProgressStore
        from worker.stores.registry.api_tokens import ApiTokenTable
        from worker.stores.registry.consents import ConsentTable
        from worker.stores.registry.corrections import CorrectionTable
        from worker.stores.registry.notices import NoticeTable
        from worker.stores.registry.unknown_answers import QuarantineTable

        settings = self.settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        self.endpoints = supplier.build_endpoints(settings)
        self.sealer = keys.build_sealer(settings)
        self.registry = stores.build_registry(settings, self.sealer)
        self._open.callback(self.registry.close)
        self.registry.migrate()
        database = self.registry.database
        self.api_tokens = ApiTokenTable(database)
        self.consents = ConsentTable(database, self.sealer)
        self.notices = NoticeTable(database)
        self.corrections = CorrectionTable(database)
        self.unknown_answers = QuarantineTable(database, self.sealer)
        self.signer: Signer = keys.build_signer(settings)
        self.channels: dict[str, Channel] = notices.build_channels(settings)
        self.measures = stores.build_measures(settings, self._open, guarded=guarded)
        self.redis_url = stores.redis_address(settings, self._open)
        self.redis: Redis = connect(self.redis_url)
        self._open.callback(self.redis.close)
        check_eviction(self.redis)
        self.progress = ProgressStore(self.redis)
        self.heartbeats = Heartbeats(self.redis)
        self.broker_messages = stores.build_broker_messages(settings, self.redis_url, self._open)
        self.ledger = supplier.build_ledger(settings, self.redis, self.endpoints)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._open.close()

    @property
    def calls_per_hour(self) -> int | None:
        """The quota that paces a fan-out; None for no limit."""
        from worker.runtime.supplier import calls_per_hour

        return calls_per_hour(self.settings, self.endpoints)

    @property
    def broker_url(self) -> str:
        """The address that messages are sent to, embedded or not."""
        return self.settings.broker() or self.redis_url

    def renewal_link(self, account_id: str) -> str:
        """Return where the account's owner consents again, for 30 days; the link allows nothing else."""
        return f"{self.settings.public_url}/renew/{self.signer.sign_renewal(account_id)}"

    # -- a window

    @Part
    def incidents(self) -> Incidents:
        from worker.runtime.window import build_incidents
        from worker.stores.redis.incidents import IncidentStore

        return build_incidents(
            settings=self.settings,
            store=IncidentStore(self.redis),
            notices=self.notices,
            channels=tuple(self.channels),
            now=self.now,
        )

    @Part
    def answer_watch(self) -> AnswerWatch:
        from worker.clients.enedis.answers import ANSWER_SHAPES
        from worker.sync.answer_watch import AnswerWatch

        return AnswerWatch(
            quarantine=self.unknown_answers,
            channels=tuple(self.channels),
            preset=self.endpoints.preset.name,
            now=self.now,
            shapes=ANSWER_SHAPES,
        )

    @Part
    def raw_answers(self) -> RawAnswerTable:
        from worker.stores.registry.raw_answers import RawAnswerTable

        return RawAnswerTable(self.registry.database, self.sealer)

    @Part
    def clients(self) -> SupplierClients:
        from worker.runtime.supplier import build_clients

        return build_clients(
            settings=self.settings,
            endpoints=self.endpoints,
            ledger=self.ledger,
            registry=self.registry,
            progress=self.progress,
            sealer=self.sealer,
            now=self.now,
            report=self.answer_watch.report_deviation,
        )

    @Part
    def history(self) -> History:
        from worker.runtime.window import build_history

        return build_history(
            registry=self.registry,
            progress=self.progress,
            measures=self.measures,
            now=self.now,
            history_days=self.settings.history_load_days,
        )

    @Part
    def refusals(self) -> RefusalPolicy:
        from worker.runtime.window import build_refusals

        return build_refusals(
            registry=self.registry,
            consents=self.consents,
            notices=self.notices,
            channels=tuple(self.channels),
            incidents=self.incidents,
            now=self.now,
        )

    @Part
    def results(self) -> ResultRecorder:
        from worker.runtime.window import build_results

        return build_results(
            registry=self.registry,
            progress=self.progress,
            history=self.history,
            claims=self.claims,
            refusals=self.refusals,
            corrections=self.corrections,
            incidents=self.incidents,
            now=self.now,
        )

    @Part
    def window_sync(self) -> WindowSync:
        from worker.runtime.window import build_window_sync

        observers: list[AnswerObserver] = [self.answer_watch.record_answer]
        if self.settings.raw_answers_days:
            observers.insert(0, self.raw_answers.record_answer)
        return build_window_sync(
            registry=self.registry,
            client_of=self.clients.client_of,
            measures=self.measures,
            results=self.results,
            observers=observers,
            incidents=self.incidents,
            now=self.now,
        )

    # -- what is due

    @Part
    def claims(self) -> WindowClaims:
        from worker.runtime.due import build_claims

        return build_claims(
            registry=self.registry,
            progress=self.progress,
            history=self.history,
            incidents=self.incidents,
            broker_messages=self.broker_messages,
            claim_ttl_s=self.settings.inflight_expiry_s,
            now=self.now,
        )

    def due_windows(self, publish: Callable[[WindowJob, str], object]) -> DueWindows:
        from worker.runtime.due import build_due_windows

        return build_due_windows(
            registry=self.registry,
            claims=self.claims,
            publish=publish,
            calls_per_hour=self.calls_per_hour,
            is_blocked=lambda: self.ledger.closed_for_s() > 0,
            now=self.now,
        )

    @Part
    def probes(self) -> IncidentProber:
        from worker.runtime.due import build_probes

        return build_probes(
            incidents=self.incidents,
            registry=self.registry,
            progress=self.progress,
            claims=self.claims,
            window_sync=self.window_sync,
            now=self.now,
        )

    # -- accounts, and the doors

    @Part
    def notice_sender(self) -> NoticeSender:
        from worker.runtime.notices import build_notice_sender

        return build_notice_sender(
            registry=self.registry,
            notices=self.notices,
            channels=self.channels,
            renewal_link=self.renewal_link,
            now=self.now,
        )

    @Part
    def token_renewal(self) -> TokenRenewal:
        from worker.runtime.accounts import build_token_renewal

        return build_token_renewal(
            registry=self.registry,
            clients=self.clients,
            calls_per_hour=self.calls_per_hour,
            claims=self.claims,
            incidents=self.incidents,
            refusals=self.refusals,
        )

    @Part
    def connector(self) -> AccountConnector:
        from worker.runtime.accounts import build_connector

        return build_connector(
            settings=self.settings,
            registry=self.registry,
            consents=self.consents,
            clients=self.clients,
            now=self.now,
        )

    @Part
    def explainer(self) -> Explainer:
        from worker.runtime.accounts import build_explainer

        return build_explainer(
            registry=self.registry,
            consents=self.consents,
            measures=self.measures,
            corrections=self.corrections,
            progress=self.progress,
            history=self.history,
        )

    @Part
    def completeness_rebuild(self) -> LedgerRebuilder:
        from worker.sync.completeness import LedgerRebuilder

        return LedgerRebuilder(
            measures=self.measures, ledgers=self.registry.completeness, progress=self.progress, today=self.claims.today
        )

    def auditor(self, publish: Callable[[WindowJob], None]) -> Auditor:
        from worker.sync.audit import Auditor

        return Auditor(
            measures=self.measures,
            corrections=self.corrections,
            window_sync=self.window_sync,
            claims=self.claims,
            publish=publish,
        )

    def inline(self, print_line: Callable[[str], None]) -> Inline:
        from worker.sync.inline import Inline

        return Inline(
            claims=self.claims,
            windows=self.history,
            window_sync=self.window_sync,
            results=self.results,
            print_line=print_line,
        )

    def erase(self, account_id: str) -> dict[str, int]:
        """Erase an account's measures, tokens and state; see ``accounts.erasure``."""
        from worker.accounts.erasure import erase_account

        return erase_account(
            account_id,
            registry=self.registry,
            consents=self.consents,
            measures=self.measures,
            progress=self.progress,
            now=self.now(),
            keep_proof_days=self.settings.keep_consent_proof_days,
        )


def announce_pretend_time(settings: Settings, print_line: Callable[[str], object]) -> None:
    """Print a line where the settings replace the present by another time."""
    if settings.pretend_now is not None:
        print_line(f"PRETENDING that now is {settings.pretend_now.isoformat()} (RELEVE_PRETEND_NOW)")
