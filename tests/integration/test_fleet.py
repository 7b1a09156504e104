"""releve metrics: what the fleet's endpoint tells, of parts that are there and of parts that aren't."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from config.settings import PREFIX
from tests.support.commands import Ended, run_here
from worker.domain.consent.accounts import AccountState
from worker.domain.fleet.lanes import QUEUES
from worker.domain.measures.answer_shapes import Deviation, DeviationKind
from worker.domain.measures.completeness import COMPLETE, DayState, Mark
from worker.domain.measures.conservation import Cause, Law
from worker.domain.measures.readings import PARIS, Period, Series
from worker.ops.fleet_metrics import BOOK
from worker.quota.ledger import QuotaLedger
from worker.runtime.process import Runtime
from worker.stores.encryption import Sealer, new_key
from worker.stores.redis.child_processes import free_port
from worker.stores.redis.connection import connect
from worker.stores.redis.heartbeats import Heartbeats, WorkerHeartbeat
from worker.stores.redis.progress import ProgressStore
from worker.stores.redis.sockets import listen
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.corrections import Correction, CorrectionTable
from worker.stores.registry.unknown_answers import QuarantineTable
from worker.sync.audit import Tally, keep_tally
from worker.sync.due import Night

NOW = datetime(2024, 7, 25, 9, 0, tzinfo=PARIS)
YESTERDAY = date(2024, 7, 24)
SEALER = Sealer([new_key()])
METERS = ("60000000000101", "60000000000102", "60000000000103")
Samples = dict[tuple[str, ...], float]


class Fleet:
    """Three accounts, one of them set aside, and a night under way; in a Redis database of its own."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.settings = {
            "DATA_DIR": str(folder / "data"),
            "REDIS_URL": redis_url.rsplit("/", 1)[0] + "/10",
            "PRETEND_NOW": NOW.isoformat(),
            "ENEDIS_URL": f"http://127.0.0.1:{free_port()}",  # nobody is asked
        }
        (folder / "data").mkdir()
        registry = AccountRegistry(f"sqlite:///{folder}/data/registry.db", SEALER)
        registry.migrate()
        self.accounts = [registry.add("enedis", meter, NOW, token_needed=False)[0].id for meter in METERS]
        registry.set_state(self.accounts[2], AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=NOW)
        for account, mark in zip(self.accounts, (COMPLETE, Mark(DayState.LATE, 0, 0)), strict=False):
            registry.record_outcome(
                account,
                Series.DAILY,
                "run",
                NOW,
                code=None,
                message="",
                last_day=date(2024, 7, 24),
                stored=True,
                days={YESTERDAY: mark},
            )
        self._surprise(registry)
        registry.close()

    def _surprise(self, registry: AccountRegistry) -> None:
        """Of yesterday and older: corrections, and what nobody knows."""
        corrections, quarantine = CorrectionTable(registry.database), QuarantineTable(registry.database, SEALER)
        for number, at in enumerate((NOW - timedelta(hours=23), NOW - timedelta(hours=25))):
            account, key = self.accounts[0], f"2024-07-0{number + 1}"
            corrections.note([Correction(account, Period.DAY, key, 1, 2, None, at, "run")])
            quarantine.note(
                Deviation(DeviationKind.FIELD, f"place{number}", "text", {}), 1, "enedis-2026", at, lambda _: ()
            )
        quarantine.note(Deviation(DeviationKind.FIELD, "place1", "text", {}), 1, "enedis-2026", NOW, lambda _: ())

    def remember(self) -> None:
        """What workers and beat leave in Redis."""
        with connect(self.settings["REDIS_URL"]) as redis:
            redis.flushdb()
            ledger = QuotaLedger(redis, "enedis-2026", per_second=None, per_hour=1000)
            for _ in range(3):
                ledger.enter("mesure_synchrone_auto")
            ledger.close(600)
            ProgressStore(redis).put_cursor(Night(NOW.date()).run, "~fed", 600)
            house = cast(Runtime, SimpleNamespace(state=ProgressStore(redis), now=lambda: NOW))
            keep_tally(house, Tally(50, 900, 1, Counter({(Law.MONTH, Cause.STALE_TOTAL): 2})))
            pulse = Heartbeats(redis)
            pulse.note_worker(WorkerHeartbeat("silent@host", 1.0, 1.0, 0, 16, ("nightly",)))
            pulse.note_restart("silent@host")
            pulse.note_beat(1_700_000_000.5)
            pulse.note_tick(1_700_000_060.5)

    def once(self, **settings: str) -> Ended:
        env = {PREFIX + name: value for name, value in {**self.settings, **settings}.items()}
        return run_here(self.folder, env, "metrics", "--once")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Fleet:
    fleet = Fleet(tmp_path_factory.mktemp("fleet"), redis_url)
    fleet.remember()
    return fleet


