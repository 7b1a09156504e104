"""Grants by hand: what clients of the proxy may read is listed and ended, and the end is recorded."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.grants import give_grant
from tests.support.installation import Installation
from tests.support.registries import METER, OTHER_METER, add_ready
from worker.domain.account import DEFAULT_TENANT
from worker.domain.consents import EndReason


@pytest.fixture
def cli(installation: Installation) -> Installation:
    return installation.but(preset="enedis-v5")


def grants(cli: Installation, *words: str) -> list[dict[str, Any]]:
    return list(cli.query_rows("access", "list", "--kind", "grant", *words))


def test_o5_grants_are_listed_by_account_and_ended_by_their_id(cli: Installation) -> None:
    assert cli.releve("access", "list", "--kind", "grant").out == "no grants\n"
    with cli.open() as parts:
        account = add_ready(parts.stores.registry, METER)
        client, _ = parts.stores.registry.proxy_clients.create(
            "My Cozy", ["https://a.example/"], DEFAULT_TENANT, pkce=True
        )
        give_grant(parts, client.id, METER)
        give_grant(parts, client.id, OTHER_METER)
        give_grant(parts, client.id, METER, days=-1)  # Its consent is over.
    both, (mine,) = grants(cli), grants(cli, "--account", account)
    assert len(both) == 2 and mine in both
    assert (mine["client"], mine["client_id"], mine["last_used_on"]) == ("My Cozy", client.id, None)
    text = cli.releve("access", "list", "--kind", "grant").out
    assert mine["id"] in text and "My Cozy" in text and "meter" not in mine
    cli.releve("access", "remove", "grant", mine["id"])
    assert [row["id"] for row in grants(cli)] == [row["id"] for row in both if row != mine]
    assert "no grant has this id" in cli.releve("access", "remove", "grant", "x", code=1).error_line
    with cli.open() as parts:
        (ended,) = [one for one in parts.stores.registry.proxy_grants.list_grants() if one.ended_at is not None]
        assert (ended.id, ended.end_reason) == (mine["id"], EndReason.OPERATOR_ENDED)
    trail = cli.query_rows("audit", "--action", "grant.end")
    assert [(row["subject"], row["outcome"] == "ok") for row in trail] == [("x", False), (mine["id"], True)]
