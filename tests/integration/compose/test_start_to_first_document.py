"""From nothing to the first stored document, as `docker compose up` does it, with no step by hand between."""

from __future__ import annotations

import json
import shutil

import requests

from tests.integration.compose.by_hand import ADMIN_PASSWORD, ByHand, wait_until
from tests.integration.compose.reading import ONCE, OURS, words

GIVEN = {"POSTGRES_ADMIN_PASSWORD": ADMIN_PASSWORD, "COUCHDB_ADMIN_PASSWORD": ADMIN_PASSWORD}
# beat is asked last: its first sign of life comes with the first thing that it sends
KEEP_RUNNING = sorted(set(OURS) - set(ONCE), key=lambda name: name == "beat")
DAY = "com-grandlyon-enedis-day"


def test_from_start_to_the_first_document_and_to_the_end(house: ByHand) -> None:
    _sets_up(house)
    for name in KEEP_RUNNING:
        house.start(name)
    for name in KEEP_RUNNING:
        house.wait_healthy(name)
    if shutil.which("redis-cli"):  # in the image it is
        house.wait_healthy("redis")
    connected = house.ask("pretend-homes", *words("pretend-homes")[1:], "--json")
    assert connected.code == 0, connected.err
    accounts = set(json.loads(connected.out).values())
    assert len(accounts) == 3
    wait_until(lambda: accounts <= _accounts_with_days(house), lambda: house.log("worker-backfill"))
    _takes_a_sync(house, sorted(accounts)[0])
    codes = house.stop_all()
    assert codes == dict.fromkeys(codes, 0), [house.log(name)[-2000:] for name, code in codes.items() if code]


def _sets_up(house: ByHand) -> None:
    made = house.run("secrets", **GIVEN)
    assert made.returncode == 0, made.stderr
    assert "redis_password: made" in made.stdout
    house.start_redis()
    first = house.run("migrate")
    assert first.returncode == 0, first.stderr
    assert "made    CouchDB user of the workers" in first.stdout
    again = house.ask("migrate", *words("migrate")[1:], "--json")
    assert {step["done"] for step in json.loads(again.out)} == {"there"}, again.out


def _accounts_with_days(house: ByHand) -> set[str]:
    """As the workers' own user of CouchDB sees it."""
    password = (house.folder / "secrets/kept/couchdb_password").read_text()
    answer = requests.get(f"{house.couchdb}{DAY}/_all_docs", auth=("releve", password), timeout=10)
    answer.raise_for_status()
    return {row["id"].partition(":")[0] for row in answer.json()["rows"]}


def _takes_a_sync(house: ByHand, account_id: str) -> None:
    synced = house.ask("worker-nightly", "sync", account_id, "--wait")
    assert synced.code == 0, synced.err
