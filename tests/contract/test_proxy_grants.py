"""Clients and grants of the consent proxy, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest

from tests.support.registries import all_rows
from tests.support.sql_statements import changes_something, watch_statements
from worker.domain.consents import EndReason, Proof
from worker.domain.oauth_proxy import ACCESS_LIFE, ProxyClient
from worker.stores.registry import Registry
from worker.stores.registry.proxy import (
    NewGrant,
    ProxyClientTable,
    ProxyGrantTable,
    ProxyTokens,
    UnknownProxyClient,
    hash_of_code,
)

ADDRESSES = ("https://a.example/back", "https://b.example/back?x=y")
DIGEST, OTHER_DIGEST = "1" * 64, "2" * 64
TODAY, UNTIL = date(2024, 7, 25), date(2027, 7, 24)


@dataclass
class Tables:
    """The two tables with a clock that tests set."""

    registry: Registry
    now: datetime = datetime(2024, 7, 25, 7, tzinfo=UTC)
    clients: ProxyClientTable = field(init=False)
    grants: ProxyGrantTable = field(init=False)

    def __post_init__(self) -> None:
        self.clients = ProxyClientTable(self.registry.database, lambda: self.now)
        self.grants = ProxyGrantTable(self.registry.database, lambda: self.now)

    def client(self) -> tuple[ProxyClient, str]:
        return self.clients.create("Stack", ADDRESSES, "default", pkce=True)

    def grant(self, client_id: str, meter: str = DIGEST, until: date | None = UNTIL) -> ProxyTokens:
        with self.registry.database.writing() as connection:
            return self.grants.create(connection, self.describe(client_id, meter, until))

    def describe(
        self, client_id: str, meter: str = DIGEST, until: date | None = UNTIL, *, code: str | None = None
    ) -> NewGrant:
        return NewGrant(
            client_id=client_id,
            supplier="enedis",
            meter=meter,
            proof=Proof.INVITED,
            vouched_by="cli:a",
            granted_at=self.now,
            consent_until=until,
            code_hash=hash_of_code(code or uuid4().hex, None),
        )

    def bind(self, client_id: str, refresh_token: str, *meters: str) -> None:
        """Store what a client has a holder's own token for."""
        with self.registry.database.writing() as connection:
            for meter in meters:
                self.grants.bind(connection, self.describe(client_id, meter, code=refresh_token), refresh_token)

    def is_in_force(self, tokens: ProxyTokens) -> bool:
        grant = self.grants.find_by_access_token(tokens.access)
        return grant is not None and not grant.is_over(TODAY)


@pytest.fixture
def tables(registry: Registry) -> Tables:
    return Tables(registry)


def test_a_client_is_known_by_its_id_and_secret(tables: Tables) -> None:
    client, secret = tables.client()
    other, other_secret = tables.client()
    assert client.redirect_uris == ADDRESSES and client.pkce and client.tenant == "default"
    assert tables.clients.authenticate(client.id, secret) == client == tables.clients.find(client.id)
    for client_id, text in ((client.id, other_secret), (other.id, secret), (client.id, ""), ("", secret), ("é", "é")):
        assert tables.clients.authenticate(client_id, text) is None
    assert {one.id for one in tables.clients.list_clients()} == {client.id, other.id}
    assert secret not in str(all_rows(tables.registry.database))


def test_a_revoked_client_opens_nothing_and_its_grants_end(tables: Tables) -> None:
    client, secret = tables.client()
    before, other = tables.grant(client.id), tables.grant(tables.client()[0].id)
    revoked = tables.clients.revoke(client.id)
    assert revoked.revoked_at == tables.now
    after = tables.grant(client.id)  # A code that was redeemed at the same moment.
    tables.now += timedelta(hours=1) / 2
    assert tables.clients.revoke(client.id).revoked_at == revoked.revoked_at
    assert tables.clients.authenticate(client.id, secret) is None and tables.clients.find(client.id) is None
    assert not tables.is_in_force(before) and not tables.is_in_force(after) and tables.is_in_force(other)
    assert tables.grants.rotate(client.id, after.refresh, TODAY) is None
    assert tables.grants.list_grants(client.id)[0].end_reason == EndReason.CLIENT_REVOKED
    with pytest.raises(UnknownProxyClient, match="releve access list --kind client"):
        tables.clients.revoke(secret)


