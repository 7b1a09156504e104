"""Checks of the supplier's token server, without a registry."""

from __future__ import annotations

import pytest

from tests.support.canned_server import answer, canned_server
from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.errors import WorkerError
from worker.ops.health.results import Level
from worker.ops.health.supplier import check_supplier


def test_a_user_token_cannot_be_had_without_the_user(build_connections: BuildConnections) -> None:
    assert_result(check_supplier(build_connections(preset="enedis-v4")), Level.OK, "a token for each account")


def test_refused_credentials_are_told(build_connections: BuildConnections, redis_url: str) -> None:
    refusal = answer(401, {"error": "invalid_client", "error_description": "no such client"})
    with canned_server(*[refusal] * 3) as server:
        connections = build_connections(enedis_url=server.url, redis_url=redis_url, preset="enedis-v5")
        connections.redis.flushdb()
        with pytest.raises(WorkerError, match="RELEVE_ENEDIS_CLIENT_ID"):
            list(check_supplier(connections))
