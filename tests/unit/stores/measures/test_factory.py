"""URLs of measure stores: a good one opens five stores, a bad one is refused in one line without its password."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from worker.domain.series import Doctype
from worker.errors import StoreUnavailable
from worker.stores.measures import open_measures

DAYS = {Doctype.DAY: ("", "~")}


@pytest.mark.parametrize(
    "url, place",
    [
        ("couchdb+http://user:s3cret@couch:5984/", "http://couch:5984/com-grandlyon-enedis-day"),
        ("couchdb+https://couch.example.org", "https://couch.example.org/com-grandlyon-enedis-day"),
        ("couchdb+http://user:s3cret%2F%40@[::1]:5984/behind/", "http://[::1]:5984/behind/com-grandlyon-enedis-day"),
        ("postgresql://user:s3cret@db:5433/measures", "postgresql at db:5433, database measures"),
        (
            "postgresql+psycopg://user:s3cret@db/measures?application_name=s3cret",
            "postgresql at db:5432",
        ),
        ("sqlite:///measures.db", "sqlite file measures.db"),
    ],
)
def test_a_good_url_opens_a_store_for_each_doctype_and_connects_to_nothing(url: str, place: str) -> None:
    measures = open_measures(url)
    assert place in repr(measures)
    assert "s3cret" not in repr(measures) + repr(vars(measures))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "measures.db",
        "http://user:s3cret@couch:5984/",
        "couchdb://user:s3cret@couch:5984/",
        "couchdb+ftp://user:s3cret@couch/",
        "couchdb+http://",
        "couchdb+http://user:s3cret@couch:port/",
        "couchdb+http://user:s3cret/half@couch:5984/",
        "couchdb+http://user:s3cret#half@couch:5984/",
        "couchdb+http://user:s3cret?half@couch:5984/",
        "couchdb+http://user:s3cret@[::1:5984/",
        "couchdb+http://user:s3cret@couch:5984/?x=1",
        "sqlite://",
        "mysql://user:s3cret@db/measures",
    ],
)
def test_a_bad_url_is_refused_in_one_line_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="measures URL") as caught:
        open_measures(url)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_packs_in_sql_are_refused() -> None:
    with pytest.raises(ValueError, match="RELEVE_LAYOUT=packed needs CouchDB"):
        open_measures("sqlite:///measures.db", layout="packed")


def test_a_prefix_that_no_database_may_have_is_refused() -> None:
    with pytest.raises(ValueError, match="database"):
        open_measures("couchdb+http://couch/", prefix="Relève")


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "measures.db").write_text("not a database, but long enough to look at" * 50)
    with (
        closing(open_measures(f"sqlite:///{tmp_path}/measures.db")) as store,
        pytest.raises(StoreUnavailable, match=r"not a database.*RELEVE_MEASURES_URL"),
    ):
        store.read("acc", DAYS)


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    with closing(open_measures(f"sqlite:///{tmp_path}/measures.db")) as store:
        store.read("acc", DAYS)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
