"""L20: a sealed value that is put into another place is refused, in each table, in Redis and in the broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.parts import Parts
from tests.support.registries import METER, OTHER_METER, record_consent
from worker.accounts.proxy_grants import ProxyCode
from worker.domain.access_right import Right, RightState
from worker.domain.answers import Deviation, DeviationKind, RawAnswer
from worker.domain.connection_request import ConnectionRequest
from worker.domain.consents import ConsentKind
from worker.domain.invitation import InvitationPurpose
from worker.domain.oauth_proxy import ProxyCaller
from worker.domain.series import Series
from worker.domain.sessions import KeyKind
from worker.domain.windows import ONE_DAY, DateWindow
from worker.errors import OperatorFault
from worker.stores.redis.pending_consents import ConsentFlows, ProofFiles
from worker.stores.registry.api_tokens import WebhookTarget
from worker.stores.registry.key_rotation import (
    ANSWER_SEALS,
    CHAIN_SEALS,
    INVITATION_SEALS,
    PROOF_SEALS,
    RIGHT_SEALS,
    SAMPLE_SEALS,
    SEALED_COLUMNS,
    TOKEN_SEALS,
    WEB_SEALS,
    WEBHOOK_SEALS,
    SealedColumn,
)
from worker.stores.registry.tables import ACCESS_KEYS, CONSENT_EVIDENCE, HOUSEHOLDS, METADATA
from worker.stores.token_store import ApplicationTokenStore

REFUSED = "a stored text can't be decrypted: its key is missing, or it was moved"
OF_WEB = {column.seals.table.name: column for column in WEB_SEALS}
Read = Callable[[], Any]


@pytest.fixture
def parts(installation: Installation) -> Iterator[Parts]:
    with installation.open() as parts:
        yield parts


def move(parts: Parts, column: SealedColumn, source: str, target: str) -> None:
    """Put the sealed value of a row into another one, as somebody with a user of the database may."""
    database, key = parts.stores.registry.database, column.key[0]
    sealed = database.fetch(select(column.seals).where(key == source, column.seals.is_not(None)))[0][0]
    assert database.change(update(column.seals.table).where(key == target).values({column.seals: sealed})) > 0


def is_refused(read: Read) -> bool:
    with pytest.raises(OperatorFault, match=REFUSED):
        read()
    return True


def test_every_sealed_column_is_known_to_the_rotation() -> None:
    known = {column.seals for column in (*SEALED_COLUMNS, *WEB_SEALS)}
    older = {METADATA.tables["consent_proofs"].c.sealed_usage_point}  # Nothing is written there any more.
    sealed = {
        column
        for table in METADATA.sorted_tables
        for column in table.columns
        if column.name.startswith("sealed") and column.name != "sealed_at"
    }
    assert sealed - older == known
    assert len({column.place_of("x") for column in (*SEALED_COLUMNS, *WEB_SEALS)}) == len(known)


def two_accounts(parts: Parts) -> tuple[str, str]:
    (first, _), (second, _) = (
        parts.stores.registry.accounts.add("enedis", meter, NOW, token=f"token of {meter}")
        for meter in (METER, OTHER_METER)
    )
    return first.id, second.id


def test_a_token(parts: Parts) -> None:
    accounts = two_accounts(parts)
    first, second = (parts.stores.registry.tokens.find_token_id(account_id) or "" for account_id in accounts)
    move(parts, TOKEN_SEALS, first, second)
    assert parts.stores.registry.tokens.load(accounts[0]) == f"token of {METER}"
    assert is_refused(lambda: parts.stores.registry.tokens.load(accounts[1]))


def test_a_personal_part_of_the_evidence_and_an_end_of_its_chain(parts: Parts) -> None:
    first, second = (
        record_consent(parts.stores.registry.consents, account_id, ConsentKind.AUTORISATION, NOW, reference="4711")
        for account_id in two_accounts(parts)
    )
    faults: list[str] = []
    move(parts, PROOF_SEALS, first.id, second.id)
    move(parts, CHAIN_SEALS, "head", "anchor")
    parts.stores.registry.evidence.verify(faults.append)
    assert len(faults) == 2
    assert faults[0].startswith("the anchor can't be decrypted")
    assert "has a personal part that can't be decrypted" in faults[1]
    assert [proof.reference for proof in parts.stores.registry.consents.list_proofs(second.account_id)] == [None]


def test_a_personal_part_goes_on_with_a_consent_that_goes_on(parts: Parts) -> None:
    """A supplier's mistake is over: the new row has the personal part under its own place."""
    account_id = two_accounts(parts)[0]
    record_consent(parts.stores.registry.consents, account_id, ConsentKind.AUTORISATION, NOW, reference="4711")
    chain = parts.stores.registry.consents._chain
    with parts.stores.registry.database.writing() as connection:
        chain.end(connection, account_id, "mistake", NOW)
        chain.continue_ended(connection, account_id, "mistake", NOW, NOW)
    newest, ended = parts.stores.registry.consents.list_proofs(account_id)
    assert (newest.id != ended.id, newest.reference, ended.reference) == (True, "4711", "4711")
    rows = parts.stores.registry.database.fetch(
        select(CONSENT_EVIDENCE.c.sealed_personal).where(CONSENT_EVIDENCE.c.sealed_personal.is_not(None))
    )
    assert len({row.sealed_personal for row in rows}) == 2
    faults: list[str] = []
    assert parts.stores.registry.evidence.verify(faults.append).faults == 0


