"""Keep an installation of this version, for tests of the upgrades to later ones.

``python -m tests.golden.keep_installation 0.2.0``, with the code of that version, writes
``tests/golden/release_0.2.0/`` once; ``tests/contract/test_upgrade.py`` reads it. Keys and secrets in it are made up
and open nothing else. Ids and sealed values differ from run to run, the rest is the same.

- ``schema.json``: by dialect, the statements that create the tables of the registry and of the measures.
- ``registry.json``: the rows of every table of the registry.
- ``measures.json``: the same measures as rows of SQL, as plain documents and as packed ones.
- ``redis.json``: every key with its type, value and remaining seconds.
- ``secrets.json``: the keys, and what holders have: an API token, a session, the secret of an invitation.
- ``backup.zip`` and ``ledger.ndjson``: what `releve backup` saves, and the ledger of erasures beside it.

``tests.golden.keep_messages`` then adds ``messages.json``, with the messages between the steps of a window.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from redis import Redis
from sqlalchemy import Dialect, MetaData, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from tests.support import servers
from tests.support.backups import DAYS, fill
from tests.support.factories import NOW, window_job
from tests.support.fakes import memory_measures, packed_memory_measures
from tests.support.gas_household import GasHousehold
from tests.support.installation import Installation, new_installation
from tests.support.parts import Parts
from tests.support.registries import close_account
from tests.support.window_runs import CURVE, FIRST_RUN, sync_curve, sync_days
from worker.accounts.invitations import Inviter
from worker.domain.account import AccountState
from worker.domain.connection_request import ConnectionRequest
from worker.domain.documents import ALL_KEYS
from worker.domain.incident import Incident, IncidentKind
from worker.domain.messages import LOOK_BACK
from worker.domain.series import Doctype, Series
from worker.domain.sessions import KeyKind, new_totp_key
from worker.domain.windows import DateWindow
from worker.errors import ConsentRevoked
from worker.ops.backup import back_up
from worker.stores.database import Database
from worker.stores.measures import sql
from worker.stores.measures.measure_store import Document
from worker.stores.redis.heartbeats import Heartbeats, WorkerHeartbeat
from worker.stores.redis.pending_consents import ConsentFlow, ConsentFlows
from worker.stores.registry import migrations
from worker.stores.registry.access_keys import AccessKeyTable
from worker.stores.registry.api_tokens import ApiTokenTable
from worker.stores.registry.households import HouseholdTable, MailAddressTable
from worker.stores.registry.invitations import InvitationTable
from worker.stores.registry.tables import _AUDIT_TRIGGERS, METADATA

FOLDER: Final = Path(__file__).parent
# Made up for the kept installation: they must not be used anywhere else.
KEYS: Final = {
    "token_keys": base64.urlsafe_b64encode(b"made up for tests: a token key, ").decode(),
    "backup_keys": base64.urlsafe_b64encode(b"made up for tests: a backup key.").decode(),
    "erasure_keys": "made up for tests: the erasure key of a kept installation",
    "session_key": "made up for tests: the session key of a kept installation",
}
ADDRESS, OPERATOR, PASSWORD = "made-up@example.org", "made-up", "made up for tests 12"
STATES: Final = {
    "30001640000101": AccountState.NEW,
    "30001640000102": AccountState.ACTION_NEEDED,
    "30001640000103": AccountState.CLOSED,
}
_DIALECTS: Final[dict[str, Dialect]] = {"sqlite": sqlite.dialect(), "postgresql": postgresql.dialect()}


def main(version: str) -> None:
    """Write the folder of a version, in the place of the one before."""
    target = FOLDER / f"release_{version}"
    with servers.redis_server() as redis_url, TemporaryDirectory() as folder:
        installation = installation_of(Path(folder), redis_url)
        with installation.open() as parts:
            accounts = fill_all(parts)
            secrets = {"step": migrations.newest_step(), "keys": KEYS, "accounts": accounts}
            secrets |= _secrets(parts, accounts)
            kept = {
                "schema": {name: list(_statements(name)) for name in _DIALECTS},
                "registry": _rows(parts.stores.registry.database, METADATA),
                "measures": _measures(parts, Database(f"sqlite:///{folder}/measures.db")),
                "secrets": secrets,
                "redis": _redis_keys(parts.stores.redis_url),
            }
            back_up(parts.stores, Path(folder, "backup.zip"))
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for name, content in kept.items():
            (target / f"{name}.json").write_text(_to_text(content), encoding="utf-8")
        for name in ("backup.zip", "ledger.ndjson"):
            shutil.copyfile(Path(folder, name), target / name)


def installation_of(folder: Path, redis_url: str, **settings: str) -> Installation:
    """Return an installation with the made-up keys, in which gas is set up."""
    usual = {**KEYS, "grdf_client_id": "made-up", "grdf_client_secret": "made-up", "grdf_url": "http://127.0.0.1:9"}
    return new_installation(folder, redis_url, **{**usual, **settings})


def fill_all(parts: Parts) -> dict[str, str]:
    """Write something everywhere but to the tables of those who sign in; return the accounts by what they are."""
    accounts = fill(parts, DAYS[-28:])
    for meter, state in STATES.items():
        account, _ = parts.stores.registry.accounts.add("enedis", meter, NOW, token_needed=state is AccountState.NEW)
        accounts[state.value] = account.id
        if state is AccountState.CLOSED:
            close_account(parts.stores.registry.consents, account.id, NOW)
        elif state is not AccountState.NEW:
            parts.stores.registry.accounts.set_state(account.id, state, reason=ConsentRevoked.code, now=NOW)
    stores: Any = parts.stores.measures
    sync_days(stores, FIRST_RUN, accounts["second"])
    sync_curve(stores, CURVE, accounts["second"])
    accounts["gas"] = GasHousehold(parts).account
    _fill_redis(parts, accounts["second"])
    return accounts


def _fill_redis(parts: Parts, account_id: str) -> None:
    window = DateWindow(date(2024, 7, 1), date(2024, 7, 8))
    job = window_job(window, Series.DAILY, account_id)
    parts.stores.windows.note_loaded(account_id, Series.DAILY.value, loaded=True)
    parts.stores.windows.record_task(account_id, Series.DAILY.value, state="failed", window=str(window), run_id="r1")
    parts.stores.windows.count_failure(account_id, Series.DAILY, window)
    parts.stores.windows.put_secret("made-up", parts.stores.keys.redis.seal("made up", "made-up"), 3600)
    parts.sync.claims.claim(LOOK_BACK, [(account_id, Series.DAILY)])
    parts.sync.ledger.try_permit("metering")
    incident = Incident("i1", Series.DAILY.value, IncidentKind.OUTAGE, NOW)
    parts.sync.incidents.store.open(incident, [job], 60.0)
    Heartbeats(parts.stores.redis).record_worker("made-up", WorkerHeartbeat("nightly@made-up", 1.0, 1.0))
    ConsentFlows(parts.stores.redis).start(ConsentFlow("enedis", browser="b" * 64))
    moments: dict[str, Any] = {"begun_on": NOW.date(), "created_at": NOW}
    meters = ("30001640000104",)
    request = ConnectionRequest(id="made-up", supplier="enedis", browser="b" * 64, usage_points=meters, **moments)
    parts.consent.requests.create(request)


def _secrets(parts: Parts, accounts: dict[str, str]) -> dict[str, Any]:
    """Make what lets somebody in, at the moment NOW, and return what its holder has."""
    database, sealer = parts.stores.registry.database, parts.access.sealer
    keys = AccessKeyTable(database, sealer, lambda: NOW)
    household = HouseholdTable(database, sealer, lambda: NOW).create({accounts["second"]: 1})
    MailAddressTable(database, sealer, parts.stores.keys.hashes, lambda: NOW).set(household.id, ADDRESS, "fr")
    totp = new_totp_key()
    operator = parts.access.operators.add(OPERATOR, PASSWORD, totp)
    parts.stores.registry.invitations = InvitationTable(database, parts.stores.keys.registry, lambda: NOW)
    inviter = Inviter(registry=parts.stores.registry, public_url="https://releve.example")
    _, link = inviter.invite_account(accounts["action_needed"], "operator")
    client, client_secret = parts.stores.registry.proxy_clients.create(
        "Stack", ["https://stack.example/"], "default", pkce=True
    )
    return {
        "household": household.id,
        "session": keys.create(KeyKind.HOUSEHOLD_SESSION, household.id, device="Firefox, Windows")[1],
        "recovery_code": keys.create(KeyKind.RECOVERY_CODE, household.id)[1],
        "operator": operator.id,
        "totp_key": totp,
        "invitation_link": link,
        "api_token": ApiTokenTable(database, lambda: NOW).create("made-up", ["read"], timedelta(days=30))[1],
        "proxy_client": [client.id, client_secret],
    }


def _statements(dialect: str) -> Iterator[str]:
    """Yield what creates the tables of the registry and of the measures."""
    for metadata in (METADATA, sql.METADATA):
        for table in metadata.sorted_tables:
            yield str(CreateTable(table).compile(dialect=_DIALECTS[dialect])).strip()
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                yield str(CreateIndex(index).compile(dialect=_DIALECTS[dialect]))
    yield from _AUDIT_TRIGGERS[dialect]
    yield "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY)"
    yield f"INSERT INTO alembic_version VALUES ('{migrations.newest_step()}')"


def _rows(database: Database, metadata: MetaData) -> dict[str, list[dict[str, Any]]]:
    return {table.name: _rows_of(database, table) for table in metadata.sorted_tables}


def _rows_of(database: Database, table: Table) -> list[dict[str, Any]]:
    with database.reading() as connection:
        rows = connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()
        return [{name: _to_json(value) for name, value in row.items()} for row in rows]


def _measures(parts: Parts, database: Database) -> dict[str, Any]:
    """Return the measures in the three forms in which a store has them."""
    documents = documents_of(
        parts.stores.measures, [account.id for account in parts.stores.registry.accounts.list_accounts()]
    )
    plain, packed = memory_measures(), packed_memory_measures()
    for store in (plain, packed):
        assert not any(store.write({Doctype(name): rows for name, rows in documents.items()}).values())
    return {
        "sql": _rows(database, sql.METADATA),
        "plain": {doctype.value: list(memory.documents.values()) for doctype, memory in plain.items()},
        "packed": {name: list(memory.documents.values()) for name, memory in packed_databases(packed).items()},
    }


def packed_databases(store: Any) -> dict[str, Any]:
    """Return the databases in memory of a packed store, by series or doctype."""
    of_packs = {series.value: memory for series, memory in store._databases.items()}
    return of_packs | {doctype.value: memory for doctype, memory in store._unpacked.items()}


def documents_of(store: Any, account_ids: list[str]) -> dict[str, list[Document]]:
    """Return what a reader gets of these accounts, by doctype, without revisions."""
    found: dict[str, list[Document]] = {}
    for account_id in account_ids:
        for doctype, rows in store.read(account_id, dict.fromkeys(Doctype, ALL_KEYS)).items():
            cleaned = [{name: value for name, value in row.items() if name != "_rev"} for row in rows]
            found.setdefault(doctype.value, []).extend(cleaned)
    return {name: rows for name, rows in found.items() if rows}


def _redis_keys(url: str) -> dict[str, dict[str, Any]]:
    with Redis.from_url(url) as redis:
        names = sorted(redis.scan_iter("releve:*"))
        return {name.decode(): {"ttl_s": redis.ttl(name), **_redis_value(redis, name)} for name in names}


def _redis_value(redis: Any, name: bytes) -> dict[str, Any]:
    kind = redis.type(name).decode()
    value: Any = {
        "string": lambda: redis.get(name),
        "hash": lambda: redis.hgetall(name),
        "list": lambda: redis.lrange(name, 0, -1),
        "set": lambda: sorted(redis.smembers(name)),
        "zset": lambda: dict(redis.zrange(name, 0, -1, withscores=True)),
    }[kind]()
    if kind == "string" and value.startswith(b"HYLL"):  # A HyperLogLog is no text.
        return {"type": "bytes", "value": base64.b64encode(value).decode()}
    return {"type": kind, "value": _decode(value)}


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return {_decode(key): _decode(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_decode(each) for each in value]
    return value.decode() if isinstance(value, bytes) else value


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, StrEnum):
        return value.value
    return value.isoformat() if isinstance(value, date) else value


def _to_text(content: dict[str, Any]) -> str:
    """Return JSON with one row, document or statement a line, so that a change of it can be read."""
    if not any(isinstance(value, dict | list) for value in content.values()):
        return json.dumps(content, ensure_ascii=False)
    parts = (f"{json.dumps(name)}: {_part(value)}" for name, value in content.items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _part(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(json.dumps(each, ensure_ascii=False) for each in value) + "\n]"
    if isinstance(value, dict) and any(isinstance(each, list) for each in value.values()):
        return _to_text(value).strip()
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    main(sys.argv[1])
