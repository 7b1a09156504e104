"""Builder of a simulated week from the real parts: Redis, registry, ledger, incidents, recorder, fan-out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from benchmarks.fleet_seed import CURVE_DAYS, account_ids, add_accounts, record_history
from benchmarks.simulated.ages import AccountIds, Ages
from benchmarks.simulated.clock import HOUR_US, SECOND_US, SimulatedClock, paris_us
from benchmarks.simulated.homes import Homes, started_homes
from benchmarks.simulated.lanes import Lane, Workers
from benchmarks.simulated.nights import Nights
from benchmarks.simulated.null_tables import NullTables
from benchmarks.simulated.supplier import Supplier, Trouble
from benchmarks.simulated.week import DAY_BEGINS, FIRST_DAY, Options, Week
from config.settings import Settings
from worker.domain.fleet.incidents import Thresholds
from worker.domain.fleet.planning import Fleet, Plan, plan_fleet
from worker.domain.measures.messages import NIGHTLY
from worker.domain.measures.readings import Series
from worker.ops.capacity import quota_from
from worker.quota.ledger import QuotaLedger
from worker.runtime.process import Runtime
from worker.stores.encryption import generate_key
from worker.stores.redis.child_processes import free_port
from worker.stores.redis.embedded import EmbeddedRedis
from worker.stores.redis.incidents import IncidentStore
from worker.sync.due import FanOut, most_waiting
from worker.sync.incidents import Incidents
from worker.sync.probes import IncidentProber
from worker.sync.results import ResultRecorder

_AGENTS: Final = 1.2  # In each lane, for each call a second: a call takes 0.4 s and waits up to a second.
_FOR_EVER_S: Final = 1e12


def usual_troubles() -> list[Trouble]:
    """Return the supplier's troubles of the second, the fourth and the fifth day."""

    def span(day: int, begin: float, hours: float) -> tuple[int, int]:
        at_us = paris_us(FIRST_DAY + timedelta(days=day - 1), begin)
        return at_us, at_us + round(hours * HOUR_US)

    return [
        Trouble("nothing but 500", *span(2, 10, 1.5), 500),
        Trouble("429, 20 minutes to wait", *span(4, 14, 1 / 3), 429),
        Trouble("429 again and again", *span(5, 14, 0.1), 429, retry_after_s=60.0),
    ]


@contextmanager
def open_runtime(folder: Path, options: Options) -> Iterator[Runtime]:
    with EmbeddedRedis(folder) as server:
        settings: dict[str, Any] = {
            "data_dir": folder,
            "redis_url": server.url,
            "broker_url": server.url,
            "token_keys": generate_key(),
            "preset": "enedis-v5",
            "enedis_url": f"http://127.0.0.1:{free_port()}",  # No supplier is called.
            "calls_per_hour": options.per_hour,
            "calls_per_second": options.per_second,
            "history_load_days": CURVE_DAYS,
        }
        with Runtime(Settings.from_env(_env_file=None, **settings)) as runtime:
            runtime.redis.config_set("appendonly", "no")  # Nothing of it is needed afterwards.
            yield runtime