@pytest.fixture(scope="module")
def told(fleet: Fleet) -> Ended:
    return fleet.once()


def samples(told: Ended) -> dict[str, Samples]:
    found: dict[str, Samples] = {}
    for family in text_string_to_metric_families(told.out):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_it_tells_how_the_fleet_stands(told: Ended) -> None:
    found = samples(told)
    assert told.code == 0
    assert set(found["releve_up"].values()) == {1}
    assert found["releve_accounts"] == {
        ("new",): 0,
        ("ready",): 2,
        ("paused",): 0,
        ("action_needed",): 1,
        ("deleted",): 0,
    }
    assert found["releve_freshness_ratio"] == {("daily",): 0.5, ("load_curve",): 0}
    assert found["releve_notices_waiting"] == {(): 0}
    assert found["releve_repair_accounts_due"] == {("daily",): 1, ("load_curve",): 0}
    assert found["releve_corrections_last_day"] == {("daily",): 1, ("load_curve",): 0}
    assert found["releve_quarantine_surprises"] == {("new",): 1, ("known",): 1}
    assert found["releve_gate_open"] == {(): 0}
    assert 500 < found["releve_gate_opens_in_seconds"][()] <= 600
    assert found["releve_permits_used"] == {("mesure_synchrone_auto",): 3}
    assert found["releve_permits_limit"] == {("mesure_synchrone_auto",): 1000}
    assert (found["releve_night_fed"], found["releve_night_complete"]) == ({(): 1}, {(): 0})
    assert found["releve_beat_last_publish_timestamp_seconds"] == {(): 1_700_000_000.5}
    assert found["releve_beat_last_tick_timestamp_seconds"] == {(): 1_700_000_060.5}
    assert found["releve_workers"] == {("heard",): 0, ("silent",): 1}
    assert found["releve_watchdog_restarts_total"] == {(): 1}
    assert found["releve_audit_last_timestamp_seconds"] == {(): NOW.timestamp()}
    assert (found["releve_audit_accounts"], found["releve_audit_accounts_at_fault"]) == ({(): 50}, {(): 1})
    findings = found["releve_audit_findings"]
    assert len(findings) == len(Law) * len(Cause)
    assert {labels: number for labels, number in findings.items() if number} == {
        (str(Cause.STALE_TOTAL), str(Law.MONTH)): 2
    }
    assert found["releve_workers_answering"] == {(): 0}
    assert set(found["releve_queue_messages"]) == {(name,) for name in QUEUES}


def test_it_tells_all_that_is_defined_and_nothing_else(told: Ended) -> None:
    assert set(samples(told)) == {definition.name for definition in BOOK.definitions}


def test_it_names_no_account_no_meter_and_no_server(fleet: Fleet, told: Ended) -> None:
    for canary in (*fleet.accounts, *METERS, fleet.settings["REDIS_URL"], str(fleet.folder)):
        assert canary not in told.out + told.err


def test_parts_that_are_down_are_told_and_the_others_stay(fleet: Fleet) -> None:
    away = f"127.0.0.1:{free_port()}"
    told = fleet.once(REDIS_URL=f"redis://{away}/0", MEASURES_URL=f"couchdb+http://{away}/")
    found = samples(told)
    assert told.code == 1
    assert found["releve_up"] == {("registry",): 1, ("measures",): 0, ("redis",): 0, ("broker",): 0}
    assert found["releve_accounts"][("ready",)] == 2
    assert "releve_gate_open" not in found
    assert "Traceback" not in told.err


def test_a_taken_port_is_one_line_that_says_what_to_do(fleet: Fleet) -> None:
    env = {PREFIX + name: value for name, value in fleet.settings.items()}
    with listen("127.0.0.1", 0) as taken:
        told = run_here(fleet.folder, env, "metrics", "--port", str(taken.getsockname()[1]))
    assert told.code == 1
    assert "choose another --port" in told.line
