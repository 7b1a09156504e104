"""From nothing to the first stored document, as `docker compose up` does it, with no step by hand between."""

from __future__ import annotations

import json

import requests

from tests.integration.compose.by_hand import ADMIN_PASSWORD, ByHand, wait_until
from tests.integration.compose.reading import ONCE, OURS

GIVEN = {"POSTGRES_ADMIN_PASSWORD": ADMIN_PASSWORD, "COUCHDB_ADMIN_PASSWORD": ADMIN_PASSWORD}
KEEP_RUNNING = [name for name in OURS if name not in ONCE]
DAY = "com-grandlyon-enedis-day"


def test_from_start_to_the_first_document_and_to_the_end(house: ByHand) -> None:
    _sets_up(house)
    for name in KEEP_RUNNING:
        house.start(name)
    for name in KEEP_RUNNING:
        house.wait_healthy(name)
    connected = house.run("pretend-homes", ["releve", "pretend-homes", "--web", "http://web:8000", "--json"])
    assert connected.returncode == 0, connected.stderr
    accounts = set(json.loads(connected.stdout).values())
    assert len(accounts) == 3
    wait_until(lambda: accounts <= _accounts_with_days(house), lambda: house.log("worker-backfill"))
    _takes_a_sync(house, sorted(accounts)[0])
    for name in reversed(KEEP_RUNNING):
        assert house.stop(name) == 0, f"{name}: {house.log(name)[-2000:]}"


def _sets_up(house: ByHand) -> None:
    made = house.run("secrets", **GIVEN)
    assert made.returncode == 0, made.stderr
    assert "redis_password: made" in made.stdout
    house.start_redis()
    first = house.run("migrate", ["releve", "migrate", "--json"])
    assert first.returncode == 0, first.stderr
    assert {step["done"] for step in json.loads(first.stdout)} <= {"made", "there"}
    again = house.run("migrate", ["releve", "migrate", "--json"])
    assert {step["done"] for step in json.loads(again.stdout)} == {"there"}


def _accounts_with_days(house: ByHand) -> set[str]:
    """As the workers' own user of CouchDB sees it."""
    password = (house.folder / "secrets/kept/couchdb_password").read_text()
    answer = requests.get(f"{house.couchdb}{DAY}/_all_docs", auth=("releve", password), timeout=10)
    answer.raise_for_status()
    return {row["id"].partition(":")[0] for row in answer.json()["rows"]}


def _takes_a_sync(house: ByHand, account_id: str) -> None:
    synced = house.run("worker-nightly", ["releve", "sync", account_id, "--wait"])
    assert synced.returncode == 0, synced.stderr
