"""The set-up of CouchDB: each step is done once, and only the workers' user gets access."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.contract.conftest import couch_databases
from tests.support.couchdb_users import new_user, user_url
from tests.support.real_couchdb import real_couchdb_url
from tests.support.waiting import until
from worker.domain.documents import ALL_KEYS
from worker.domain.series import Doctype
from worker.errors import StoreUnavailable
from worker.stores.measures import couchdb_user, open_couchdb, open_measures
from worker.stores.measures.couchdb import (
    SYSTEM_DATABASES,
    CouchServer,
    UserRefused,
    create_system_database,
    grant_access,
    limit_revisions,
    set_up_user,
)

SOON_S = 5.0
DAY = {"_id": "acc:2024-01-01", "load": 0.5}


@pytest.fixture
def admin(couchdb_url: str) -> CouchServer:
    server = open_couchdb(couchdb_url, 30)
    assert server is not None
    for name in SYSTEM_DATABASES:
        create_system_database(server, name)
    return server


@pytest.fixture
def name(admin: CouchServer, couchdb_url: str) -> Iterator[str]:
    """A new user's name; the user is deleted afterwards."""
    name = f"t{uuid.uuid4().hex}"
    with new_user(couchdb_url, name):
        yield name


def as_user(couchdb_url: str, name: str, password: str) -> CouchServer:
    server = open_couchdb(user_url(couchdb_url, name, password), 30)
    assert server is not None
    return server


def may_log_in(user: CouchServer) -> bool:
    try:
        return user.request("GET", "_session").ok
    except UserRefused:
        return False


@pytest.mark.parametrize("database", SYSTEM_DATABASES)
def test_a_system_database_is_made_once(admin: CouchServer, database: str) -> None:
    assert create_system_database(admin, database) == "there"
    assert admin.request("GET", database).ok


def test_a_user_is_made_once_and_gets_a_new_password_where_it_has_another(
    admin: CouchServer, couchdb_url: str, name: str
) -> None:
    old, new = as_user(couchdb_url, name, "old-password"), as_user(couchdb_url, name, "new-password")
    assert set_up_user(admin, old, name, "old-password") == "made"
    assert set_up_user(admin, old, name, "old-password") == "there"
    assert set_up_user(admin, new, name, "new-password") == "changed"
    # CouchDB keeps logins in mind, and hears of the new password a moment later.
    until(lambda: may_log_in(new), "the new password", SOON_S)
    until(lambda: not may_log_in(old), "the end of the old password", SOON_S)


def test_a_user_is_let_in_once(admin: CouchServer, couchdb_url: str, name: str) -> None:
    user = as_user(couchdb_url, name, "password")
    set_up_user(admin, user, name, "password")
    with couch_databases(couchdb_url) as (url, prefix):
        assert all(open_measures(url, prefix=prefix).prepare().values())
        database = f"{prefix}com-grandlyon-enedis-day"
        assert grant_access(admin, database, name) == "made"
        assert grant_access(admin, database, name) == "there"
        assert user.request("GET", database, "_all_docs").ok


def test_a_member_who_writes_to_a_lost_database_hears_that_it_is_missing(
    admin: CouchServer, couchdb_url: str, name: str
) -> None:
    """It was told to check user and password."""
    with couch_databases(couchdb_url) as (url, prefix):
        user = user_url(couchdb_url, name, "password")
        set_up_user(admin, as_user(couchdb_url, name, "password"), name, "password")
        open_measures(url, prefix=prefix).prepare()
        database = f"{prefix}com-grandlyon-enedis-day"
        grant_access(admin, database, name)
        measures = open_measures(user, prefix=prefix)
        assert measures.write({Doctype.DAY: [DAY]}) == {Doctype.DAY: []}
        admin.request("DELETE", database)
        assert measures.read("acc", {Doctype.DAY: ALL_KEYS}) == {Doctype.DAY: []}
        for known in (True, False):  # Whether the process has seen that it is missing.
            if real_couchdb_url() is None:  # The stand-in lets everybody create databases.
                continue
            store = measures if known else open_measures(user, prefix=prefix)
            with pytest.raises(StoreUnavailable, match=f"{database} is missing.*run `releve migrate`"):
                store.write({Doctype.DAY: [DAY]})
        open_measures(url, prefix=prefix).prepare()
        grant_access(admin, database, name)
        assert measures.write({Doctype.DAY: [DAY]}) == {Doctype.DAY: []}


def test_a_limit_of_revisions_is_set_once_and_left_where_the_server_has_none(
    admin: CouchServer, couchdb_url: str
) -> None:
    with couch_databases(couchdb_url) as (url, prefix):
        open_measures(url, prefix=prefix).prepare()
        database = f"{prefix}com-grandlyon-enedis-year"
        is_real = real_couchdb_url() is not None
        assert limit_revisions(admin, database, 50) == ("changed" if is_real else "left")
        assert limit_revisions(admin, database, 50) == ("there" if is_real else "left")
        if is_real:
            assert admin.request("GET", database, "_revs_limit").body == 50


def test_user_and_password_are_read_from_the_url() -> None:
    assert couchdb_user("couchdb+http://releve:p%2Fw@couchdb:5984/") == ("releve", "p/w")
    assert couchdb_user("couchdb+http://couchdb:5984/") is None
    assert open_couchdb("sqlite:///measures.db", 30) is None
