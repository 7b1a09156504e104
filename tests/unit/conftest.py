"""A whole house without a queue: real Redis-protocol server, registry in a file, measures in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis

from tests.support.factories import NOW, PretendSupplier, memory_measures
from tests.support.fakes import MemoryStore
from tests.support.registries import prepare_registry
from worker.accounts.refusals import RefusalPolicy
from worker.domain.fleet.incidents import Thresholds
from worker.domain.measures.messages import WindowJob, WindowResult
from worker.domain.measures.readings import Period, Series
from worker.errors import WorkerError
from worker.stores.encryption import Sealer, new_key
from worker.stores.redis.connection import connect
from worker.stores.redis.incidents import IncidentStore
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.consents import ConsentTable
from worker.stores.registry.corrections import CorrectionTable
from worker.stores.registry.notices import NoticeTable
from worker.stores.registry.refusals import PendingRefusals
from worker.sync.claims import ClaimPolicy
from worker.sync.history import History, paris_today
from worker.sync.incidents import Incidents
from worker.sync.results import ResultRecorder
from worker.sync.window import WindowSync


@dataclass
class Household:
    """Everything that decides and remembers; ``at`` is the time it lives at, ``supplier`` who it asks."""

    registry: AccountRegistry
    redis: Redis
    load_curve_days: int = 28
    claim_ttl_s: int = 600
    at: datetime = NOW
    supplier: PretendSupplier = field(default_factory=PretendSupplier)
    measures: dict[Period, MemoryStore] = field(default_factory=memory_measures)
    prefix: str = field(default_factory=lambda: f"test-{uuid4().hex}:")

    def __post_init__(self) -> None:
        self.state = ProgressStore(self.redis, self.prefix)
        self.history = History(
            self.state, self.measures, self._stored_before, paris_today(self.now), self.load_curve_days
        )
        database = self.registry.database
        self.consents, self.notices = ConsentTable(database, Sealer([new_key()])), NoticeTable(database)
        store = IncidentStore(self.redis, self.prefix, lambda: round(self.at.timestamp() * 1e6))
        self.incidents = Incidents(store, self.notices, ("log",), self.now, Thresholds(), fresh_s=0)
        self.desk = RefusalPolicy(
            self.consents, PendingRefusals(database), self.notices, ("log",), self.now, self.incidents
        )
        self.journal = ResultRecorder(
            self.registry,
            self.state,
            self.history,
            self.now,
            self.desk,
            CorrectionTable(self.registry.database),
            self.incidents,
        )
        self.dispatcher = ClaimPolicy(
            self.registry, self.state, self.history, self.now, self.claim_ttl_s, held=self.incidents.is_held
        )
        self.walk = WindowSync(
            self.registry,
            lambda account: self.supplier,
            self.measures,
            self.journal,
            self.now,
            watch=self.incidents,
        )

    def now(self) -> datetime:
        return self.at

    def with_settings(self, **changes: int) -> Household:
        return replace(self, **changes)

    def add(self, number: int = 11) -> str:
        account, _ = self.registry.add("enedis", f"300016400000{number}", self.at, token_needed=False)
        return account.id

    def run(self, origin: WindowJob) -> WindowResult | None:
        """As a chain of tasks does it: a failure is noted in the journal, and nothing comes of it."""
        try:
            return self.walk.sync_window(origin)
        except WorkerError as error:
            self.journal.failed(origin, error)
            return None

    def backfill(self, account_id: str, most: int = 200) -> list[WindowJob]:
        """One window after the other until none is due; those that were tried."""
        tried: list[WindowJob] = []
        while origin := self.dispatcher.claim_backfill(account_id):
            tried.append(origin)
            self.run(origin)
            assert len(tried) < most, "the backfill finds no end"
        return tried

    def lose_redis(self) -> None:
        for key in self.redis.scan_iter(f"{self.prefix}*"):
            self.redis.delete(key)

    def _stored_before(self, account_id: str, series: Series) -> bool:
        outcome = self.registry.outcomes(account_id).get(series)
        return outcome is not None and outcome.ever_stored


@pytest.fixture
def household(redis_url: str, tmp_path: Path) -> Iterator[Household]:
    prepare_registry(tmp_path)
    registry = AccountRegistry(f"sqlite:///{tmp_path / 'registry.db'}", Sealer([new_key()]))
    with connect(redis_url) as redis:
        house = Household(registry, redis)
        yield house
        house.lose_redis()
    registry.close()
