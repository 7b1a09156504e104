"""Accounts that somebody vouches for: evidence, the state until the first answer, on SQLite and PostgreSQL alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, timedelta

import pytest

from tests.support.registries import (
    LATER,
    METER,
    NOW,
    OTHER_METER,
    meter_on_record,
    record_consent,
    record_outcome,
    registry_sealer,
)
from worker.accounts.asserted_accounts import AccountAssertion, MeterErased
from worker.domain.account import Account, AccountState
from worker.domain.consents import ConsentKind, Proof
from worker.domain.series import USUAL_SERIES, Series
from worker.errors import MeterElsewhere, StoreUnavailable
from worker.stores.registry import Registry
from worker.stores.registry.consents import ConsentTable, PendingRefusals

TODAY = NOW.date()
A_DAY = timedelta(days=1)
REAL_NOW = NOW + timedelta(days=800)  # The fleet runs at a simulated time.


@pytest.fixture
def assertion(registry: Registry) -> AccountAssertion:
    return AccountAssertion(supplier="enedis", registry=registry, now=lambda: NOW, real_now=lambda: REAL_NOW)


def due_series(registry: Registry) -> dict[Series, list[str]]:
    return {
        series: [row.account_id for row in registry.due.list_nightly(series, 1, LATER, LATER, 10)]
        for series in USUAL_SERIES
    }


def add(assertion: AccountAssertion, meter: str = METER, consented_on: date | None = None) -> Account:
    account, created = assertion.add(meter, "cli:ada", consented_on=consented_on)
    assert created
    return account


def test_evidence_says_who_vouches_with_reference_and_day_and_the_account_is_ready(assertion: AccountAssertion) -> None:
    account, created = assertion.add(METER, "cli:ada", reference="contract 4711", consented_on=date(2024, 7, 1))
    assert created
    assert (account.state, account.consent_from) == (AccountState.READY, date(2024, 7, 1))
    (proof,) = assertion.registry.consents.list_proofs(account.id)
    assert (proof.kind, proof.proof) == (ConsentKind.ASSERTED, Proof.ASSERTED)
    assert (proof.vouched_by, proof.reference) == ("cli:ada", "contract 4711")
    assert (proof.consented_at, proof.consent_from, proof.consent_until) == (
        NOW.astimezone(UTC),
        date(2024, 7, 1),
        None,
    )
    assert proof.open and meter_on_record(assertion.registry.database, proof) == METER
    assert assertion.registry.consents.newest_proofs([account.id, "nobody"]) == {account.id: proof}


def test_d29_without_a_day_it_is_new_and_asked_for_until_the_first_answer_makes_it_ready(
    registry: Registry, assertion: AccountAssertion
) -> None:
    account = add(assertion)
    assert (account.state, account.active, account.unconfirmed) == (AccountState.NEW, True, True)
    assert account.consent_from is None
    assert due_series(registry) == {series: [account.id] for series in USUAL_SERIES}
    assert registry.accounts.page_active() == [account]
    record_outcome(registry, account.id, "1", code="VENDOR_DOWN", now=LATER)
    record_outcome(registry, account.id, "2", now=LATER)  # It held points, and none could be used.
    assert registry.accounts.get(account.id).state is AccountState.NEW
    for run in ("3", "3", "4"):  # A message may come twice.
        record_outcome(registry, account.id, run, confirms=True, now=LATER)
        after = registry.accounts.get(account.id)
        assert after == replace(account, state=AccountState.READY, is_vouched=False)
        assert not after.unconfirmed
    assert due_series(registry) == {series: [account.id] for series in USUAL_SERIES}


@pytest.mark.parametrize("state", [AccountState.PAUSED, AccountState.ACTION_NEEDED])
def test_an_answer_that_comes_late_leaves_another_state_as_it_is(
    registry: Registry, assertion: AccountAssertion, state: AccountState
) -> None:
    account = add(assertion)
    registry.accounts.set_state(
        account.id, state, "LOGIN_FAILED" if state is AccountState.ACTION_NEEDED else "", now=LATER
    )
    record_outcome(registry, account.id, "1", confirms=True, now=LATER)
    assert registry.accounts.get(account.id).state is state
    assert due_series(registry) == {series: [] for series in USUAL_SERIES}


def test_an_account_set_back_after_an_incident_is_unconfirmed_as_before(
    registry: Registry, assertion: AccountAssertion
) -> None:
    """What the supplier refused by mistake confirms nothing; an account that had answered is ready again."""
    unconfirmed, answered = add(assertion), add(assertion, OTHER_METER)
    declared = add(assertion, "30001640000033", TODAY)
    record_outcome(registry, answered.id, "1", confirms=True)
    pending = PendingRefusals(registry.database, registry_sealer())
    accounts = (unconfirmed, answered, declared)
    for account in accounts:
        pending.suspend(account.id, "LOGIN_FAILED", LATER, consent_ended=False, notices=list)
    assert due_series(registry) == {series: [] for series in USUAL_SERIES}
    pending.reinstate("LOGIN_FAILED", NOW, LATER, "enedis")
    states = [registry.accounts.get(account.id).state for account in accounts]
    assert states == [AccountState.NEW, AccountState.READY, AccountState.READY]
    assert sorted(due_series(registry)[Series.DAILY]) == sorted(account.id for account in accounts)


def test_an_account_that_has_consented_at_the_supplier_since_rests_on_nobodys_word(
    registry: Registry, assertion: AccountAssertion
) -> None:
    account = add(assertion)
    registry.accounts.add("enedis", METER, LATER, token_needed=False)
    record_consent(registry.consents, account.id, ConsentKind.CODE, LATER)
    for state in (AccountState.PAUSED, AccountState.READY):
        registry.accounts.set_state(account.id, state, now=LATER)
    assert registry.accounts.get(account.id).state is AccountState.READY


def test_a_number_that_has_an_account_changes_nothing(registry: Registry, assertion: AccountAssertion) -> None:
    first = add(assertion)
    registry.accounts.set_state(first.id, AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=NOW)
    before = (registry.accounts.list_accounts(), assertion.registry.consents.list_proofs(first.id))
    again, created = assertion.add(METER, "token:eve", reference="mine", consented_on=TODAY, token="{}")
    assert (again.id, created) == (first.id, False)
    assert (registry.accounts.list_accounts(), assertion.registry.consents.list_proofs(first.id)) == before
    assert registry.tokens.load(first.id) is None


def test_a_number_added_many_times_at_once_is_one_account_with_one_proof(
    registry: Registry, assertion: AccountAssertion
) -> None:
    with ThreadPoolExecutor(8) as threads:
        added = list(threads.map(lambda n: assertion.add(METER, f"cli:{n}"), range(24)))
    assert len({account.id for account, _ in added}) == 1
    assert sum(created for _, created in added) == 1
    assert len(assertion.registry.consents.list_proofs(added[0][0].id)) == 1


def test_a_refusal_and_the_first_answer_at_the_same_moment_do_not_block_each_other(
    registry: Registry, assertion: AccountAssertion
) -> None:
    """Whichever comes first, the refusal stands; a server that finds a deadlock would raise StoreUnavailable."""
    ids = [add(assertion, f"300016400010{number}").id for number in range(10, 30)]
    pending = PendingRefusals(registry.database, registry_sealer())

    def answer(account_id: str) -> None:
        for series in USUAL_SERIES:
            record_outcome(registry, account_id, "1", series=series, confirms=True)

    def refuse(account_id: str) -> None:
        pending.suspend(account_id, "LOGIN_FAILED", LATER, consent_ended=True, notices=list)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(act, account_id) for account_id in ids for act in (answer, refuse)]:
            done.result()
    assert {account.state for account in registry.accounts.list_accounts()} == {AccountState.ACTION_NEEDED}
    assert due_series(registry) == {series: [] for series in USUAL_SERIES}


def test_account_and_evidence_are_written_together_or_not_at_all(
    registry: Registry, assertion: AccountAssertion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(ConsentTable, "_insert", fail)
    with pytest.raises(StoreUnavailable):
        assertion.add(METER, "cli:ada")
    assert registry.accounts.list_accounts() == []


def test_a_holders_token_is_kept_and_renewed_ahead_before_the_first_answer(
    registry: Registry, assertion: AccountAssertion
) -> None:
    account, _ = assertion.add(METER, "cli:ada", token='{"access_token": "a"}')
    assert registry.tokens.load(account.id) == '{"access_token": "a"}'
    registry.tokens.save(account.id, "{}", LATER)
    assert [
        token.account_id for token in registry.tokens.list_expiring(NOW, LATER + timedelta(hours=1), NOW.date())
    ] == [account.id]


@pytest.mark.parametrize(
    "reference, consented_on, message",
    [
        (f"meter {METER}", None, "meter's number"),
        ("x" * 65, None, "at most 64"),
        ("two\nlines", None, "one line"),
        (None, TODAY + timedelta(days=1), "future"),
    ],
)
def test_evidence_that_can_not_be_kept_is_refused_without_repeating_the_number(
    registry: Registry,
    assertion: AccountAssertion,
    reference: str | None,
    consented_on: date | None,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        assertion.add(METER, "cli:ada", reference=reference, consented_on=consented_on)
    assert METER not in str(refused.value)
    assert registry.accounts.list_accounts() == []


def test_h3_an_erased_meter_is_added_where_its_consent_is_said_to_be_younger(assertion: AccountAssertion) -> None:
    with assertion.registry.database.writing() as connection:
        for meter in (METER, OTHER_METER):
            digest = assertion.registry.erasures.digests("enedis", meter)[0]
            assertion.registry.erasures.remember(connection, digest, REAL_NOW, TODAY + timedelta(days=900))
    for older in (None, TODAY - timedelta(days=1)):
        with pytest.raises(MeterErased) as refusal:
            assertion.add(METER, "cli:ada", consented_on=older)
        assert METER not in str(refusal.value)
    assert (
        assertion.registry.accounts.list_accounts() == [] and assertion.registry.accounts.find("enedis", METER) is None
    )
    assert add(assertion, consented_on=TODAY).state is AccountState.READY
    account, created = assertion.add(OTHER_METER, "cli:ada", anew=True)
    assert (created, account.state) == (True, AccountState.NEW)
    assert assertion.add(METER, "cli:ada") == (assertion.registry.accounts.find("enedis", METER), False)


def erase(assertion: AccountAssertion, tenant: str | None, meter: str = METER) -> None:
    with assertion.registry.database.writing() as connection:
        digest = assertion.registry.erasures.digests("enedis", meter)[0]
        assertion.registry.erasures.remember(connection, digest, REAL_NOW, TODAY + timedelta(days=900), tenant)


def test_o4_by_token_the_day_of_the_erasure_is_not_younger_and_the_day_after_is(assertion: AccountAssertion) -> None:
    erase(assertion, "alpha")
    tomorrow = replace(assertion, now=lambda: NOW + A_DAY, real_now=lambda: REAL_NOW + A_DAY)
    for consented_on in (None, TODAY):
        with pytest.raises(MeterErased):
            replace(tomorrow, token_of="alpha").add(METER, "token:t", consented_on=consented_on, tenant="alpha")
    account, created = replace(tomorrow, token_of="alpha").add(
        METER, "token:t", consented_on=TODAY + A_DAY, tenant="alpha"
    )
    assert created and account.state is AccountState.READY


@pytest.mark.parametrize("erased_of", ["alpha", None], ids=["another tenant's", "of an unknown tenant"])
def test_o4_by_token_no_day_opens_a_meter_that_was_erased_at_another_tenant_and_the_operator_does(
    assertion: AccountAssertion, erased_of: str | None
) -> None:
    erase(assertion, erased_of)
    tomorrow = replace(assertion, now=lambda: NOW + A_DAY, real_now=lambda: REAL_NOW + A_DAY)
    for consented_on in (None, TODAY, TODAY + A_DAY):
        with pytest.raises(MeterElsewhere) as refused:
            replace(tomorrow, token_of="beta").add(METER, "token:t", consented_on=consented_on, tenant="beta")
        assert METER not in str(refused.value)
    assert assertion.registry.accounts.list_accounts() == []
    account, created = tomorrow.add(METER, "cli:ada", anew=True, tenant="beta")
    assert created and account.tenant == "beta"


def test_o4_of_several_erasures_the_latest_ones_tenant_counts(assertion: AccountAssertion) -> None:
    digest = assertion.registry.erasures.digests("enedis", METER)[0]
    for tenant, at in (("alpha", REAL_NOW), ("beta", REAL_NOW + A_DAY), ("gamma", REAL_NOW - A_DAY)):
        with assertion.registry.database.writing() as connection:
            assertion.registry.erasures.remember(connection, digest, at, TODAY + timedelta(days=900), tenant)
    with assertion.registry.database.reading() as connection:
        assert assertion.registry.erasures.find_last(connection, "enedis", METER) == (REAL_NOW + A_DAY, "beta")
