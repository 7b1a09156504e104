"""The audit log on SQLite and PostgreSQL: appended, read newest first, and kept by the database itself (L3)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import DatabaseError

from tests.support.registries import METER, add_ready
from worker.domain.audit_entry import AUDIT_KEPT, Actor, ActorKind, AuditAction, AuditEntry, AuditFilter, new_entry
from worker.stores.database import Database
from worker.stores.registry import Registry
from worker.stores.registry.audit import AuditTable

EVERYTHING = AuditFilter()


def entry_at(at: datetime, address: str | None = None, **facts: str) -> AuditEntry:
    return new_entry(at, Actor(ActorKind.TOKEN, "k3q7d0fr2mxx", address), AuditAction.ACCOUNT_PAUSE, **facts)


@pytest.fixture
def audit(registry: Registry) -> AuditTable:
    return AuditTable(registry.database)


def refused(database: Database, statement: str) -> bool:
    """Return whether the database refuses a statement, and says why."""
    with pytest.raises(DatabaseError) as error, database.writing() as connection:
        connection.exec_driver_sql(statement)
    return "append-only" in str(error.value.orig)


def check_kept(database: Database) -> None:
    """Check that the database refuses to change entries, and to delete those of the last 400 days."""
    audit, now = AuditTable(database), datetime.now(UTC)
    young, old = entry_at(now - AUDIT_KEPT + timedelta(minutes=5)), entry_at(now - AUDIT_KEPT - timedelta(minutes=5))
    for entry in (young, old, entry_at(now)):
        audit.append(entry)
    assert refused(database, "UPDATE audit_log SET outcome = 'ok'")
    assert refused(database, f"UPDATE audit_log SET actor = 'nobody' WHERE id = '{old.id}'")
    assert refused(database, "DELETE FROM audit_log")
    assert refused(database, f"DELETE FROM audit_log WHERE id = '{young.id}'")
    assert len(audit.page(EVERYTHING, 10)) == 3
    assert audit.delete_before(now - AUDIT_KEPT) == 1
    assert old.id not in [entry.id for entry in audit.page(EVERYTHING, 10)]


def test_l3_a_new_database_changes_no_entry_and_deletes_none_of_the_last_400_days(registry: Registry) -> None:
    check_kept(registry.database)


@pytest.mark.sockets
@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)  # SQLite has no TRUNCATE.
def test_l3_the_whole_log_is_not_emptied_at_once(registry: Registry) -> None:
    assert refused(registry.database, "TRUNCATE audit_log")


def test_entries_are_read_newest_first_page_by_page(audit: AuditTable) -> None:
    now = datetime.now(UTC)
    entries = [audit.append(entry_at(now - timedelta(seconds=age))) for age in range(5)]
    first = audit.page(EVERYTHING, 2)
    assert first == entries[:2]
    assert audit.page(EVERYTHING, 10, before=first[-1].id) == entries[2:]


def test_an_entry_is_read_as_it_was_written(audit: AuditTable) -> None:
    entry = entry_at(
        datetime.now(UTC), outcome="unknown_account", tenant="t", account_id="a1", subject="s", address="192.0.2.1"
    )
    audit.append(entry)
    assert audit.page(EVERYTHING, 10) == [entry]


def test_entries_are_found_by_account_actor_action_tenant_and_time(audit: AuditTable) -> None:
    now = datetime.now(UTC)
    ours = audit.append(entry_at(now, account_id="a1", tenant="t"))
    yesterday = now - timedelta(days=1)
    theirs = audit.append(
        new_entry(yesterday, Actor(ActorKind.OPERATOR, "anna"), AuditAction.ACCOUNT_ERASE, account_id="a2")
    )
    for wanted, found in (
        (AuditFilter(account_id="a1"), [ours]),
        (AuditFilter(actor="anna"), [theirs]),
        (AuditFilter(actor="token"), [ours]),
        (AuditFilter(action="account.erase"), [theirs]),
        (AuditFilter(tenant="t"), [ours]),
        (AuditFilter(since=now), [ours]),
        (AuditFilter(until=now), [theirs]),
        (AuditFilter(account_id="a1", actor="anna"), []),
    ):
        assert audit.page(wanted, 10) == found, wanted


def test_an_entry_belongs_to_the_tenant_of_its_account(registry: Registry, audit: AuditTable) -> None:
    account_id, now = add_ready(registry), datetime.now(UTC)
    assert audit.append(entry_at(now, account_id=account_id)).tenant == "default"
    assert audit.append(entry_at(now, account_id="a1")).tenant is None
    # What a program tries stays with its own service, whatever account it names.
    foreign = replace(entry_at(now, account_id=account_id), tenant="kilowatt")
    assert audit.append(foreign).tenant == "kilowatt"


@pytest.mark.parametrize("typed", [METER, "GI000456", "gi000456", "3000-1640-0000-11", "jean.dupont@example.org", ""])
def test_what_may_be_a_meter_or_a_name_is_not_kept(typed: str) -> None:
    entry = entry_at(datetime.now(UTC), account_id=typed, subject=typed)
    assert (entry.account_id, entry.subject) == (None, None)
