"""The parts of the service without a queue: a real Redis server, a registry in a file, measures in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from itertools import count
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

import pytest
from redis import Redis

from config.settings import Settings
from tests.support.factories import NOW, PretendSupplier, memory_measures
from tests.support.fakes import MemoryStore
from tests.support.registries import empty_registry, prepare_registry, registry_keys
from worker.accounts.explanations import Explainer
from worker.clients.supplier import SupplierClient
from worker.clients.suppliers import Suppliers
from worker.domain.account import Account
from worker.domain.answers import Deviation
from worker.domain.messages import NIGHTLY, WindowJob, WindowResult
from worker.domain.notice import Notice
from worker.domain.series import Doctype, Series, of_supplier
from worker.domain.windows import plan_look_back
from worker.errors import WorkerError
from worker.runtime.consent_parts import build_assertion
from worker.runtime.keys import Keys
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import build_auditor, build_explainer, build_sync
from worker.stores.database import Database
from worker.stores.encryption import generate_key
from worker.stores.erasure_ledger import LedgerFile
from worker.stores.measures import InstrumentedStore
from worker.stores.redis.claims import ProgressStore
from worker.stores.redis.connection import connect
from worker.stores.registry import Registry
from worker.stores.registry.due import DueRow
from worker.stores.registry.known_ledger import KnownLedger
from worker.sync.due import DueWindows
from worker.sync.verification import Auditor

_NUMBERS = count()


class PretendSuppliers(Suppliers):
    """Suppliers of which each account's client is a household's pretend one."""

    def __init__(self, household: Household) -> None:
        super().__init__({})
        self._household = household

    def client_of(self, account: Account) -> SupplierClient:
        return self._household.supplier


@dataclass
class Household:
    """The policies and stores of one service; ``at`` is its present time, ``supplier`` answers its calls."""

    registry: Registry
    redis: Redis
    curve_days: int = 28
    claim_ttl_s: int = 600
    settings: Mapping[str, Any] = field(default_factory=dict)
    at: datetime = NOW
    supplier: PretendSupplier = field(default_factory=PretendSupplier)
    measures: dict[Doctype, MemoryStore] = field(default_factory=memory_measures)
    prefix: str = field(default_factory=lambda: f"test-{uuid4().hex}:")

    def __post_init__(self) -> None:
        values = {"incident_accounts": 5, "incident_share": 0.8, "incident_minutes": 10, "nightly_at": "08:30"}
        settings = Settings.from_env(_env_file=None, **(values | dict(self.settings)))
        bounds = {"history_load_days": self.curve_days, "inflight_expiry_s": self.claim_ttl_s}
        self.stores = Stores(
            settings=settings.model_copy(update=bounds),
            now=self.now,
            keys=Keys(settings),
            registry=self.registry,
            measures=cast(InstrumentedStore, self.measures),
            redis=self.redis,
            redis_url="",
            windows=ProgressStore(self.redis, self.prefix),
            erasure_ledger=KnownLedger(self.registry.database, LedgerFile(Path("unused"), self.registry.hashes)),
            broker=None,
        )
        self.sync = build_sync(self.stores, PretendSuppliers(self))
        self.progress, self.consents, self.notices = self.stores.windows, self.registry.consents, self.registry.notices
        self.history, self.claims, self.refusals = self.sync.history, self.sync.claims, self.sync.refusals
        self.incidents = self.sync.incidents
        self.reported: list[Deviation] = []
        self.results = replace(self.sync.results, report=lambda deviation, supplier: self.reported.append(deviation))
        self.window_sync = replace(self.sync.window, recorder=self.results, observe=lambda account_id, answer: None)

    def now(self) -> datetime:
        return self.at

    def build_explainer(self) -> Explainer:
        return build_explainer(self.stores, self.sync)

    def build_auditor(self, publish: Callable[[WindowJob], None]) -> Auditor:
        return build_auditor(self.stores, replace(self.sync, window=self.window_sync), publish)

    def with_settings(self, **changes: int) -> Household:
        return replace(self, **changes)

    def add(self, number: int = 11) -> str:
        account, _ = self.registry.accounts.add("enedis", f"300016400000{number}", self.at, token_needed=False)
        return account.id

    def add_asserted(self, supplier: str = "enedis", waits_under: str | None = None) -> str:
        """Add an account that somebody vouches for, without a day of the consent, and return its id."""
        number = str(30001640001000 + next(_NUMBERS))
        assertion = replace(build_assertion(self.stores, supplier), waits_under=waits_under)
        return assertion.add(number, "cli:test")[0].id

    def add_another(self, consent_until: date | None = None) -> str:
        """Add an account whose meter has a number of its own."""
        number, until = str(30001640001000 + next(_NUMBERS)), consent_until
        return self.registry.accounts.add("enedis", number, self.at, consent_until=until, token_needed=False)[0].id

    def run(self, job: WindowJob) -> WindowResult | None:
        """Sync one window as a chain of tasks does: a failure is recorded and not raised."""
        try:
            return self.window_sync.sync_window(job)
        except WorkerError as error:
            self.results.record_failure(job, error)
            return None

    def claim_look_back(self, account_id: str, series: Series, kind: str = NIGHTLY) -> WindowJob:
        claim = self.claims.claim(kind, [(account_id, series)])[account_id, series]
        return self.claims.to_job(account_id, series, plan_look_back(self.claims.history.today(), series), claim)

    def claim_history(self, account_id: str, series: Series = Series.DAILY) -> WindowJob:
        job = self.claims.claim_history(account_id, series)
        assert job is not None
        return job

    def look_back(self, account_id: str, *series: Series) -> None:
        """Sync the last days of these series, or of all that the account has, as a person asks for them."""
        for each in series or self.registry.outcomes.collected(account_id):
            self.run(self.claims.manual_look_back(account_id, each))

    def claim_due_notices(self) -> list[Notice]:
        """Claim the notices that are due, and return them."""
        claimed = [self.notices.claim(notice_id, self.at) for notice_id in self.notices.list_due(self.at)]
        return [notice for notice in claimed if notice]

    def backfill(self, account_id: str, most: int = 200) -> list[WindowJob]:
        """Sync one window of the history after the other until none is due, and return those that were tried."""
        tried: list[WindowJob] = []
        while job := self._next_of_history(account_id):
            tried.append(job)
            self.run(job)
            assert len(tried) < most, "the backfill finds no end"
        return tried

    def _next_of_history(self, account_id: str) -> WindowJob | None:
        """Claim the next window of the first series whose history goes on now."""
        due = {(row.account_id, row.series) for series in Series for row in self.histories(series)}
        jobs = (self.claims.claim_history(account_id, series) for series in Series if (account_id, series) in due)
        return next((job for job in jobs if job is not None), None)

    def is_loaded(self, account_id: str, series: Series) -> bool:
        """Return whether every day of the history was asked for."""
        done, total = self.history.count_days(account_id, series)
        return done == total

    def histories(self, series: Series) -> list[DueRow]:
        return self.registry.due.list_histories(series, self.at, 100)

    def due_windows(self, **options: Any) -> DueWindows:
        usual = {
            "calls_per_hour": None,
            "policies": self.registry.policies,
            "series": of_supplier("enedis"),
        }
        return DueWindows(table=self.registry.due, claims=self.claims, now=self.now, **(usual | options))

    def lose_redis(self) -> None:
        self.redis.flushdb()


Service = TypeVar("Service", bound=Household)


@contextmanager
def open_household(redis_url: str, folder: Path, kind: type[Service] = Household) -> Iterator[Service]:
    with opened_database(folder) as database, new_household(redis_url, database, kind) as service:
        yield service


@contextmanager
def opened_database(folder: Path) -> Iterator[Database]:
    prepare_registry(folder)
    database = Database(f"sqlite:///{folder / 'registry.db'}")
    yield database
    database.close()


@contextmanager
def new_household(redis_url: str, database: Database, kind: type[Service] = Household) -> Iterator[Service]:
    """Yield a service over a registry that is emptied, with keys of its own in registry and Redis."""
    empty_registry(database)
    with connect(redis_url) as redis:
        redis.flushdb()
        service = kind(Registry(database, registry_keys(generate_key())), redis)
        yield service
        service.lose_redis()


@pytest.fixture(scope="module")
def household_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with opened_database(tmp_path_factory.mktemp("household")) as database:
        yield database


@pytest.fixture
def household(redis_url: str, household_database: Database) -> Iterator[Household]:
    with new_household(redis_url, household_database) as service:
        yield service
