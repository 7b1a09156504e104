"""The command `releve migrate --layout` in both directions on real stores, and the errors of who forgets it."""

from __future__ import annotations

import json
import uuid
from datetime import date
from typing import Any

import pytest

from config.settings import ConfigError
from tests.support.couchdb_users import new_user, user_url
from tests.support.fakes import MemoryStore, memory_measures
from tests.support.installation import Installation
from tests.support.registries import METER, NOW, OTHER_METER
from tests.support.window_runs import CURVE, FIRST_RUN, sync_curve, sync_days
from worker.domain.documents import ALL_KEYS
from worker.domain.packing import PACKED_SERIES, UNPACKED_DOCTYPES
from worker.domain.retry import LONGEST_DELAY_S
from worker.domain.series import Doctype
from worker.errors import StoreUnavailable
from worker.ops import startup
from worker.stores.measures import RECHECK_S, InstrumentedStore
from worker.stores.measures.measure_store import Layout
from worker.sync.inline import LONGEST_WAIT_S


@pytest.fixture
def installation(installation: Installation, empty_couchdb_url: str) -> Installation:
    return installation.but(measures_url=empty_couchdb_url)


def has_other_layout(installation: Installation, layout: str) -> bool:
    with installation.open(layout=layout) as parts:
        return parts.stores.measures.has_other_layout()


def sync_two_homes(installation: Installation, layout: str) -> list[str]:
    with installation.open(layout=layout) as parts:
        homes = [
            parts.stores.registry.accounts.add("enedis", meter, NOW, token_needed=False)[0].id
            for meter in (METER, OTHER_METER)
        ]
        stores: Any = parts.stores.measures
        for home in homes:
            sync_days(stores, FIRST_RUN, home)
            sync_curve(stores, CURVE, home)
    return homes


def show_documents(installation: Installation, home: str, layout: str) -> list[Any]:
    results = [
        installation.run("show", home, "--by", period, *span, "--format", "json", layout=layout)
        for period, span in (
            ("hour", ("--from", "2024-10-26", "--to", "2024-10-27")),
            ("day", ("--from", "2020-10-01", "--to", "2020-11-30")),
            ("year", ("--from", "2020-01-01", "--to", "2024-12-31")),
        )
    ]
    assert [result.code for result in results] == [0] * 3, results
    return [json.loads(result.out) for result in results]


@pytest.mark.parametrize("old, new", [("plain", "packed"), ("packed", "plain")])
def test_what_people_are_shown_is_the_same_in_either_layout(installation: Installation, old: str, new: str) -> None:
    homes = sync_two_homes(installation, old)
    before = [show_documents(installation, home, old) for home in homes]
    moved = installation.run("migrate", "--layout", new, "--json", layout=old)
    assert moved.code == 0, moved.err
    report = json.loads(moved.out)
    documents = 2 * (len(FIRST_RUN) + 2 + 1 + sum(map(len, CURVE.values())) + 49)
    assert {name: report[name] for name in ("to", "accounts", "documents", "written", "erased")} == {
        "to": new,
        "accounts": 2,
        "documents": documents,
        "written": documents,
        "erased": documents,
    }
    assert report["kwh"]["day"] == 2 * sum(FIRST_RUN.values()) / 1000
    assert [show_documents(installation, home, new) for home in homes] == before
    repeated = installation.run("migrate", "--layout", new, layout=new)
    assert (repeated.code, repeated.out[:17]) == (0, "moved 0 accounts ")


def test_who_is_told_the_wrong_layout_is_told_what_to_do_and_reads_no_empty_store(installation: Installation) -> None:
    [home, _] = sync_two_homes(installation, "plain")
    refused = installation.run("show", home, "--by", "day", layout="packed")
    assert refused.code == 1
    assert "releve migrate --layout packed" in refused.error_line and "RELEVE_LAYOUT=plain" in refused.error_line
    with installation.open(guarded=True, layout="packed") as parts:
        with pytest.raises(ConfigError, match="migrate --layout packed"):
            startup._check_layout(parts.stores)
        with pytest.raises(StoreUnavailable, match="migrate --layout") as refusal:
            sync_days(parts.stores.measures, FIRST_RUN, home)  # type: ignore[arg-type]
        waits = LONGEST_WAIT_S, 1.2 * LONGEST_DELAY_S
        assert (refusal.value.retry_after_s or 0) > max(waits), "waiting heals nothing: neither tries it again at once"
    with installation.open() as parts:
        startup._check_layout(parts.stores)


def test_measures_of_unknown_accounts_are_left_until_they_are_named(installation: Installation) -> None:
    sync_two_homes(installation, "plain")
    with installation.open() as parts:
        sync_days(parts.stores.measures, {date(2024, 5, 9): 1000}, "stranger")  # type: ignore[arg-type]
    result = installation.run("migrate", "--layout", "packed")
    assert result.code == 1
    assert "the plain layout still has measures" in result.out
    second_result = installation.run("migrate", "--layout", "packed", "--account", "stranger")
    assert (second_result.code, "moved 1 accounts" in second_result.out) == (0, True)
    assert not has_other_layout(installation, "packed")


def test_it_waits_for_no_worker_but_refuses(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    sync_two_homes(installation, "plain")
    monkeypatch.setattr("worker.stores.redis.heartbeats.Heartbeats.living_workers", lambda _: ["host-1-abc"])
    refused = installation.run("migrate", "--layout", "packed")
    assert refused.code == 1
    assert "1 workers are running (host-1-abc): stop workers, beat and web" in refused.error_line
    assert not has_other_layout(installation, "plain")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_store_that_was_migrated_under_our_feet_is_noticed_within_a_minute() -> None:
    clock, requests = Clock(), {Doctype.DAY: ALL_KEYS}
    packs: Any = MemoryStore()
    store = InstrumentedStore(memory_measures(), [packs], Layout.PLAIN, clock)
    store.read("home1", requests)
    packs.documents["home1:2024"] = {}
    store.read("home1", requests)
    clock.now = RECHECK_S
    store.write({Doctype.DAY: []})
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="RELEVE_LAYOUT is plain"):
            store.read("home1", requests)


@pytest.mark.parametrize(
    "layout, databases", [("plain", len(Doctype)), ("packed", len(PACKED_SERIES) + len(UNPACKED_DOCTYPES))]
)
def test_the_workers_user_is_let_into_the_databases_of_the_layout(
    installation: Installation, layout: str, databases: int
) -> None:
    url = installation.settings["measures_url"]
    name = f"t{uuid.uuid4().hex}"
    users = {"measures_admin_url": url, "measures_url": user_url(url, name, "secret")}
    with new_user(url, name):
        result = installation.run("migrate", "--json", layout=layout, **users)
    assert result.code == 0, result.err
    steps = {step["what"]: step["done"] for step in result.rows}
    databases_prepared = [what for what in steps if what.startswith("measures com.grandlyon.")]
    assert len(databases_prepared) == databases
    names = {what.removeprefix("measures ").replace(".", "-") for what in databases_prepared}
    assert {what.removeprefix("its access to ") for what in steps if what.startswith("its access")} == names