def test_an_invitation(parts: Parts) -> None:
    (first, _), (second, text) = (
        parts.stores.registry.invitations.create(InvitationPurpose.METER, "enedis", "cli:test", usage_point_id=meter)
        for meter in (METER, OTHER_METER)
    )
    move(parts, INVITATION_SEALS, first.id, second.id)
    assert is_refused(lambda: parts.stores.registry.invitations.find(text))


def test_a_services_webhook(parts: Parts) -> None:
    for tenant in ("heating", "cooling"):
        parts.stores.registry.tenants.save(tenant, tenant)
        parts.stores.registry.tenants.save_webhook(tenant, WebhookTarget(f"https://{tenant}.example/", "s" * 32))
    move(parts, WEBHOOK_SEALS, "heating", "cooling")
    assert is_refused(lambda: parts.stores.registry.tenants.find_webhook("cooling"))


def test_a_right_of_access(parts: Parts) -> None:
    state = {"state": RightState.PENDING, "state_since": NOW, "begun_at": NOW}
    right = Right(id="r1", supplier="grdf", tenant="default", meter="12345678901234", supplier_id="u1", **state)
    with parts.stores.registry.database.writing() as connection:
        parts.stores.registry.rights.insert(connection, right)
        parts.stores.registry.rights.insert(connection, replace(right, id="r2", meter="GI123456"))
    move(parts, RIGHT_SEALS, "r1", "r2")
    assert [one.id for one in parts.stores.registry.rights.of_supplier("grdf")] == ["r1"]


def test_a_kept_answer_and_a_sample(parts: Parts) -> None:
    accounts = two_accounts(parts)
    window = DateWindow(NOW.date(), NOW.date() + ONE_DAY)
    for account_id in accounts:
        parts.stores.registry.raw_answers.record_answer(
            account_id, RawAnswer(Series.DAILY, NOW, window, [(window, account_id)])
        )
    table = ANSWER_SEALS.seals.table
    first, second = (
        parts.stores.registry.database.fetch(select(table.c.id).where(table.c.account_id == account_id))[0].id
        for account_id in accounts
    )
    move(parts, ANSWER_SEALS, first, second)
    assert is_refused(lambda: list(parts.stores.registry.raw_answers.read_answers(accounts[1])))
    deviations = [Deviation(DeviationKind.FIELD, place, sample=place) for place in ("a.b", "c.d")]
    for deviation in deviations:
        parts.stores.registry.quarantine.record(deviation, 1, "enedis-v5", NOW, lambda _: [])
    move(parts, SAMPLE_SEALS, *(deviation.fingerprint for deviation in deviations))
    assert is_refused(lambda: parts.stores.registry.quarantine.get(deviations[1].fingerprint))