def test_tokens_are_kept_as_hashes_and_shown_nowhere(tables: Tables) -> None:
    tokens = tables.grant(tables.client()[0].id)
    rows = str(all_rows(tables.registry.database))
    assert tokens.access.split("_", 2)[2] not in rows and tokens.refresh not in rows
    assert repr(tokens) == "ProxyTokens()"


def test_an_access_token_lives_an_hour_and_until_the_next(tables: Tables) -> None:
    client, _ = tables.client()
    first = tables.grant(client.id)
    tables.now += ACCESS_LIFE - timedelta(seconds=1)
    assert tables.is_in_force(first)
    tables.now += timedelta(seconds=1)
    assert not tables.is_in_force(first)
    second = tables.grants.rotate(client.id, first.refresh, TODAY)
    assert second is not None and tables.is_in_force(second)
    third = tables.grants.rotate(client.id, second.refresh, TODAY)
    assert third is not None and tables.is_in_force(third) and not tables.is_in_force(second)


def test_a_refresh_token_that_comes_again_ends_its_grant_alone(tables: Tables) -> None:
    client, _ = tables.client()
    first, other = tables.grant(client.id), tables.grant(client.id)
    second = tables.grants.rotate(client.id, first.refresh, TODAY)
    assert second is not None and tables.grants.rotate(client.id, first.refresh, TODAY) is None
    assert not tables.is_in_force(second) and tables.is_in_force(other)
    assert tables.grants.rotate(client.id, second.refresh, TODAY) is None
    assert {grant.end_reason for grant in tables.grants.list_grants(client.id)} == {"", EndReason.TOKEN_REUSED}


def test_of_many_at_once_one_gets_the_next_token_and_the_others_end_the_grant(tables: Tables) -> None:
    client, _ = tables.client()
    first = tables.grant(client.id)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: tables.grants.rotate(client.id, first.refresh, TODAY), range(4)))
    (second,) = [tokens for tokens in results if tokens is not None]
    assert not tables.is_in_force(second)


def test_what_is_no_refresh_token_of_the_client_is_refused_and_spoils_nothing(tables: Tables) -> None:
    client, _ = tables.client()
    tokens, other = tables.grant(client.id), tables.client()[0]
    invented = f"{tokens.refresh[:-43]}{'a' * 43}"
    assert tables.grants.rotate(other.id, tokens.refresh, TODAY) is None
    for text in ("", "anything", tokens.access, invented):
        assert tables.grants.rotate(client.id, text, TODAY) is None
    assert tables.grants.rotate(client.id, tokens.refresh, UNTIL + timedelta(days=1)) is None  # The consent is over.
    assert tables.grants.rotate(client.id, tokens.refresh, UNTIL) is not None


def test_the_grants_of_a_meter_end_together(tables: Tables) -> None:
    ours, theirs = tables.client()[0], tables.client()[0]
    ended = [tables.grant(ours.id), tables.grant(theirs.id, OTHER_DIGEST)]
    stays = tables.grant(ours.id, "3" * 64)
    with tables.registry.database.writing() as connection:
        assert tables.grants.end_for(connection, [DIGEST, OTHER_DIGEST], EndReason.REMOVED) == 2
        assert tables.grants.end_for(connection, [DIGEST, OTHER_DIGEST], EndReason.REMOVED) == 0
    assert not any(map(tables.is_in_force, ended)) and tables.is_in_force(stays)


