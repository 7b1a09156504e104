"""Metrics of `releve metrics`, with parts that answer and parts that are down."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.commands import CommandResult
from tests.support.installation import new_installation
from tests.support.registries import FixedKeys, registry_sealer
from worker.domain.account import AccountState
from worker.domain.answers import Deviation, DeviationKind
from worker.domain.completeness import COMPLETE, DayMark, DayState
from worker.domain.consistency import Cause, Law
from worker.domain.lanes import QUEUES
from worker.domain.series import Doctype, Series
from worker.domain.windows import PARIS
from worker.ops.fleet_metrics import METRICS, OLD_GAUGES
from worker.quota.ledger import Limits, QuotaLedger
from worker.stores.child_processes import free_port
from worker.stores.database import Database
from worker.stores.encryption import generate_key
from worker.stores.redis.claims import ProgressStore
from worker.stores.redis.connection import connect
from worker.stores.redis.heartbeats import Heartbeats, WorkerHeartbeat
from worker.stores.registry import Registry
from worker.stores.registry.migrations import upgrade_schema
from worker.stores.registry.outcomes import RunOutcome
from worker.stores.registry.outputs import OutputTable
from worker.stores.registry.supplier_answers import Correction, CorrectionTable, QuarantineTable
from worker.sync.verification import AuditSummary, save_audit_summary

NOW = datetime(2024, 7, 25, 9, 0, tzinfo=PARIS)
YESTERDAY = date(2024, 7, 24)
SEALER = registry_sealer(generate_key())
METERS = ("60000000000101", "60000000000102", "60000000000103")
Samples = dict[tuple[str, ...], float]


class Fleet:
    """Three accounts, one of them suspended, and a night in progress; in a Redis database of its own."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder, self.redis_url = folder, redis_url.rsplit("/", 1)[0] + "/10"
        self.releve = new_installation(folder, self.redis_url).run
        registry = Registry(Database(f"sqlite:///{folder}/registry.db"), FixedKeys(SEALER))
        upgrade_schema(registry.database)
        self.accounts = [registry.accounts.add("enedis", meter, NOW, token_needed=False)[0].id for meter in METERS]
        registry.accounts.set_state(self.accounts[2], AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=NOW)
        for account, mark in zip(self.accounts, (COMPLETE, DayMark(DayState.LATE, 0, 0)), strict=False):
            registry.outcomes.record(
                account,
                Series.DAILY,
                "run",
                NOW,
                RunOutcome(code=None, message="", last_day=date(2024, 7, 24), stored=True, days={YESTERDAY: mark}),
            )
        self._record_deviations(registry)
        OutputTable(registry.database, SEALER, timedelta(minutes=15)).insert("webhook", {}, NOW)
        registry.database.close()

    def _record_deviations(self, registry: Registry) -> None:
        """Record corrections and unknown answers of the last 24 hours, and older ones."""
        corrections, quarantine = CorrectionTable(registry.database), QuarantineTable(registry.database, SEALER)
        for number, at in enumerate((NOW - timedelta(hours=23), NOW - timedelta(hours=25))):
            account, key = self.accounts[0], f"2024-07-0{number + 1}"
            corrections.record([Correction(account, Doctype.DAY, key, 1, 2, None, at, "run")])
            quarantine.record(
                Deviation(DeviationKind.FIELD, f"place{number}", "text", {}), 1, "enedis-2026", at, lambda _: ()
            )
        quarantine.record(Deviation(DeviationKind.FIELD, "place1", "text", {}), 1, "enedis-2026", NOW, lambda _: ())

    def write_progress(self) -> None:
        """Write to Redis what workers and beat write there."""
        with connect(self.redis_url) as redis:
            ledger = QuotaLedger(redis, "enedis-2026", Limits(per_second=None, per_hour=1000))
            for _ in range(3):
                ledger.take_permit("mesure_synchrone_auto")
            ledger.close_gate(600)
            tally = AuditSummary(50, 900, 1, Counter({(Law.MONTH, Cause.STALE_TOTAL): 2}))
            save_audit_summary(ProgressStore(redis), tally, NOW)
            heartbeats = Heartbeats(redis)
            silent_since = heartbeats.now() - 600
            silent = WorkerHeartbeat("silent@host", silent_since, silent_since, 0, 16, ("nightly",), restarts=1)
            heartbeats.record_worker("host-17-a1b2c3", silent)
            heartbeats.record_beat()
            heartbeats.record_tick()
            self.beat_at, self.tick_at = heartbeats.beat_and_tick()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Fleet:
    fleet = Fleet(tmp_path_factory.mktemp("fleet"), redis_url)
    fleet.write_progress()
    return fleet


@pytest.fixture(scope="module")
def output(fleet: Fleet) -> CommandResult:
    return fleet.releve("metrics", "--once")


def read_samples(output: CommandResult) -> dict[str, Samples]:
    samples: dict[str, Samples] = {}
    for family in text_string_to_metric_families(output.out):
        for sample in family.samples:
            samples.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return samples


