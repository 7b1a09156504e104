"""All that a drill needs, started and ended: servers behind relays, simulator, crew, and a runtime to look through."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from config.settings import PREFIX, get_settings
from worker.cli.supervise import settings_apart
from worker.domain.clock import real_clock
from worker.domain.measures.readings import PARIS
from worker.drill.crash_worker import AHEAD, set_clock
from worker.drill.processes import POOLS, Crew
from worker.drill.servers import Couch, Redis, Simulator
from worker.errors import SupplierUnavailable
from worker.runtime import Runtime
from worker.stores.encryption import new_key
from worker.stores.redis.child_processes import Supervisor

PRETEND_NOW: Final = datetime(2024, 11, 4, 9, 0, tzinfo=PARIS)  # 27 October, of 25 hours, is in every history
_START_S: Final = 60.0
_SUPPLIER_TIMEOUT_S: Final = 2
_CALLS_PER_SECOND: Final = 25
_FIRST_CANARY_S: Final = 1  # faults last seconds here, not hours


@dataclass
class House:
    folder: Path
    supervisor: Supervisor
    runtime: Runtime
    redis: Redis
    couch: Couch | None
    simulator: Simulator
    crew: Crew


@contextmanager
def open_house(
    folder: Path,
    *,
    preset: str,
    couchdb: bool,
    measures_url: str | None,
    say: Callable[[str], object],
    say_dead: Callable[[str, int, int], None],
) -> Iterator[House]:
    """Servers and simulator are up, the crew is hired; everything ends with the block, workers first.

    Our own environment is the pretend one from here on: what the user has set must not be touched by a drill.
    """
    ahead = PRETEND_NOW - datetime.now(UTC)
    with ExitStack() as opened:
        redis = opened.enter_context(Redis(folder))
        supervisor = opened.enter_context(Supervisor())
        couch = opened.enter_context(Couch(supervisor, folder, measures_url)) if couchdb else None
        simulator = Simulator(supervisor, folder / "logs")
        measures = f"sqlite:///{folder / 'measures.db'}"
        own: dict[str, Any] = {
            "preset": preset,
            "enedis_url": simulator.url,
            "enedis_authorize_url": simulator.url,
            "data_dir": folder,
            "redis_url": redis.url,
            "broker_url": redis.url,
            "registry_url": f"sqlite:///{folder / 'registry.db'}",
            "measures_url": couch.url if couch else measures,
            "token_keys": new_key(),
            "calls_per_second": _CALLS_PER_SECOND,
            "calls_per_hour": 0,
            "supplier_timeout_s": _SUPPLIER_TIMEOUT_S,
            "incident_probe_s": _FIRST_CANARY_S,
            "pretend_now": PRETEND_NOW.isoformat(),
        }
        environment = settings_apart(own, say)
        os.environ.update(environment)
        get_settings.cache_clear()
        simulator.start(environment)
        _wait_for("the simulator", lambda: bool(simulator.admin("GET", "health")))
        simulator.calm()
        if couch is not None:
            _wait_for("the CouchDB-protocol server", lambda: requests.get(_http(couch.url), timeout=5).ok)

        def env() -> Mapping[str, str]:
            """Of a process that starts now: it must not live earlier than those that started before."""
            relayed = {"REDIS_URL": redis.relayed_url, "BROKER_URL": redis.relayed_url}
            relayed |= {"MEASURES_URL": couch.relayed_url} if couch else {}
            relayed |= {"PRETEND_NOW": (real_clock() + ahead).isoformat()}
            paths = os.pathsep.join(
                str(Path(path).resolve()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path
            )
            told = {PREFIX + name: value for name, value in relayed.items()}
            return {**environment, **told, AHEAD: str(ahead.total_seconds()), "PYTHONPATH": paths}

        set_clock(ahead)
        runtime = opened.enter_context(Runtime(get_settings()))
        crew = Crew(folder, env, say_dead)
        opened.callback(crew.stop)
        for name, pool in POOLS.items():
            crew.hire(name, *pool)
        crew.hire_beat("beat")
        yield House(folder, supervisor, runtime, redis, couch, simulator, crew)


def _http(url: str) -> str:
    parts = urlsplit(url)
    return f"http://{parts.netloc}/"


def _wait_for(what: str, answers: Callable[[], bool]) -> None:
    give_up = time.monotonic() + _START_S
    while time.monotonic() < give_up:
        try:
            if answers():
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise SupplierUnavailable(f"{what} did not start")