def test_the_meters_of_a_holders_token_end_together_and_its_tokens_stay_bound(tables: Tables) -> None:
    ours, theirs = tables.client()[0], tables.client()[0]
    tables.bind(ours.id, "first", DIGEST, OTHER_DIGEST)
    tables.bind(theirs.id, "others", "3" * 64)
    assert tables.grants.renew_bound("first", "second", TODAY)
    assert tables.grants.renew_bound("second", "second", TODAY), "a supplier may keep the token"
    assert tables.grants.renew_bound("second", None, TODAY)
    for text in ("first", "second"):
        grant = tables.grants.find_by_bound_token(text)
        assert grant is not None and grant.client_id == ours.id and grant.last_used_on == TODAY
    assert tables.grants.find_by_bound_token("third") is None
    assert not tables.grants.renew_bound("third", "fourth", TODAY)
    with tables.registry.database.writing() as connection:
        assert tables.grants.end_for(connection, [OTHER_DIGEST], EndReason.WITHDRAWN) == 2
    assert {grant.end_reason for grant in tables.grants.list_grants(ours.id)} == {EndReason.WITHDRAWN}
    assert [grant.end_reason for grant in tables.grants.list_grants(theirs.id)] == [""]
    assert not tables.grants.renew_bound("second", "fourth", TODAY)
    assert tables.grants.find_by_access_token("") is None


def test_grants_are_listed_by_meter_and_ended_by_id(tables: Tables) -> None:
    client = tables.client()[0]
    tables.grant(client.id)
    tables.grant(client.id, OTHER_DIGEST)
    (mine,), (other,) = (tables.grants.list_grants(meter_digests=[meter]) for meter in (DIGEST, OTHER_DIGEST))
    assert tables.grants.list_grants(meter_digests=[]) == []
    assert not tables.grants.end(mine.id, EndReason.WITHDRAWN, [OTHER_DIGEST])
    assert not tables.grants.end(mine.id, EndReason.WITHDRAWN, [])
    assert not tables.grants.end("unknown", EndReason.OPERATOR_ENDED)
    assert {grant.end_reason for grant in tables.grants.list_grants()} == {""}
    for reason in (EndReason.WITHDRAWN, EndReason.OPERATOR_ENDED):  # The first counts.
        assert tables.grants.end(mine.id, reason, [DIGEST, "4" * 64])
    ends = {grant.id: grant.end_reason for grant in tables.grants.list_grants()}
    assert ends == {mine.id: EndReason.WITHDRAWN, other.id: ""}


def test_the_day_of_use_is_written_once_a_day(tables: Tables) -> None:
    tables.grant(tables.client()[0].id)
    for day in (TODAY, TODAY, TODAY + timedelta(days=1)):
        (grant,) = tables.grants.list_grants()
        with watch_statements(changes_something) as statements:
            tables.grants.note_use(grant, day)
        assert len(statements) == (grant.last_used_on != day)
        (grant,) = tables.grants.list_grants()
        assert grant.last_used_on == day


def test_old_tokens_and_grants_are_forgotten(tables: Tables) -> None:
    client, _ = tables.client()
    short, long = tables.grant(client.id, until=TODAY), tables.grant(client.id)
    assert tables.grants.rotate(client.id, long.refresh, TODAY) is not None
    keep = timedelta(days=100)
    assert tables.grants.apply_retention(TODAY, tables.now - keep) == 0
    assert tables.grants.apply_retention(TODAY + timedelta(days=1), tables.now - keep) == 1
    assert not tables.is_in_force(short)
    rows = all_rows(tables.registry.database)
    assert (len(rows["proxy_grants"]), len(rows["proxy_refresh_tokens"])) == (2, 3)
    tables.now += timedelta(days=101)
    tables.grants.apply_retention(TODAY + timedelta(days=101), tables.now - keep)
    rows = all_rows(tables.registry.database)
    assert (len(rows["proxy_grants"]), len(rows["proxy_refresh_tokens"])) == (1, 1)
