"""releve migrate-layout at the door: both ways, on real stores, and what is said to who forgets it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from config.settings import ConfigError, Settings
from tests.support import servers
from tests.support.commands import Ended, run_here
from tests.support.registries import METER, NOW, OTHER_METER
from tests.support.window_runs import CURVE, FIRST_RUN, sync_curve, sync_days
from tests.unit.ops.health.conftest import assert_told
from worker.errors import StoreUnavailable
from worker.ops import startup
from worker.ops.health.connections import CheckConnections
from worker.ops.health.databases import measures as look_at_measures
from worker.ops.health.results import Level
from worker.runtime.process import Runtime, holds_any
from worker.stores.encryption import new_key
from worker.stores.measures.base import LOOK_AGAIN_S, Layout, LayoutGuard

KEY = new_key()


@dataclass
class Place:
    folder: Path
    env: dict[str, str]

    def releve(self, *words: str, layout: str = "plain") -> Ended:
        return run_here(self.folder, {**self.env, "RELEVE_LAYOUT": layout}, *words)

    def settings(self, layout: str = "plain") -> Settings:
        told: dict[str, Any] = {name.removeprefix("RELEVE_").lower(): value for name, value in self.env.items()}
        return Settings.from_env(_env_file=None, **told, layout=layout)

    @contextmanager
    def open(self, layout: str = "plain", *, guarded: bool = False) -> Iterator[Runtime]:
        with Runtime(self.settings(layout), guarded=guarded) as runtime:
            yield runtime


@pytest.fixture(params=["sqlite", "postgresql", "couchdb"])
def place(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[Place]:
    """Of its own, for the registry and the measures of the server must be empty."""
    env = {
        "RELEVE_DATA_DIR": str(tmp_path),
        "RELEVE_REDIS_URL": redis_url,
        "RELEVE_ENEDIS_URL": "http://127.0.0.1:9",
        "RELEVE_TOKEN_KEYS": KEY,
    }
    if request.param == "couchdb":
        try:
            with servers.couchdb_server() as url:
                yield Place(tmp_path, {**env, "RELEVE_MEASURES_URL": url})
        except servers.NotInstalled as missing:
            pytest.skip(str(missing))
        return
    if request.param == "postgresql":
        env["RELEVE_MEASURES_URL"] = request.getfixturevalue("postgres_database")
    yield Place(tmp_path, env)


@pytest.fixture(autouse=True)
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of other tests on the same Redis are not ours."""
    monkeypatch.setattr("worker.stores.redis.heartbeats.Presence.alive", lambda _: [])


def filled(place: Place, layout: str) -> list[str]:
    with place.open(layout) as runtime:
        homes = [runtime.registry.add("enedis", meter, NOW, token_needed=False)[0].id for meter in (METER, OTHER_METER)]
        stores: Any = runtime.measures
        for home in homes:
            sync_days(stores, FIRST_RUN, home)
            sync_curve(stores, CURVE, home)
    return homes


def shown(place: Place, home: str, layout: str) -> list[Any]:
    found = [
        place.releve("show", home, "--by", period, *span, "--format", "json", layout=layout)
        for period, span in (
            ("hour", ("--from", "2024-10-26", "--to", "2024-10-27")),
            ("day", ("--from", "2020-10-01", "--to", "2020-11-30")),
            ("year", ("--from", "2020-01-01", "--to", "2024-12-31")),
        )
    ]
    assert [ended.code for ended in found] == [0] * 3, found
    return [json.loads(ended.out) for ended in found]


@pytest.mark.parametrize("old, new", [("plain", "packed"), ("packed", "plain")])
def test_what_people_are_shown_is_the_same_in_either_layout(place: Place, old: str, new: str) -> None:
    homes = filled(place, old)
    before = [shown(place, home, old) for home in homes]
    moved = place.releve("migrate-layout", "--to", new, "--json", layout=old)
    assert moved.code == 0, moved.err
    told = json.loads(moved.out)
    documents = 2 * (len(FIRST_RUN) + 2 + 1 + sum(map(len, CURVE.values())) + 49)
    assert {name: told[name] for name in ("to", "accounts", "documents", "written", "erased")} == {
        "to": new,
        "accounts": 2,
        "documents": documents,
        "written": documents,
        "erased": documents,
    }
    assert told["kwh"]["day"] == 2 * sum(FIRST_RUN.values()) / 1000
    assert [shown(place, home, new) for home in homes] == before
    again = place.releve("migrate-layout", "--to", new, layout=new)
    assert (again.code, again.out[:17]) == (0, "moved 0 accounts ")


