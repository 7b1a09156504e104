"""The tables of consent proofs, pending refusals and notices, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from tests.support.registries import METER, NOW, meter_on_record, record_consent, registry_sealer
from worker.domain.account import AccountState
from worker.domain.consents import ConsentKind
from worker.domain.notice import Notice, NoticeKind
from worker.domain.retry import NOTICE_DELAYS
from worker.domain.windows import PARIS
from worker.errors import UnknownAccount
from worker.stores.database import new_id
from worker.stores.registry import Registry
from worker.stores.registry.consents import ConsentTable, PendingRefusals
from worker.stores.registry.notices import MAX_ATTEMPTS, NoticeTable
from worker.stores.registry.outcomes import RunOutcome

TODAY = NOW.date()
DAY = timedelta(days=1)
UNTIL = date(2027, 7, 25)
CODE = "USER_ACTION_NEEDED.ACCOUNT_REMOVED"


@dataclass
class Tables:
    registry: Registry
    url: str

    def __post_init__(self) -> None:
        database = self.registry.database
        self.consents = ConsentTable(database, registry_sealer())
        self.pending_refusals, self.notices = (
            PendingRefusals(database, registry_sealer()),
            NoticeTable(database),
        )

    def add(self, meter: str = METER, until: date | None = None) -> str:
        return self.registry.accounts.add("enedis", meter, NOW, consent_until=until, token_needed=False)[0].id

    def rows(self, table: str) -> str:
        engine = create_engine(self.url)
        with engine.connect() as connection:
            rows = str(connection.execute(text(f"SELECT * FROM {table}")).all())
        engine.dispose()
        return rows


@pytest.fixture
def tables(registry: Registry, url: str) -> Tables:
    return Tables(registry, url)


def notice(account: str | None, about: str = "x", kind: NoticeKind = NoticeKind.ACTION_NEEDED) -> Notice:
    return Notice(new_id(), account, kind, "LOGIN_FAILED", about, "webhook", NOW, NOW)


# Proofs


def test_a_recorded_consent_is_read_back_and_names_its_meter_only_sealed(tables: Tables) -> None:
    account = tables.add()
    dates = {"consent_from": TODAY, "consent_until": UNTIL}
    proof = record_consent(tables.consents, account, ConsentKind.AUTORISATION, NOW, reference="order no. 4711", **dates)
    assert tables.consents.list_proofs(account) == [proof]
    assert (proof.kind, proof.reference, proof.consented_at, proof.open) == (
        "autorisation",
        "order no. 4711",
        NOW,
        True,
    )
    assert (proof.consent_from, proof.consent_until, proof.supplier) == (TODAY, UNTIL, "enedis")
    assert meter_on_record(tables.registry.database, proof) == METER
    assert METER not in tables.rows("consent_evidence") and "no. 4711" not in tables.rows("consent_evidence")
    assert METER not in repr(proof)
    stored = tables.registry.accounts.get(account)
    assert (stored.consent_from, stored.consent_until) == (TODAY, UNTIL)


def test_a_callback_loaded_twice_is_one_consent(tables: Tables) -> None:
    account = tables.add()
    first = record_consent(tables.consents, account, ConsentKind.AUTORISATION, NOW, reference="1", consent_until=UNTIL)
    later = record_consent(
        tables.consents, account, ConsentKind.AUTORISATION, NOW + DAY, reference="1", consent_until=UNTIL
    )
    assert later == first
    with ThreadPoolExecutor(6) as threads:
        again = threads.map(
            lambda n: record_consent(tables.consents, account, ConsentKind.AUTORISATION, NOW, reference="2"), range(12)
        )
        assert len({proof.id for proof in again}) == 1
    assert len(tables.consents.list_proofs(account)) == 2


def test_an_old_callback_loaded_again_neither_lengthens_nor_replaces_a_consent(tables: Tables) -> None:
    account = tables.add()

    def consent(reference: str, day: date) -> str:
        dates = {"consent_from": day, "consent_until": day + 365 * DAY}
        return record_consent(tables.consents, account, ConsentKind.AUTORISATION, NOW, reference=reference, **dates).id

    first = consent("1", TODAY)
    assert consent("1", TODAY) == first
    assert tables.registry.accounts.get(account).consent_until == TODAY + 365 * DAY
    second = consent("2", TODAY + 60 * DAY)
    assert consent("1", TODAY) == second
    assert tables.registry.accounts.get(account).consent_until == TODAY + 425 * DAY
    assert [proof.open for proof in tables.consents.list_proofs(account)].count(True) == 1


def test_a_consent_of_no_browser_is_recorded_again_with_the_browser_that_it_opens_to(tables: Tables) -> None:
    account = tables.add()

    def consent(browser: str | None, day: date = TODAY) -> str:
        dates = {"consent_from": day, "consent_until": day + 365 * DAY}
        return record_consent(
            tables.consents, account, ConsentKind.AUTORISATION, NOW, reference="1", browser=browser, **dates
        ).id

    held = consent(None)
    assert consent(None) == held and tables.consents.browser_of(account) is None
    opened = consent("b" * 64)
    assert opened != held and tables.consents.browser_of(account) == "b" * 64
    assert consent(None) == consent("c" * 64) == opened, "neither a repeated step nor another browser takes it back"
    renewed = consent(None, TODAY + DAY)
    assert consent("b" * 64) == renewed, "an older consent replaces no newer one"
    assert tables.registry.accounts.get(account).consent_until == TODAY + 366 * DAY
    assert tables.registry.evidence.verify(print).faults == 0


def test_a_consent_given_anew_under_the_same_reference_is_a_new_one(tables: Tables) -> None:
    account = tables.add()
    for day in (TODAY, TODAY + 30 * DAY):
        record_consent(
            tables.consents,
            account,
            ConsentKind.AUTORISATION,
            NOW,
            reference="1",
            consent_from=day,
            consent_until=day + 365 * DAY,
        )
    newest, oldest = sorted(tables.consents.list_proofs(account), key=lambda proof: proof.open, reverse=True)
    assert (newest.open, oldest.open, oldest.end_reason) == (True, False, "renewed")
    assert tables.registry.accounts.get(account).consent_until == TODAY + 395 * DAY


def test_a_consent_that_has_ended_is_never_opened_again_a_new_one_follows_it(tables: Tables) -> None:
    account = tables.add()
    told: dict[str, Any] = {"reference": "1", "consent_from": TODAY, "consent_until": UNTIL}
    first = record_consent(tables.consents, account, ConsentKind.AUTORISATION, NOW, **told)
    tables.pending_refusals.suspend(account, CODE, NOW, consent_ended=True, notices=list)
    again = record_consent(tables.consents, account, ConsentKind.AUTORISATION, NOW + DAY, **told)
    assert again.open and again.id != first.id
    assert [(proof.id, proof.end_reason) for proof in tables.consents.list_proofs(account)] == [
        (again.id, ""),
        (first.id, CODE),
    ]
    assert record_consent(tables.consents, account, ConsentKind.AUTORISATION, NOW + 2 * DAY, **told) == again


def test_a_renewal_ends_the_consent_before_it_and_clears_doubts_and_what_was_to_be_told(tables: Tables) -> None:
    account = tables.add()
    record_consent(tables.consents, account, ConsentKind.USAGE_POINT, NOW, consent_until=TODAY)
    tables.pending_refusals.record_sighting(account, CODE, NOW)
    delivered, undelivered = notice(account, "a"), notice(account, "b")
    tables.notices.insert_new([delivered, undelivered])
    tables.notices.mark_delivered(delivered.id, NOW)
    record_consent(tables.consents, account, ConsentKind.USAGE_POINT, NOW + DAY, consent_until=UNTIL)
    newest, oldest = tables.consents.list_proofs(account)
    assert (newest.open, newest.consent_until) == (True, UNTIL)
    assert (oldest.ended_at, oldest.end_reason) == (NOW + DAY, "renewed")
    assert tables.pending_refusals.list_for_account(account) == []
    assert [remaining.id for remaining in tables.notices.list_for_account(account)] == [delivered.id]


def test_a_consent_ends_once_and_for_its_first_reason(tables: Tables) -> None:
    account = tables.add()
    record_consent(tables.consents, account, ConsentKind.CODE, NOW)
    first = "USER_ACTION_NEEDED.OAUTH_OUTDATED"
    for reason, moment in ((first, NOW), ("LOGIN_FAILED", NOW + DAY)):
        tables.pending_refusals.suspend(account, reason, moment, consent_ended=True, notices=list)
    assert [(proof.ended_at, proof.end_reason) for proof in tables.consents.list_proofs(account)] == [(NOW, first)]


def test_the_calendar_holds_living_accounts_by_the_end_of_their_consent(tables: Tables) -> None:
    dates = {"late": UNTIL, "none": None, "soon": TODAY + 7 * DAY, "over": TODAY - DAY, "gone": TODAY}
    names = {tables.add(f"{30001640000000 + n}", until): name for n, (name, until) in enumerate(dates.items())}
    removed = next(account for account, name in names.items() if name == "gone")
    tables.registry.accounts.remove(removed, NOW)
    assert [names[account.id] for account in tables.consents.list_accounts_by_consent_end()] == [
        "over",
        "soon",
        "late",
        "none",
    ]
    assert [names[account.id] for account in tables.consents.list_accounts_by_consent_end(TODAY + 30 * DAY)] == [
        "over",
        "soon",
    ]


def test_unknown_and_removed_accounts_get_no_consent(tables: Tables) -> None:
    removed = tables.add()
    tables.registry.accounts.remove(removed, NOW)
    for account in ("nobody", removed):
        with pytest.raises(UnknownAccount):
            record_consent(tables.consents, account, ConsentKind.CODE, NOW)
        with pytest.raises(UnknownAccount):
            tables.pending_refusals.record_sighting(account, CODE, NOW)
    with pytest.raises(UnknownAccount):
        tables.consents.list_proofs("nobody")


# The end of accounts and proofs


def test_the_proof_of_a_removed_account_stays_without_its_meter(tables: Tables) -> None:
    account = tables.add()
    record_consent(tables.consents, account, ConsentKind.AUTORISATION, NOW, reference="1")
    tables.pending_refusals.record_sighting(account, CODE, NOW)
    tables.notices.insert_new([notice(account)])
    tables.registry.accounts.remove(account, NOW)
    assert tables.consents.erase_after_removal(account, NOW, keep_days=1825) == {
        "consent_proofs_kept": 1,
        "consent_proofs_erased": 0,
        "pending_refusals": 1,
        "notices": 1,
    }
    again = tables.consents.erase_after_removal(account, NOW + DAY, keep_days=1825)
    assert {name for name, number in again.items() if number} == {"consent_proofs_kept"}
    (proof,) = tables.consents.list_proofs(account)
    assert (proof.end_reason, proof.ended_at, proof.reference, proof.names_meter) == ("removed", NOW, None, False)
    assert meter_on_record(tables.registry.database, proof) is None


def test_a_policy_of_no_days_erases_the_proofs_with_the_account(tables: Tables) -> None:
    account = tables.add()
    for number in range(3):
        record_consent(tables.consents, account, ConsentKind.AUTORISATION, NOW, reference=str(number))
    tables.registry.accounts.remove(account, NOW)
    erased = tables.consents.erase_after_removal(account, NOW, keep_days=0)
    assert (erased["consent_proofs_kept"], erased["consent_proofs_erased"]) == (0, 3)
    assert tables.consents.list_proofs(account) == []


def test_tidying_ends_what_is_over_erases_what_was_kept_long_enough_and_nothing_else(tables: Tables) -> None:
    over, living = tables.add(), tables.add("30001640000022")
    record_consent(tables.consents, over, ConsentKind.USAGE_POINT, NOW, consent_until=TODAY)
    record_consent(tables.consents, living, ConsentKind.USAGE_POINT, NOW, consent_until=UNTIL)
    assert tables.consents.expire_and_erase(NOW, TODAY, 10) == (0, 0)  # Its last day is included.
    assert tables.consents.expire_and_erase(NOW + DAY, TODAY + DAY, 10) == (1, 0)
    (proof,) = tables.consents.list_proofs(over)
    assert (proof.end_reason, proof.ended_at) == ("expired", datetime(2024, 7, 26, tzinfo=PARIS))
    assert tables.consents.expire_and_erase(NOW + 10 * DAY, TODAY + 10 * DAY, 10) == (0, 0)
    assert tables.consents.expire_and_erase(NOW + 11 * DAY, TODAY + 11 * DAY, 10) == (0, 1)
    assert tables.consents.list_proofs(over) == []
    assert tables.consents.list_proofs(living)[0].open


def test_tidying_finishes_a_removal_that_died_half_way(tables: Tables) -> None:
    account = tables.add()
    record_consent(tables.consents, account, ConsentKind.USAGE_POINT, NOW)
    tables.pending_refusals.record_sighting(account, CODE, NOW)
    tables.registry.accounts.remove(account, NOW)
    assert tables.consents.expire_and_erase(NOW, TODAY, 10) == (0, 0)
    (proof,) = tables.consents.list_proofs(account)
    assert (proof.end_reason, proof.names_meter) == ("removed", False)
    assert tables.pending_refusals.list_for_account(account) == []


# Pending refusals


def test_sightings_are_counted_from_the_first_and_forgotten_at_a_success(tables: Tables) -> None:
    account = tables.add()
    for hours in (0, 3, 1):  # The message of the last one came late.
        refusal = tables.pending_refusals.record_sighting(account, CODE, NOW + timedelta(hours=hours))
    assert (refusal.first_seen, refusal.last_seen, refusal.times) == (NOW, NOW + timedelta(hours=3), 3)
    tables.registry.outcomes.record(
        account, "daily", "run", NOW, RunOutcome(code=None, message="", last_day=None, stored=False)
    )
    assert tables.pending_refusals.record_sighting(account, CODE, NOW).times == 1


def test_sightings_at_once_are_all_counted(tables: Tables) -> None:
    account = tables.add()
    with ThreadPoolExecutor(8) as threads:
        counts = sorted(
            threads.map(lambda n: tables.pending_refusals.record_sighting(account, CODE, NOW).times, range(24))
        )
    assert counts == list(range(1, 25))


def test_what_a_storm_said_does_not_count_and_whom_it_set_aside_runs_again(tables: Tables) -> None:
    pending, suspended, before, other = (tables.add(f"{30001640000000 + n}") for n in range(4))
    tables.pending_refusals.record_sighting(pending, CODE, NOW)
    for account, when in ((suspended, NOW), (before, NOW - DAY)):
        tables.pending_refusals.suspend(
            account, CODE, when, consent_ended=False, notices=lambda account=account: [notice(account)]
        )
    tables.registry.accounts.set_state(other, AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=NOW)
    assert tables.pending_refusals.reinstate(CODE, NOW - timedelta(hours=6), NOW, "enedis") == [suspended]
    assert [account.id for account in tables.registry.accounts.list_accounts([AccountState.ACTION_NEEDED])] == sorted(
        [before, other]
    )
    assert tables.notices.list_for_account(suspended) == []
    assert tables.pending_refusals.list_for_account(pending)[0].times == 0
    again = tables.pending_refusals.record_sighting(pending, CODE, NOW + DAY)
    assert (again.times, again.first_seen) == (1, NOW + DAY)


def test_first_sightings_are_counted_and_who_is_set_aside_for_what_is_certain(tables: Tables) -> None:
    accounts = [tables.add(f"{30001640000000 + n}") for n in range(5)]
    fresh, again, reinstated, suspended, paused = accounts
    tables.pending_refusals.record_sighting(reinstated, CODE, NOW)
    tables.pending_refusals.reinstate(CODE, NOW, NOW, "enedis")
    tables.pending_refusals.record_sighting(again, CODE, NOW - DAY)
    for account in (fresh, again):
        tables.pending_refusals.record_sighting(account, CODE, NOW)
    tables.pending_refusals.suspend(suspended, CODE, NOW, consent_ended=False, notices=list)
    tables.registry.accounts.set_state(paused, AccountState.PAUSED, now=NOW)
    assert (
        tables.pending_refusals.count_newly_refused(CODE, NOW - timedelta(hours=1), certain=False, supplier="enedis")
        == 1
    )
    assert (
        tables.pending_refusals.count_newly_refused(CODE, NOW - timedelta(hours=1), certain=True, supplier="enedis")
        == 1
    )
    assert (
        tables.pending_refusals.count_newly_refused(CODE, NOW + timedelta(seconds=1), certain=True, supplier="enedis")
        == 0
    )


def test_accounts_that_were_tried_are_counted_once_and_up_to_a_bound(tables: Tables) -> None:
    for number in range(4):
        account = tables.add(f"{30001640000000 + number}")
        for series in ("daily", "load_curve"):
            at = NOW - DAY if number == 3 else NOW
            tables.registry.outcomes.record(
                account, series, at.isoformat(), at, RunOutcome(code=None, message="", last_day=None, stored=False)
            )
    assert tables.pending_refusals.count_accounts_asked(NOW, limit=10, supplier="enedis") == 3
    assert tables.pending_refusals.count_accounts_asked(NOW, limit=2, supplier="enedis") == 2


def test_consents_that_a_storm_ended_hold_again(tables: Tables) -> None:
    account, earlier = (tables.add(f"{30001640000000 + n}") for n in range(2))
    for account_id, at in ((account, NOW), (earlier, NOW - DAY)):
        record_consent(tables.consents, account_id, ConsentKind.USAGE_POINT, at)
        tables.pending_refusals.suspend(account_id, CODE, at, consent_ended=True, notices=list)
    assert tables.pending_refusals.reinstate(CODE, NOW - timedelta(hours=6), NOW, "enedis") == [account]
    assert [tables.consents.list_proofs(account_id)[0].open for account_id in (account, earlier)] == [True, False]


def test_a_refusal_that_changes_no_account_ends_no_consent(tables: Tables) -> None:
    account = tables.add()
    record_consent(tables.consents, account, ConsentKind.USAGE_POINT, NOW)
    assert tables.pending_refusals.suspend(account, CODE, NOW, consent_ended=False, notices=list)
    assert not tables.pending_refusals.suspend(account, CODE, NOW, consent_ended=True, notices=list)
    assert tables.consents.list_proofs(account)[0].open


def test_only_the_consent_of_who_waits_under_the_same_reason_ends_once_it_is_certain(tables: Tables) -> None:
    account = tables.add()
    record_consent(tables.consents, account, ConsentKind.USAGE_POINT, NOW)
    tables.pending_refusals.end_proof(account, CODE, NOW)
    assert tables.consents.list_proofs(account)[0].open, "it is read"
    tables.pending_refusals.suspend(account, CODE, NOW, consent_ended=False, notices=list)
    tables.pending_refusals.end_proof(account, "LOGIN_FAILED", NOW)
    assert tables.consents.list_proofs(account)[0].open, "it waits for something else"
    tables.pending_refusals.end_proof(account, CODE, NOW + DAY)
    (proof,) = tables.consents.list_proofs(account)
    assert (proof.ended_at, proof.end_reason) == (NOW + DAY, CODE)


def test_one_account_set_aside_by_many_at_once_is_told_of_once(tables: Tables) -> None:
    account = tables.add()

    def suspend(number: int) -> bool:
        return tables.pending_refusals.suspend(
            account, "LOGIN_FAILED", NOW, consent_ended=False, notices=lambda: [notice(account, str(number))]
        )

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(suspend, range(16))) == 1
    assert len(tables.notices.list_for_account(account)) == 1


# Notices


def test_a_notice_is_kept_once_whoever_posts_it(tables: Tables) -> None:
    account = tables.add()
    with ThreadPoolExecutor(6) as threads:
        posted = list(threads.map(lambda n: tables.notices.insert_new([notice(account), notice(None)]), range(12)))
    assert sum(map(len, posted)) == 2
    assert len(tables.notices.list_for_account(account)) == 1


def test_a_due_notice_is_claimed_by_one_sender_and_due_again_later(tables: Tables) -> None:
    posted = notice(tables.add())
    tables.notices.insert_new([posted])
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda n: tables.notices.claim(posted.id, NOW), range(16)))
    claimed = [result for result in results if result]
    assert [result.attempts for result in claimed] == [1]
    assert tables.notices.list_due(NOW) == []
    assert tables.notices.list_due(NOW + NOTICE_DELAYS[0]) == [posted.id]


def test_a_notice_nobody_takes_is_tried_eight_times_with_growing_waits_and_then_given_up(tables: Tables) -> None:
    account = tables.add()
    posted = notice(account)
    tables.notices.insert_new([posted])
    now, tries = NOW, []
    while tables.notices.list_due(now + 2 * DAY):
        claimed = tables.notices.claim(posted.id, now)
        assert claimed is not None
        tables.notices.record_failure(posted.id, "webhook: status 500")
        tries.append(claimed.next_attempt_at - now)
        now = claimed.next_attempt_at
        assert tables.notices.claim(posted.id, now - timedelta(seconds=1)) is None
    assert tries == list(NOTICE_DELAYS)
    assert tries == sorted(tries)
    assert len(tries) == MAX_ATTEMPTS == 8
    (abandoned,) = tables.notices.list_for_account(account)
    assert (abandoned.last_error, abandoned.delivered_at) == ("webhook: status 500", None)
    assert tables.notices.claim(posted.id, now + 30 * DAY) is None


def test_a_told_notice_is_not_due_and_old_ones_are_forgotten(tables: Tables) -> None:
    account = tables.add()
    delivered, waiting = notice(account, "a"), notice(account, "b")
    tables.notices.insert_new([delivered, waiting])
    tables.notices.mark_delivered(delivered.id, NOW)
    assert tables.notices.list_due(NOW + 30 * DAY) == [waiting.id]
    assert tables.notices.claim(delivered.id, NOW + DAY) is None
    assert tables.notices.delete_before(NOW) == 0
    assert tables.notices.delete_before(NOW + DAY) == 2
