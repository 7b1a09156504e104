"""A registry with rows in every table, and the content of its backup."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import insert

from tests.support.factories import window_job
from tests.support.fakes import ByDoctype
from tests.support.installation import Installation, new_installation
from tests.support.parts import Parts
from tests.support.registries import METER, NOW, OTHER_METER, record_consent
from worker.domain.access_right import Right, RightState
from worker.domain.account import DEFAULT_TENANT, AccountState
from worker.domain.answers import Deviation, DeviationKind, RawAnswer
from worker.domain.audit_entry import Actor, ActorKind, AuditAction, new_entry
from worker.domain.completeness import COMPLETE, DayLedger
from worker.domain.consents import ConsentKind, Proof
from worker.domain.documents import Entry, to_document
from worker.domain.messages import ChangedPart
from worker.domain.schedule import FleetPolicy
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, DateWindow
from worker.errors import ConsentRevoked, LoginFailed
from worker.ops.backup_format import Archive
from worker.runtime.consent_parts import build_inviter, erase
from worker.stores.encryption import Purpose, Sealer, generate_key
from worker.stores.registry import tables
from worker.stores.registry.account_details import PRICES
from worker.stores.registry.accounts import NewConsent
from worker.stores.registry.dump import TABLES, read_rows
from worker.stores.registry.outcomes import HourFreshness
from worker.stores.registry.supplier_answers import Correction

KEY, BACKUP_KEY, ERASURE_KEY = generate_key(), generate_key(), "k" * 40
SEALER: Final = Sealer([BACKUP_KEY], Purpose.BACKUP)
PAUSED_METER, REMOVED_METER, INVITED_METER = "30001640000033", "30001640000044", "30001640000099"
# These are more documents than one page has.
DAYS = [f"{year}-{month:02}-{day:02}" for year in (2023, 2024) for month in range(1, 13) for day in range(1, 29)]
# The columns that a restore changes, because it ends rights.
ENDED_COLUMNS: Final = {
    "accounts": {"session_number"},
    "api_tokens": {"revoked_at"},
    "invitations": {"revoked_at", "sealed_usage_point"},
    "proxy_clients": {"revoked_at"},
    "proxy_grants": {"ended_at", "end_reason"},
}

Rows = dict[str, list[dict[str, Any]]]


def installation_with_keys(folder: Path, redis_url: str, ledger: Path, **settings: str) -> Installation:
    """Return an installation with the keys of this module and the ledger of erasures at ``ledger``."""
    keys = {"token_keys": KEY, "backup_keys": BACKUP_KEY, "erasure_keys": ERASURE_KEY}
    folder.mkdir(exist_ok=True)
    return new_installation(folder, redis_url, **{**keys, "ledger_file": str(ledger), **settings})


def fill(parts: Parts, days: Sequence[str] = DAYS) -> dict[str, str]:
    """Write rows to every table: two accounts of one consent, a paused account, a removed account."""
    consent = NewConsent(date(2024, 7, 25), date(2025, 7, 24), '{"access_token": "a"}', NOW + timedelta(hours=3))
    both = parts.stores.registry.accounts.add_all("enedis", [METER, OTHER_METER], NOW, consent)
    paused, _ = parts.stores.registry.accounts.add("enedis", PAUSED_METER, NOW, token_needed=False)
    removed, _ = parts.stores.registry.accounts.add("enedis", REMOVED_METER, NOW, token_needed=False)
    first, second = both[0][0].id, both[1][0].id
    parts.stores.registry.accounts.set_state(paused.id, AccountState.PAUSED, now=NOW)
    record_consent(
        parts.stores.registry.consents,
        first,
        ConsentKind.AUTORISATION,
        NOW,
        reference="4711",
        consent_until=date(2025, 7, 24),
    )
    window = DateWindow(NOW.date() - timedelta(days=30), NOW.date())
    for error in (LoginFailed("no"), ConsentRevoked("gone")):
        parts.sync.results.record_failure(window_job(window, Series.DAILY, first), error)
        parts.stores.registry.accounts.set_state(first, AccountState.READY, now=NOW)
    record_days(parts, first)
    for account_id in (first, second, removed.id):
        parts.stores.registry.account_details.save(account_id, PRICES, {"option": "base"})
    parts.stores.registry.public_files.save("Option_Base.csv", "DATE_DEBUT;DATE_FIN", NOW.date())
    parts.stores.registry.tenants.save_prices(DEFAULT_TENANT, {"option": "hphc"})
    parts.stores.registry.audit.append(
        new_entry(NOW, Actor(ActorKind.COMMAND, "anna"), AuditAction.ACCOUNT_PAUSE, account_id=paused.id)
    )
    parts.stores.registry.api_tokens.create("dashboard", ["read"], timedelta(days=30))
    build_inviter(parts.stores).invite_meter("enedis", INVITED_METER, "operator")
    parts.stores.registry.policies.apply(FleetPolicy(1, 3), NOW.date(), NOW, {"accounts": 12_000})
    insert_services(parts)
    for account_id in (first, paused.id, removed.id):
        written = [to_document(account_id, Doctype.DAY, Entry(key, 1_234_000), NOW) for key in days]
        written_curve = [to_document(account_id, Doctype.MINUTE, Entry("2024-07-24T10:00Z", 1, 10), NOW)]
        assert (
            ByDoctype(parts.stores.measures)[Doctype.DAY].write(written)
            == ByDoctype(parts.stores.measures)[Doctype.MINUTE].write(written_curve)
            == []
        )
    parts.stores.registry.outbox.enqueue_all(
        parts.stores.registry.outputs.insert("webhook", {"url": "https://service.example"}, NOW)
    )
    with parts.stores.registry.outbox.noting(first, Series.LOAD_CURVE) as note:
        note(ChangedPart(NOW, NOW, frozenset({"2024-07-24T10:30Z"})))
    erase(parts.stores, removed.id)
    return {"first": first, "second": second, "paused": paused.id, "removed": removed.id}


def record_days(parts: Parts, account_id: str) -> None:
    parts.stores.registry.completeness.replace_if_unchanged(
        account_id, Series.DAILY, DayLedger(), DayLedger(NOW.date(), [COMPLETE])
    )
    parts.stores.registry.completeness.save_freshness(HourFreshness(NOW, Series.DAILY, 3, 2))
    change = Correction(account_id, Doctype.DAY, DAYS[0], 1_000, 2_000, NOW, NOW, "r1")
    parts.stores.registry.corrections.record([change])
    # As 0.2.0 recorded one.
    parts.stores.registry.database.change(insert(tables.CORRECTIONS).values(asdict(replace(change, key=DAYS[1]))))
    parts.stores.registry.raw_answers.record_answer(
        account_id, RawAnswer(Series.DAILY, NOW, DateWindow(NOW.date(), NOW.date() + ONE_DAY), [])
    )
    parts.stores.registry.quarantine.record(
        Deviation(DeviationKind.FIELD, "meter_reading.colour"), 1, "enedis-v5", NOW, lambda _: []
    )


def insert_services(parts: Parts) -> None:
    """Insert a tenant, a client of the proxy with a grant, and the record of an erased meter."""
    rows: Mapping[Any, dict[str, Any]] = {
        tables.TENANTS: {"id": "heating", "title": "Heating", "created_at": NOW},
        tables.READING_TRIES: {"meter": "r" * 64, "day": date(2024, 7, 24), "tries": 1, "wrong": 2},
        tables.ERASURES: {"meter": "e" * 64, "erased_at": NOW, "forget_on": date(2027, 7, 24)},
        tables.PROXY_CLIENTS: {
            "id": "stack", "name": "Stack", "hash": "c" * 64, "redirect_uris": "https://stack.example/back",
            "pkce": True, "created_at": NOW,
        },
        tables.PROXY_GRANTS: {
            "id": "grant", "client_id": "stack", "supplier": "enedis", "meter": "d" * 64, "proof": Proof.INVITED,
            "granted_at": NOW, "access_hash": "a" * 64, "access_expires_at": NOW, "end_reason": "",
        },
        tables.PROXY_REFRESH_TOKENS: {"hash": "b" * 64, "grant_id": "grant", "issued_at": NOW},
    }  # fmt: skip
    right = Right(
        id="right", supplier="grdf", tenant="default", meter="12345678901234", supplier_id="uuid-1",
        state=RightState.PENDING, state_since=NOW, browser="b" * 64, begun_at=NOW, declared_at=NOW,
    )  # fmt: skip
    with parts.stores.registry.database.writing() as connection:
        for table, row in rows.items():
            connection.execute(insert(table).values(**row))
        parts.stores.registry.rights.insert(connection, right)


def registry_rows(parts: Parts) -> Rows:
    with parts.stores.registry.database.snapshot() as connection:
        return {table: list(read_rows(connection, table)) for table in TABLES}


def without_ended(rows: Rows) -> Rows:
    """Return the rows without the columns that a restore changes."""
    return {
        table: [
            {name: value for name, value in row.items() if name not in ENDED_COLUMNS.get(table, ())} for row in of_table
        ]
        for table, of_table in rows.items()
    }


def documents(parts: Parts) -> list[dict[str, Any]]:
    """Return all stored documents of the accounts that are not removed, without revisions."""
    without_revisions = [
        {name: value for name, value in document.items() if name != "_rev"}
        for account in parts.stores.registry.accounts.list_accounts()
        for period in Doctype
        for document in ByDoctype(parts.stores.measures)[period].read(account.id, "0", "~")
    ]
    return sorted(without_revisions, key=lambda document: (document["_id"], document["year"]))


def days_of(parts: Parts, account_id: str) -> list[Any]:
    return list(ByDoctype(parts.stores.measures)[Doctype.DAY].read(account_id, "0", "~"))


# -- Archives


def read_manifest(path: Path) -> Mapping[str, Any]:
    with Archive.open(path, SEALER) as archive:
        return archive.manifest


def read_members(path: Path) -> dict[str, list[Any]]:
    """Return the rows of each member of a whole archive."""
    with Archive.open(path, SEALER) as archive:
        archive.check()
        return {name: list(archive.rows(name)) for name in archive.manifest["members"]}


def members_in_zip(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    """Write the members as a ZIP file, whose own checksums are then right."""
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


def change_header(path: Path, **changes: object) -> None:
    members = members_in_zip(path)
    header = json.loads(members["releve.json"]) | changes
    write_zip(path, {**members, "releve.json": json.dumps(header).encode()})
