"""Start of all services up to the first stored document, as `docker compose up` does it without a manual step."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
import requests

from tests.integration.compose.by_hand import ADMIN_PASSWORD, TIMEOUT_S, ComposeProcesses, open_processes
from tests.integration.compose.reading import ONCE, OURS, words
from tests.support.missing import or_skip
from tests.support.waiting import DEADLINE_S, until

pytestmark = pytest.mark.rest

OPERATOR_VALUES = {"POSTGRES_ADMIN_PASSWORD": ADMIN_PASSWORD, "COUCHDB_ADMIN_PASSWORD": ADMIN_PASSWORD}
# Beat is asked last, because it writes its first heartbeat when it sends its first message.
KEEP_RUNNING = sorted(set(OURS) - set(ONCE), key=lambda name: name == "beat")
DAY = "com-grandlyon-enedis-day"


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[ComposeProcesses]:
    """Yield an installation whose servers are up and empty; the test starts everything else."""
    with or_skip(open_processes(tmp_path)) as processes:
        yield processes


def test_from_start_to_the_first_document_and_to_the_end(processes: ComposeProcesses) -> None:
    _sets_up(processes)
    for name in KEEP_RUNNING:
        processes.start(name)
    for name in KEEP_RUNNING:
        processes.wait_healthy(name)
    if shutil.which("redis-cli"):  # The image has it.
        processes.wait_healthy("redis")
    homes = processes.ask("pretend-homes", *words("pretend-homes")[1:], "--json")
    assert homes.code == 0, homes.err
    accounts = set(json.loads(homes.out).values())
    assert len(accounts) == 3
    until(lambda: accounts <= _accounts_with_days(processes), lambda: processes.log("worker-backfill"), TIMEOUT_S)
    _takes_a_sync(processes, sorted(accounts)[0])
    _saves_a_backup(processes)
    assert not (refused := _refused_by_redis(processes)), refused
    codes = processes.stop_all()
    assert codes == dict.fromkeys(codes, 0), [processes.log(name)[-2000:] for name, code in codes.items() if code]


def _sets_up(processes: ComposeProcesses) -> None:
    lines = "".join(f"{name}={value}\n" for name, value in OPERATOR_VALUES.items())
    (processes.folder / "settings.env").write_text(lines)
    secrets = processes.run("secrets")
    assert secrets.returncode == 0, secrets.stderr
    assert "redis_password: made" in secrets.stdout
    processes.admit_couchdb_admin()
    conf = processes.folder / "secrets/redis/redis.conf"
    conf.chmod(0o600)
    conf.write_text(f"{conf.read_text()}user watcher on nopass -@all +@connection +acl|log\n")
    processes.start_redis()
    first = processes.run("migrate")
    assert first.returncode == 0, first.stderr
    assert "made    CouchDB user of the workers" in first.stdout
    again = processes.ask("migrate", *words("migrate")[1:], "--json")
    # The stand-in has no limit of revisions.
    steps = {step["done"] for step in again.rows if step["done"] != "left"}
    assert steps == {"there"}, again.out


def _accounts_with_days(processes: ComposeProcesses) -> set[str]:
    """Return the accounts with daily documents, as the workers' own CouchDB user sees them."""
    password = (processes.folder / "secrets/kept/couchdb_password").read_text()
    answer = requests.get(f"{processes.couchdb}{DAY}/_all_docs", auth=("releve", password), timeout=DEADLINE_S)
    answer.raise_for_status()
    return {row["id"].partition(":")[0] for row in answer.json()["rows"]}


def _refused_by_redis(processes: ComposeProcesses) -> list[str]:
    """Return what Redis has refused its users (L15)."""
    url = urlsplit((processes.folder / "secrets/beat/redis_url").read_text())
    with redis.Redis(url.hostname or "", url.port or 0, username="watcher", password="any") as watcher:
        return [f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in watcher.acl_log()]


def _takes_a_sync(processes: ComposeProcesses, account_id: str) -> None:
    synced = processes.ask("worker-nightly", "sync", account_id, "--wait")
    assert synced.code == 0, synced.err


def _saves_a_backup(processes: ComposeProcesses) -> None:
    (processes.folder / "backups").mkdir()
    saved = processes.ask("backup", *words("backup")[1:], "--json")
    assert saved.code == 0, saved.err
    assert json.loads(saved.out)["accounts"] == 3
    assert (processes.folder / "ledger/ledger.ndjson").exists()
    shown = processes.ask("backup", "backup", "--show", f"/backups/{Path(json.loads(saved.out)['file']).name}")
    assert shown.code == 0, shown.err