def test_who_is_told_the_wrong_layout_is_told_what_to_do_and_reads_no_empty_store(place: Place) -> None:
    [home, _] = filled(place, "plain")
    refused = place.releve("show", home, "--by", "day", layout="packed")
    assert refused.code == 1
    assert "releve migrate-layout --to packed" in refused.line and "RELEVE_LAYOUT=plain" in refused.line
    with pytest.raises(ConfigError, match="migrate-layout --to packed"):
        startup._refuse_wrong_layout(place.settings("packed"))
    with place.open("packed", guarded=True) as runtime, pytest.raises(StoreUnavailable, match="migrate-layout"):
        sync_days(runtime.measures, FIRST_RUN, home)  # type: ignore[arg-type]
    assert not holds_any(place.settings(), Layout.PACKED)
    startup._refuse_wrong_layout(place.settings("plain"))


def test_doctor_sees_measures_in_the_other_layout(place: Place) -> None:
    filled(place, "packed")
    with ExitStack() as opened:
        assert_told(
            look_at_measures(CheckConnections(place.settings("plain"), opened)),
            Level.FAIL,
            "migrate-layout --to plain",
            "packed",
        )
        assert_told(look_at_measures(CheckConnections(place.settings("packed"), opened)), Level.OK, "all 2")


def test_measures_of_unknown_accounts_are_left_until_they_are_named(place: Place) -> None:
    filled(place, "plain")
    with place.open() as runtime:
        sync_days(runtime.measures, {date(2024, 5, 9): 1000}, "stranger")  # type: ignore[arg-type]
    left = place.releve("migrate-layout", "--to", "packed")
    assert left.code == 1
    assert "left in the plain layout" in left.out
    named = place.releve("migrate-layout", "--to", "packed", "--account", "stranger")
    assert (named.code, "moved 1 accounts" in named.out) == (0, True)
    assert not holds_any(place.settings(), Layout.PLAIN)


def test_it_waits_for_no_worker_but_refuses(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(place, "plain")
    monkeypatch.setattr("worker.stores.redis.heartbeats.Presence.alive", lambda _: ["host-1-abc"])
    refused = place.releve("migrate-layout", "--to", "packed")
    assert refused.code == 1
    assert "1 workers are running (host-1-abc): stop workers, beat and web" in refused.line
    assert not holds_any(place.settings(), Layout.PACKED)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_store_that_was_migrated_under_our_feet_is_noticed_within_a_minute() -> None:
    clock, migrated, looks = Clock(), False, 0

    def other_holds_any() -> bool:
        nonlocal looks
        looks += 1
        return migrated

    guard = LayoutGuard(Layout.PLAIN, other_holds_any, clock)
    guard.before()
    guard.before()
    guard.found_nothing()
    assert looks == 1
    migrated, clock.now = True, LOOK_AGAIN_S
    guard.before()
    with pytest.raises(StoreUnavailable, match="RELEVE_LAYOUT is plain"):
        guard.found_nothing()
    with pytest.raises(StoreUnavailable):
        guard.found_nothing()


@pytest.mark.parametrize("layout, databases", [("plain", 5), ("packed", 2)])
def test_the_workers_user_is_let_into_the_databases_of_the_layout(place: Place, layout: str, databases: int) -> None:
    url = place.env.get("RELEVE_MEASURES_URL", "")
    if not url.startswith("couchdb+"):
        pytest.skip("for CouchDB")
    place.env["RELEVE_MEASURES_ADMIN_URL"] = url
    place.env["RELEVE_MEASURES_URL"] = url.replace("//", "//releve:secret@")
    made = place.releve("migrate", "--json", layout=layout)
    assert made.code == 0, made.err
    steps = {step["what"]: step["done"] for step in json.loads(made.out)}
    told = [what for what in steps if what.startswith("measures com.grandlyon.enedis.")]
    assert len(told) == databases
    names = {what.removeprefix("measures ").replace(".", "-") for what in told}
    assert {what.removeprefix("its access to ") for what in steps if what.startswith("its access")} == names