def test_it_tells_how_the_fleet_stands(fleet: Fleet, output: CommandResult) -> None:
    samples = read_samples(output)
    assert output.code == 0
    assert set(samples["releve_up"].values()) == {1}
    assert samples["releve_accounts"] == {
        ("new",): 0,
        ("ready",): 2,
        ("paused",): 0,
        ("action_needed",): 1,
        ("closed",): 0,
        ("deleted",): 0,
    }
    assert samples["releve_freshness_ratio"] == {("daily",): 0.5, ("load_curve",): 0}
    assert samples["releve_notices_waiting"] == {(): 0}
    assert samples["releve_output_series_waiting"] == {("webhook",): 0}
    assert samples["releve_repair_accounts_due"] == {("daily",): 1, ("load_curve",): 0}
    assert samples["releve_corrections_last_day"] == {("daily",): 1, ("load_curve",): 0}
    assert samples["releve_operator_codes_refused"] == {(): 0}
    assert samples["releve_unknown_answers"] == {("new",): 1, ("known",): 1}
    assert samples["releve_supplier_gate_open"] == {("enedis",): 0}
    assert 500 < samples["releve_supplier_gate_opens_in_seconds"]["enedis",] <= 600
    used = {("mesure_synchrone_auto", "enedis"): 3}
    used |= dict.fromkeys(
        [(api, "enedis") for api in ("situation_contrat_auto", "synth_contrat_auto", "comptage_auto")], 0
    )
    assert samples["releve_supplier_permits_used"] == used
    assert samples["releve_supplier_permits_limit"] == dict.fromkeys(used, 1000)
    by_lane = samples["releve_supplier_permits_used_by_lane"]
    assert sum(by_lane.values()) == 3
    assert {labels[0] for labels in by_lane} == {labels[0] for labels in used}
    assert samples["releve_night_due"] == {("daily",): 2, ("load_curve",): 2}
    assert samples["releve_beat_last_publish_timestamp_seconds"] == {(): fleet.beat_at}
    assert samples["releve_beat_last_tick_timestamp_seconds"] == {(): fleet.tick_at}
    assert samples["releve_workers"] == {("heard",): 0, ("silent",): 1}
    assert samples["releve_watchdog_restarts_total"] == {(): 1}
    assert samples["releve_audit_last_timestamp_seconds"] == {(): NOW.timestamp()}
    assert (samples["releve_audit_accounts"], samples["releve_audit_accounts_at_fault"]) == ({(): 50}, {(): 1})
    numbers = samples["releve_audit_findings"]
    assert len(numbers) == len(Law) * len(Cause)
    assert {labels: number for labels, number in numbers.items() if number} == {
        (str(Cause.STALE_TOTAL), str(Law.MONTH)): 2
    }
    assert set(samples["releve_queue_messages"]) == {(name,) for name in QUEUES}


def test_it_tells_all_that_is_defined_and_nothing_else(output: CommandResult) -> None:
    of_gas = {
        "releve_audit_deviations",
        "releve_supplier_permits_used_in_a_day",
        "releve_supplier_permits_day_limit",
    }
    assert set(read_samples(output)) == {definition.name for definition in METRICS.definitions} - of_gas


def test_an_old_gauge_has_the_values_of_the_main_supplier_without_its_label(
    fleet: Fleet, output: CommandResult
) -> None:
    with_gas = fleet.releve(
        "metrics", "--once", grdf_client_id="id", grdf_client_secret="secret", grdf_url="http://127.0.0.1:9"
    )
    for samples in (read_samples(output), read_samples(with_gas)):
        for new, old in OLD_GAUGES.items():
            place = sorted(["supplier", *old.labels]).index("supplier")
            of_main = {
                labels[:place] + labels[place + 1 :]: value
                for labels, value in samples[new].items()
                if labels[place] == "enedis"
            }
            if old.name == "releve_gate_opens_in_seconds":
                assert samples[old.name] == pytest.approx(of_main, abs=1)
            else:
                assert samples[old.name] == of_main, old.name


def test_with_gas_each_supplier_is_told_of_beside_what_was_told_before(fleet: Fleet, output: CommandResult) -> None:
    with_gas = fleet.releve(
        "metrics", "--once", grdf_client_id="id", grdf_client_secret="secret", grdf_url="http://127.0.0.1:9"
    )
    before, samples = read_samples(output), read_samples(with_gas)
    assert set(samples) == {definition.name for definition in METRICS.definitions}
    for name in ("releve_gate_open", "releve_permits_used", "releve_permits_limit", "releve_night_calls"):
        assert samples[name] == before[name], "outside names keep their meaning"
    assert samples["releve_supplier_gate_open"] == {("enedis",): 0, ("grdf",): 1}, "each has a gate of its own"
    assert samples["releve_supplier_permits_used"]["mesure_synchrone_auto", "enedis"] == 3
    assert samples["releve_supplier_permits_used_in_a_day"] == {("data", "grdf"): 0}
    assert samples["releve_supplier_permits_day_limit"] == {("data", "grdf"): 6_000}
    assert samples["releve_supplier_night_calls_limit"] == {("enedis",): 16_800, ("grdf",): 4_200}


def test_it_names_no_account_no_meter_and_no_server(fleet: Fleet, output: CommandResult) -> None:
    for private_text in (*fleet.accounts, *METERS, fleet.redis_url, str(fleet.folder)):
        assert private_text not in output.out + output.err


def test_parts_that_are_down_are_told_and_the_others_stay(fleet: Fleet) -> None:
    away = f"127.0.0.1:{free_port()}"
    output = fleet.releve("metrics", "--once", redis_url=f"redis://{away}/0", measures_url=f"couchdb+http://{away}/")
    samples = read_samples(output)
    assert output.code == 1
    assert samples["releve_up"] == {("registry",): 1, ("measures",): 0, ("redis",): 0, ("broker",): 0}
    assert samples["releve_accounts"][("ready",)] == 2
    assert "releve_gate_open" not in samples
    assert "Traceback" not in output.err
