"""Databases of a test's own on a CouchDB that others use too: each sees an empty server, and cleans up after itself."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.support.real_couchdb import database_names, own_databases, whole_server
from worker.domain.documents import ALL_KEYS
from worker.domain.series import Doctype
from worker.stores.measures import open_measures

DAY = {"_id": "acc:2024-01-01", "load": 0.5}


def test_two_users_of_one_server_meet_neither_each_other_nor_what_is_there(empty_couchdb_url: str) -> None:
    with closing(open_measures(empty_couchdb_url)) as theirs:
        theirs.write({Doctype.DAY: [DAY]})
    with own_databases(empty_couchdb_url) as first, own_databases(empty_couchdb_url) as second:
        assert database_names(first) == []
        with closing(open_measures(first)) as mine, closing(open_measures(second)) as other:
            assert mine.read("acc", {Doctype.DAY: ALL_KEYS}) == {Doctype.DAY: []}
            assert mine.write({Doctype.DAY: [DAY]}) == {Doctype.DAY: []}
            assert len(mine.read("acc", {Doctype.DAY: ALL_KEYS})[Doctype.DAY]) == 1
            assert other.read("acc", {Doctype.DAY: ALL_KEYS}) == {Doctype.DAY: []}
        assert database_names(first) == ["com-grandlyon-enedis-day"]
        assert len(database_names(empty_couchdb_url)) == 2
    assert database_names(empty_couchdb_url) == ["com-grandlyon-enedis-day"]


def test_a_server_that_holds_anything_is_not_taken_whole(empty_couchdb_url: str) -> None:
    with closing(open_measures(empty_couchdb_url)) as measures:
        measures.write({Doctype.DAY: [DAY]})
    with pytest.raises(RuntimeError, match="com-grandlyon-enedis-day"), whole_server(empty_couchdb_url):
        pass
    assert database_names(empty_couchdb_url) == ["com-grandlyon-enedis-day"]
