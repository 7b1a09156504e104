"""The check of API tokens: those that end soon, and those of before that have no end (L8)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from tests.support.registries import opened_registry, prepare_registry
from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.domain.sessions import Scope
from worker.ops.check_results import Level
from worker.ops.supplier_checks import check_api_tokens
from worker.stores.registry.api_tokens import ApiTokenTable

READING = [Scope.READ_ACCOUNTS]


def test_without_a_registry_there_is_no_token(build_connections: BuildConnections, tmp_path: Path) -> None:
    assert_result(check_api_tokens(build_connections()), Level.OK, "none yet")
    assert list(tmp_path.iterdir()) == []


def test_l8_doctor_names_the_tokens_that_end_soon_and_those_without_an_end(
    build_connections: BuildConnections, tmp_path: Path
) -> None:
    prepare_registry(tmp_path)
    url = f"sqlite:///{tmp_path / 'registry.db'}"
    with opened_registry(url) as registry:
        tokens = ApiTokenTable(registry.database)
        tokens.create("later", READING, timedelta(days=15))
        assert_result(check_api_tokens(build_connections(registry_url=url)), Level.OK, "1 open")
        soon, text = tokens.create("dashboard", READING, timedelta(days=13))
        endless, _ = tokens.create("of before", READING)
        assert soon.expires_at is not None
        words = (
            f"token {soon.id} of dashboard expires on {soon.expires_at.year}-",
            f"token {endless.id} of of before, created on",
            "never expires",
            "`releve access add-token`",
        )
        notes = list(check_api_tokens(build_connections(registry_url=url)))
        assert_result(notes, Level.WARN, *words)
        assert text not in str(notes)
