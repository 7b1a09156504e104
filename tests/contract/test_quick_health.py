"""The quick health check asks the fleet's own servers: PostgreSQL for the registry, CouchDB for each doctype."""

from __future__ import annotations

import pytest

from worker.ops.quick_health import _is_store_good
from worker.stores.measures import open_measures


def test_a_registry_is_good_at_this_programs_step_alone(
    url: str, empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url.startswith("sqlite:"):
        pytest.skip("the file of the data folder: tests/unit/ops/health/test_quick_health.py")
    monkeypatch.setenv("RELEVE_REGISTRY_URL", url)
    assert _is_store_good("registry")
    monkeypatch.setenv("RELEVE_REGISTRY_URL", empty_url)
    with pytest.raises(Exception, match="alembic_version"):
        _is_store_good("registry")


@pytest.mark.sockets
@pytest.mark.couchdb
def test_measures_are_good_with_all_databases_of_this_layout(couchdb_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = couchdb_url if couchdb_url.startswith("couchdb+") else f"couchdb+{couchdb_url}"
    monkeypatch.setenv("RELEVE_MEASURES_URL", url)
    assert not _is_store_good("measures")
    open_measures(url).prepare()
    assert _is_store_good("measures")
    monkeypatch.setenv("RELEVE_LAYOUT", "packed")
    assert not _is_store_good("measures"), "its databases are missing"
