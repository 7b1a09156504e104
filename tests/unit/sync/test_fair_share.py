"""What must hold of the nights of any fleet, under any quota and any order of failures."""

from __future__ import annotations

from collections import Counter
from datetime import time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.factories import NOW
from tests.support.profiles import examples
from tests.support.registries import prepare_registry, registry_keys
from worker.domain.account import AccountState
from worker.domain.calls import AnswerClass
from worker.domain.messages import WindowJob
from worker.domain.series import USUAL_SERIES, Series, of_supplier
from worker.errors import SupplierUnavailable
from worker.stores.database import Database
from worker.stores.encryption import generate_key
from worker.stores.redis.claims import ProgressStore
from worker.stores.registry import Registry
from worker.stores.registry.outcomes import RunOutcome
from worker.sync.claims import WindowClaims
from worker.sync.due import DueWindows
from worker.sync.history import History
from worker.sync.results import due_after_failure, due_after_success, next_try

DAY = timedelta(days=1)


class SimulatedFleet:
    """The queries on a registry of its own, on a simulated clock; the claims are a dict, and a call is an update."""

    def __init__(self, folder: Path, accounts: int) -> None:
        prepare_registry(folder)
        self.registry = Registry(Database(f"sqlite:///{folder / 'registry.db'}"), registry_keys(generate_key()))
        self.at = NOW
        self.claimed: dict[str, str] = {}
        self.waiting: list[WindowJob] = []
        self.turns: list[tuple[str, str]] = []
        self.failing: set[str] = set()
        self.accounts = [
            self.registry.accounts.add("enedis", f"300016400000{11 + number}", NOW, token_needed=False)[0].id
            for number in range(accounts)
        ]

    def claim_windows(self, lane: str, members: list[str], ttl_s: int) -> list[str]:
        claims = [""] * len(members)
        for place, member in enumerate(members):
            if member not in self.claimed:
                self.claimed[member] = claims[place] = str(len(self.turns) * 1000 + place)
        return claims

    def release_claims(self, lane: str, claims: dict[str, str]) -> int:
        return sum(self.claimed.pop(member, None) is not None for member in claims)

    def claims_in(self, lane: str, ttl_s: int, *, older_than_s: float = 0.0) -> dict[str, str]:
        return {} if older_than_s else dict(self.claimed)

    def feeder(self) -> DueWindows:
        progress = cast(ProgressStore, self)
        claims = WindowClaims(
            registry=self.registry,
            progress=progress,
            history=History(
                registry=self.registry,
                now=lambda: self.at,
                curve_days=0,
                nightly_at=time(8, 30),
            ),
            now=lambda: self.at,
            claim_ttl_s=600,
        )
        return DueWindows(
            table=self.registry.due,
            claims=claims,
            policies=self.registry.policies,
            calls_per_hour=6,
            now=lambda: self.at,
            series=of_supplier("enedis"),
        )

    def serve(self, job: WindowJob) -> None:
        """Ask for a window and record how it ended, as ``ResultRecorder`` does."""
        account, series = job["account_id"], job["series"]
        self.turns.append((account, series))
        self.at += timedelta(seconds=1)
        error = SupplierUnavailable("down") if account in self.failing else None

        outcome = self.registry.outcomes.load(account).get(Series(series))
        failures = outcome.failures if outcome else 0
        if error is None:
            changes = due_after_success(job, AnswerClass.NO_DATA, self.at, self.at)
        else:
            after = next_try(error, failures, self.at)
            changes = due_after_failure(job, after, failures, AnswerClass.OUTAGE, self.at)
        code = error.code if error else None
        fields = {"code": code, "message": "", "last_day": None, "stored": False}
        self.registry.outcomes.record(
            account, series, job["run_id"], self.at, RunOutcome(**fields, due_changes=changes)
        )
        self.claimed.pop(f"{account}:{series}", None)


@given(
    number=st.integers(2, 9),
    served=st.lists(st.integers(1, 20), min_size=6, max_size=6),
    failing=st.sets(st.integers(0, 8), max_size=2),
    paused=st.sets(st.integers(0, 8), max_size=2),
    lost=st.sets(st.integers(0, 5), max_size=2),
)
@settings(max_examples=examples(40, desk=4))
def test_nobody_waits_longer_than_the_fleets_fair_share(
    tmp_path_factory: pytest.TempPathFactory,
    number: int,
    served: list[int],
    failing: set[int],
    paused: set[int],
    lost: set[int],
) -> None:
    """Each night the quota serves so many windows. Between two turns of a series no other has two."""
    fleet = SimulatedFleet(tmp_path_factory.mktemp("fleet"), number)
    fleet.failing = {fleet.accounts[place] for place in failing if place < number}
    away = {fleet.accounts[place] for place in paused if place < number} - fleet.failing
    for account in away:
        fleet.registry.accounts.set_state(account, AccountState.PAUSED, now=NOW)
    for night, quota in enumerate(served):
        fleet.at = before = NOW + night * DAY
        begun = len(fleet.turns)
        while len(fleet.turns) < begun + quota:
            fleet.waiting += fleet.feeder().claim_night(before).jobs
            published = len(fleet.waiting)
            fleet.waiting += fleet.feeder().claim_night(before).jobs
            assert len(fleet.waiting) - published <= 20 - published, "the second publishes what fits, and nothing twice"
            names = [(job["account_id"], job["series"]) for job in fleet.waiting]
            assert len(set(names)) == len(names)
            if night in lost:
                # Redis and its messages are gone: the order is not.
                lost = lost - {night}
                fleet.claimed.clear()
                fleet.waiting.clear()
                continue
            if not fleet.waiting:
                break
            for job in fleet.waiting[: min(3, begun + quota - len(fleet.turns))]:
                fleet.waiting.remove(job)
                fleet.serve(job)
        fleet.registry.due._floors.clear()
    fleet.registry.database.close()
    assert not away & {account for account, _ in fleet.turns}, "a paused one costs nothing"
    for series in USUAL_SERIES:
        order = [account for account, name in fleet.turns if name == series and account not in fleet.failing]
        for account in set(order):
            places = [place for place, other in enumerate(order) if other == account]
            for first, second in pairwise(places):
                assert max(Counter(order[first + 1 : second]).values(), default=0) <= 1
    healthy = len(set(fleet.accounts) - away - fleet.failing)
    if sum(served) >= 4 * len(USUAL_SERIES) * number:
        assert len({pair for pair in fleet.turns if pair[0] not in fleet.failing}) == healthy * len(USUAL_SERIES)
