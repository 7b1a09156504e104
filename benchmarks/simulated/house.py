"""The real house around a simulated week: Redis, registry, ledger, incidents, journal, fan-out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from benchmarks.fleet_seed import CURVE_DAYS, account_ids, add_accounts, remember
from benchmarks.simulated.ages import Ages, Ids
from benchmarks.simulated.clock import HOUR_US, SECOND_US, SimulatedClock, paris_us
from benchmarks.simulated.homes import Homes, started
from benchmarks.simulated.lanes import Lane, Workers
from benchmarks.simulated.nights import Nights
from benchmarks.simulated.nobody import Nobody
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
from worker.stores.encryption import new_key
from worker.stores.redis.embedded import EmbeddedRedis, free_port
from worker.stores.redis.incidents import IncidentStore
from worker.sync.due import FanOut, most_waiting
from worker.sync.incidents import Incidents
from worker.sync.probes import Probing
from worker.sync.results import ResultRecorder

_AGENTS: Final = 1.2  # in each lane, for each call a second: one takes 0.4 s after up to a second's wait
_FOR_EVER_S: Final = 1e12


def usual_troubles() -> list[Trouble]:
    """Of the second, the fourth and the fifth day."""

    def span(day: int, begin: float, hours: float) -> tuple[int, int]:
        at_us = paris_us(FIRST_DAY + timedelta(days=day - 1), begin)
        return at_us, at_us + round(hours * HOUR_US)

    return [
        Trouble("nothing but 500", *span(2, 10, 1.5), 500),
        Trouble("429, 20 minutes to wait", *span(4, 14, 1 / 3), 429),
        Trouble("429 again and again", *span(5, 14, 0.1), 429, names_s=60.0),
    ]


@contextmanager
def open_house(folder: Path, options: Options) -> Iterator[Runtime]:
    with EmbeddedRedis(folder) as server:
        given: dict[str, Any] = {
            "data_dir": folder,
            "redis_url": server.url,
            "broker_url": server.url,
            "token_keys": new_key(),
            "preset": "enedis-v5",
            "enedis_url": f"http://127.0.0.1:{free_port()}",  # nobody is asked
            "calls_per_hour": options.per_hour,
            "calls_per_second": options.per_second,
            "history_load_days": CURVE_DAYS,
        }
        with Runtime(Settings.from_env(_env_file=None, **given)) as runtime:
            runtime.redis.config_set("appendonly", "no")  # nothing of it is needed after the end
            yield runtime


def make_week(runtime: Runtime, options: Options) -> Week:
    """Its accounts in the registry, each with its history and its last turn behind it."""
    began = perf_counter()
    plan = plan_fleet(Fleet(options.accounts, history_days=CURVE_DAYS), quota_from(runtime.settings))
    begin_us = paris_us(FIRST_DAY, DAY_BEGINS)
    clock = SimulatedClock(datetime.fromtimestamp(begin_us / SECOND_US, UTC))
    troubles = usual_troubles() if options.troubles else []
    supplier = Supplier(options.per_second, options.per_hour, troubles, begin_us, options.hours)
    coming = round(options.accounts * options.new_percent / 100 * options.days / 7)
    made = list(account_ids(options.accounts + coming))
    here, old = made[: options.accounts], made[: options.old_windows // 4]
    ids = Ids(made)
    ages = {series: Ages(series, len(ids)) for series in Series}
    seed(runtime, plan, here, ids, ages)
    house = _house(runtime, options, plan, clock, supplier)
    workers, nobody, ledger, incidents = house
    most = most_waiting(runtime.calls_per_hour)
    homes = Homes(clock, workers, runtime, ids, ages, most, started(old, FIRST_DAY, begin_us), len(here))
    homes.expect(made[options.accounts :], FIRST_DAY, options.nights)
    homes.expect_repairs(options.hours)
    nights = Nights(clock, workers, runtime, plan.policy, ids, ages)
    agents = max(2, round(_AGENTS * options.per_second))
    chains = {name: Lane(name, agents, homes.done, homes.dropped) for name in ("first_screen", "backfill")}
    workers.lanes = {
        **chains,
        NIGHTLY: Lane(NIGHTLY, agents, nights.done, nights.dropped, nights.still_due),
        "repair": Lane("repair", agents, homes.repaired, homes.dropped),
    }
    week = Week(options, plan, clock, supplier, workers, nights, homes, ages, nobody, runtime, ledger, incidents)
    dispatcher = replace(runtime.dispatcher, now=clock.now, held=incidents.is_held, words_in_flight=lambda: None)
    nights.fan_out = FanOut(
        dispatcher,
        runtime.state,
        nights.publish,
        lambda name: len(workers.lanes[name].queue),
        most,
        week.held,
        plan.policy,
    )
    week.probing = Probing(incidents, runtime.registry, runtime.state, dispatcher.look_back_now, week.ask, clock.now)
    workers.watched = _near(troubles, incidents, runtime.settings.incident_minutes)
    week.seconds["seeded"] = round(perf_counter() - began, 1)
    return week


def seed(runtime: Runtime, plan: Plan, here: list[str], ids: Ids, ages: dict[Series, Ages]) -> None:
    """As a fleet is that has followed its plan for long."""
    yesterday = FIRST_DAY - timedelta(days=1)
    add_accounts(runtime, here, datetime(2024, 1, 1, tzinfo=UTC))

    def last_night(account_id: str, series: Series) -> date:
        night = plan.policy.last_turn(account_id, series, yesterday)
        ages[series].begin(ids.place(account_id), night)
        return night

    remember(runtime, here, FIRST_DAY, last_night)


def _house(
    runtime: Runtime, options: Options, plan: Plan, clock: SimulatedClock, supplier: Supplier
) -> tuple[Workers, Nobody, QuotaLedger, Incidents]:
    nobody, settings = Nobody(), runtime.settings
    ledger = QuotaLedger(
        runtime.redis,
        runtime.endpoints.preset.name,
        per_second=options.per_second,
        per_hour=options.per_hour,
        shares=settings.quota_shares(),
        clock_us=clock.now_us,
    )
    incidents = Incidents(
        IncidentStore(runtime.redis, clock_us=clock.now_us),
        runtime.notices,
        (),
        clock.now,
        Thresholds(settings.incident_accounts, settings.incident_share, settings.incident_minutes),
        settings.incident_probe_s,
        _FOR_EVER_S,  # we are the only process: what is open changes by our own hand
    )
    journal = ResultRecorder(nobody, runtime.state, runtime.history, clock.now, nobody, nobody, incidents)
    return Workers(clock, ledger, supplier, incidents, journal), nobody, ledger, incidents


def _near(troubles: list[Trouble], incidents: Incidents, minutes: float) -> Callable[[int], bool]:
    """Whether an answer may still matter to whether an incident is opened."""
    before_us, after_us = round((minutes + 2) * 60 * SECOND_US), HOUR_US
    spans = [(trouble.begin_us - before_us, trouble.end_us + after_us) for trouble in troubles]
    return lambda at_us: any(begin <= at_us < end for begin, end in spans) or incidents.is_open()
