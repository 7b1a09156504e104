"""The check of the proxy's clients: those that keep the rules of 0.2.0 are named, with the command that changes it."""

from __future__ import annotations

from pathlib import Path

from tests.support.registries import opened_registry, prepare_registry
from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.ops.check_results import Level
from worker.ops.supplier_checks import check_proxy_clients
from worker.stores.registry.proxy import ProxyClientTable
from worker.stores.registry.tables import PROXY_CLIENTS


def test_without_a_registry_there_is_no_client(build_connections: BuildConnections, tmp_path: Path) -> None:
    assert_result(check_proxy_clients(build_connections()), Level.OK, "none")
    assert list(tmp_path.iterdir()) == []


def test_doctor_names_clients_that_keep_the_rules_of_before(
    build_connections: BuildConnections, tmp_path: Path
) -> None:
    prepare_registry(tmp_path)
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    with opened_registry(url) as registry:
        table = ProxyClientTable(registry.database)
        table.create("New", ["https://a.example/"], "default", pkce=False, numbers_in_redirect=True)
        old, gone = (table.create(name, ["https://a.example/"], "default", pkce=False)[0] for name in ("Old", "Gone"))
        registry.database.change(
            PROXY_CLIENTS.update().where(PROXY_CLIENTS.c.id.in_([old.id, gone.id])).values(strict=False)
        )
        table.revoke(gone.id)
        notes = list(check_proxy_clients(build_connections(registry_url=url)))
        assert_result(notes, Level.WARN, f"client {old.id} of Old", f"`releve access set-client {old.id}`")
        assert gone.id not in str(notes) and "of New" not in str(notes)
        table.set_ways(old.id, pkce=True, numbers_in_redirect=False)
        assert_result(check_proxy_clients(build_connections(registry_url=url)), Level.OK, "2 in force")