def build_week(runtime: Runtime, options: Options) -> Week:
    """Return a week whose accounts are in the registry, each with its history and its last turn done."""
    started_at = perf_counter()
    plan = plan_fleet(Fleet(options.accounts, history_days=CURVE_DAYS), quota_from(runtime.settings))
    begin_us = paris_us(FIRST_DAY, DAY_BEGINS)
    clock = SimulatedClock(datetime.fromtimestamp(begin_us / SECOND_US, UTC))
    troubles = usual_troubles() if options.troubles else []
    supplier = Supplier(options.per_second, options.per_hour, troubles, begin_us, options.hours)
    new_accounts = round(options.accounts * options.new_percent / 100 * options.days / 7)
    ids_in_order = list(account_ids(options.accounts + new_accounts))
    present_ids, waiting_ids = ids_in_order[: options.accounts], ids_in_order[: options.old_windows // 4]
    ids = AccountIds(ids_in_order)
    ages = {series: Ages(series, len(ids)) for series in Series}
    seed_fleet(runtime, plan, present_ids, ids, ages)
    parts = _build_workers(runtime, options, plan, clock, supplier)
    workers, null_tables, ledger, incidents = parts
    waiting_limit = most_waiting(runtime.calls_per_hour)
    homes = Homes(
        clock,
        workers,
        runtime,
        ids,
        ages,
        waiting_limit,
        started_homes(waiting_ids, FIRST_DAY, begin_us),
        len(present_ids),
    )
    homes.schedule_arrivals(ids_in_order[options.accounts :], FIRST_DAY, options.nights)
    homes.schedule_repairs(options.hours)
    nights = Nights(clock, workers, runtime, plan.policy, ids, ages)
    agents = max(2, round(_AGENTS * options.per_second))
    history_lanes = {
        name: Lane(name, agents, homes.finish_window, homes.drop_window) for name in ("first_screen", "backfill")
    }
    workers.lanes = {
        **history_lanes,
        NIGHTLY: Lane(NIGHTLY, agents, nights.finish_window, nights.drop_window, nights.still_due),
        "repair": Lane("repair", agents, homes.count_repair, homes.drop_window),
    }
    week = Week(options, plan, clock, supplier, workers, nights, homes, ages, null_tables, runtime, ledger, incidents)
    claims = replace(runtime.claims, now=clock.now, is_held=incidents.is_held, run_ids_in_broker=lambda: None)
    nights.fan_out = FanOut(
        claims=claims,
        progress=runtime.progress,
        publish=nights.publish,
        queue_length=lambda name: len(workers.lanes[name].queue),
        most_waiting=waiting_limit,
        is_held=week.is_held,
        policy=plan.policy,
    )
    week.prober = IncidentProber(
        incidents=incidents,
        accounts=runtime.registry,
        progress=runtime.progress,
        look_back=claims.manual_look_back,
        sync_window=week.probe_window,
        now=clock.now,
    )
    workers.answers_matter = _near_trouble(troubles, incidents, runtime.settings.incident_minutes)
    week.seconds["seeded"] = round(perf_counter() - started_at, 1)
    return week


def seed_fleet(runtime: Runtime, plan: Plan, present_ids: list[str], ids: AccountIds, ages: dict[Series, Ages]) -> None:
    """Seed the fleet as one that has followed its plan for a long time."""
    yesterday = FIRST_DAY - timedelta(days=1)
    add_accounts(runtime, present_ids, datetime(2024, 1, 1, tzinfo=UTC))

    def last_night(account_id: str, series: Series) -> date:
        night = plan.policy.last_turn(account_id, series, yesterday)
        ages[series].set_first_night(ids.index_of(account_id), night)
        return night

    record_history(runtime, present_ids, FIRST_DAY, last_night)


def _build_workers(
    runtime: Runtime, options: Options, plan: Plan, clock: SimulatedClock, supplier: Supplier
) -> tuple[Workers, NullTables, QuotaLedger, Incidents]:
    null_tables, settings = NullTables(), runtime.settings
    ledger = QuotaLedger(
        runtime.redis,
        runtime.endpoints.preset.name,
        per_second=options.per_second,
        per_hour=options.per_hour,
        shares=settings.quota_shares(),
        clock_us=clock.now_us,
    )
    incidents = Incidents(
        store=IncidentStore(runtime.redis, clock_us=clock.now_us),
        notices=runtime.notices,
        channels=(),
        now=clock.now,
        thresholds=Thresholds(settings.incident_accounts, settings.incident_share, settings.incident_minutes),
        first_wait_s=settings.incident_probe_s,
        max_age_s=_FOR_EVER_S,  # No other process changes what is open.
    )
    recorder = ResultRecorder(
        registry=null_tables,
        progress=runtime.progress,
        history=runtime.history,
        now=clock.now,
        refusals=null_tables,
        corrections=null_tables,
        incidents=incidents,
    )
    return Workers(clock, ledger, supplier, incidents, recorder), null_tables, ledger, incidents


def _near_trouble(troubles: list[Trouble], incidents: Incidents, minutes: float) -> Callable[[int], bool]:
    """Return a predicate: whether an answer at this time may still influence an incident."""
    before_us, after_us = round((minutes + 2) * 60 * SECOND_US), HOUR_US
    spans = [(trouble.begin_us - before_us, trouble.end_us + after_us) for trouble in troubles]
    return lambda at_us: any(begin <= at_us < end for begin, end in spans) or incidents.is_open()