def test_a_household_and_a_session(parts: Parts) -> None:
    access, accounts = parts.access, two_accounts(parts)
    first, second = (access.households.create({account_id: 0}) for account_id in accounts)
    (key, _), (other_key, other_text) = (
        access.keys.create(KeyKind.HOUSEHOLD_SESSION, household.id) for household in (first, second)
    )
    move(parts, OF_WEB[ACCESS_KEYS.name], key.id, other_key.id)
    assert access.keys.find(KeyKind.HOUSEHOLD_SESSION, other_text) is None
    move(parts, OF_WEB[HOUSEHOLDS.name], first.id, second.id)
    assert access.households.load(second.id) is None


@pytest.mark.parametrize("column", WEB_SEALS, ids=lambda column: column.seals.table.name)
def test_what_the_web_application_seals_is_bound_to_its_row(parts: Parts, column: SealedColumn) -> None:
    sealer = parts.access.sealer
    sealed = sealer.seal("secret", column.place_of("a"))
    assert sealer.can_unseal(sealed, column.place_of("a"))
    assert not sealer.can_unseal(sealed, column.place_of("b"))
    assert not any(sealer.can_unseal(sealed, other.place_of("a")) for other in WEB_SEALS if other is not column)
    assert not parts.stores.keys.registry.can_unseal(sealed, column.place_of("a"))


# Redis


def copy(parts: Parts, source: str, target: str) -> None:
    assert parts.stores.redis.copy(f"releve:{source}", f"releve:{target}", replace=True)


def test_what_redis_carries(parts: Parts) -> None:
    request = ConnectionRequest(id="q1", supplier="enedis", browser="b", begun_on=NOW.date(), created_at=NOW)
    for one in (request, replace(request, id="q2", browser="c")):
        assert parts.consent.requests.create(one)
    copy(parts, "connection_request:q1", "connection_request:q2")
    assert parts.consent.requests.get("q1") == request
    assert parts.consent.requests.get("q2") is None
    files = ProofFiles(parts.stores.redis, parts.stores.keys.redis)
    files.put("r1", [("consent.pdf", b"%PDF")])
    copy(parts, "proof_files:r1", "proof_files:r2")
    assert files.get("r1") == [("consent.pdf", b"%PDF")]
    assert is_refused(lambda: files.get("r2"))
    enedis, grdf = (
        ApplicationTokenStore(supplier, parts.stores.keys.redis, parts.stores.windows)
        for supplier in ("enedis", "grdf")
    )
    enedis.save("application's token", None)
    copy(parts, "secret:token:enedis", "secret:token:grdf")
    assert (enedis.load(), grdf.load()) == ("application's token", None)


def test_a_code_of_the_proxy(parts: Parts) -> None:
    codes = parts.consent.proxy_grants.codes
    caller = ProxyCaller("client", "https://x.example/", "state", None)
    request = ConnectionRequest(id="q1", supplier="enedis", browser="b", begun_on=NOW.date(), created_at=NOW)
    code = ProxyCode(caller=caller, supplier="enedis", begun_at=NOW, usage_points=(METER,))
    handed = codes.hand_over(request, code)
    text = (handed.returns_to or "").partition("code=")[2].partition("&")[0]
    sealed = ConsentFlows(parts.stores.redis).redeem_code(text, str)
    assert sealed
    ConsentFlows(parts.stores.redis).store_code("another", sealed)
    passes: list[ProxyCode] = []
    assert codes.redeem("another", passes.append) is None
    ConsentFlows(parts.stores.redis).store_code(text, sealed)
    assert codes.redeem(text, passes.append) == code and passes == [code]


def test_a_text_of_the_registry_is_none_of_redis_or_of_the_broker(parts: Parts) -> None:
    """The same keys, another purpose."""
    sealed = parts.stores.keys.registry.seal("x", "connection_request/q1")
    parts.stores.redis.set("releve:connection_request:q1", sealed)
    assert parts.consent.requests.get("q1") is None
    assert not parts.stores.keys.broker.can_unseal(sealed, "connection_request/q1")
