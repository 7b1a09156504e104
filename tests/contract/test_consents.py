"""The books of the consent desk keep their promises on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text

from tests.support.registries import KEY, METER, NOW
from worker.domain.consent.accounts import AccountState
from worker.domain.consent.consents import ConsentKind, Notice, NoticeKind
from worker.domain.measures.readings import PARIS
from worker.errors import OperatorFault, UnknownAccount
from worker.stores.encryption import Sealer, new_key
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.consent_rows import new_id
from worker.stores.registry.consents import ConsentTable, ErasedProofs
from worker.stores.registry.notices import MOST_ATTEMPTS, WAITS, NoticeTable
from worker.stores.registry.refusals import PendingRefusals

TODAY = NOW.date()
DAY = timedelta(days=1)
UNTIL = date(2027, 7, 25)
CODE = "USER_ACTION_NEEDED.ACCOUNT_REMOVED"


@dataclass
class Books:
    registry: AccountRegistry
    url: str

    def __post_init__(self) -> None:
        database = self.registry.database
        self.consents = ConsentTable(database, Sealer([KEY]))
        self.doubts, self.notices = PendingRefusals(database), NoticeTable(database)

    def add(self, meter: str = METER, until: date | None = None) -> str:
        return self.registry.add("enedis", meter, NOW, consent_until=until, token_needed=False)[0].id

    def rows(self, table: str) -> str:
        engine = create_engine(self.url)
        with engine.connect() as connection:
            found = str(connection.execute(text(f"SELECT * FROM {table}")).all())
        engine.dispose()
        return found


@pytest.fixture
def books(registry: AccountRegistry, url: str) -> Books:
    return Books(registry, url)


def notice(account: str | None, about: str = "x", kind: NoticeKind = NoticeKind.ACTION_NEEDED) -> Notice:
    return Notice(new_id(), account, kind, "LOGIN_FAILED", about, "webhook", NOW, NOW)


# Proofs


def test_a_recorded_consent_is_read_back_and_names_its_meter_only_sealed(books: Books) -> None:
    account = books.add()
    dates = {"consent_from": TODAY, "consent_until": UNTIL}
    proof = books.consents.record(account, ConsentKind.AUTORISATION, NOW, reference="4711", **dates)
    assert books.consents.of(account) == [proof]
    assert (proof.kind, proof.reference, proof.consented_at, proof.open) == ("autorisation", "4711", NOW, True)
    assert (proof.consent_from, proof.consent_until, proof.supplier) == (TODAY, UNTIL, "enedis")
    assert books.consents.usage_point_of(proof) == METER
    assert METER not in books.rows("consent_proofs")
    assert METER not in repr(proof)
    kept = books.registry.get(account)
    assert (kept.consent_from, kept.consent_until) == (TODAY, UNTIL)


def test_a_callback_loaded_twice_is_one_consent(books: Books) -> None:
    account = books.add()
    first = books.consents.record(account, ConsentKind.AUTORISATION, NOW, reference="1", consent_until=UNTIL)
    later = books.consents.record(account, ConsentKind.AUTORISATION, NOW + DAY, reference="1", consent_until=UNTIL)
    assert later == first
    with ThreadPoolExecutor(6) as threads:
        again = threads.map(
            lambda n: books.consents.record(account, ConsentKind.AUTORISATION, NOW, reference="2"), range(12)
        )
        assert len({proof.id for proof in again}) == 1
    assert len(books.consents.of(account)) == 2


def test_an_old_callback_loaded_again_neither_lengthens_nor_replaces_a_consent(books: Books) -> None:
    account = books.add()

    def consent(reference: str, day: date) -> str:
        dates = {"consent_from": day, "consent_until": day + 365 * DAY}
        return books.consents.record(account, ConsentKind.AUTORISATION, NOW, reference=reference, **dates).id

    first = consent("1", TODAY)
    assert consent("1", TODAY + 30 * DAY) == first
    assert books.registry.get(account).consent_until == TODAY + 365 * DAY
    second = consent("2", TODAY + 60 * DAY)
    assert consent("1", TODAY + 90 * DAY) == second
    assert books.registry.get(account).consent_until == TODAY + 425 * DAY
    assert [proof.open for proof in books.consents.of(account)].count(True) == 1


def test_a_consent_held_for_ended_is_in_force_again_when_the_supplier_confirms_it(books: Books) -> None:
    account = books.add()
    first = books.consents.record(account, ConsentKind.AUTORISATION, NOW, reference="1", consent_until=UNTIL)
    books.consents.ended(account, "USER_ACTION_NEEDED.OAUTH_OUTDATED", NOW)
    again = books.consents.record(account, ConsentKind.AUTORISATION, NOW + DAY, reference="1", consent_until=UNTIL)
    assert again == first
    assert books.consents.of(account) == [first]


def test_a_renewal_ends_the_consent_before_it_and_clears_doubts_and_what_was_to_be_told(books: Books) -> None:
    account = books.add()
    books.consents.record(account, ConsentKind.USAGE_POINT, NOW, consent_until=TODAY)
    books.doubts.note(account, CODE, NOW)
    told, untold = notice(account, "a"), notice(account, "b")
    books.notices.post([told, untold])
    books.notices.delivered(told.id, NOW)
    books.consents.record(account, ConsentKind.USAGE_POINT, NOW + DAY, consent_until=UNTIL)
    newest, oldest = books.consents.of(account)
    assert (newest.open, newest.consent_until) == (True, UNTIL)
    assert (oldest.ended_at, oldest.end_reason) == (NOW + DAY, "renewed")
    assert books.doubts.of(account) == []
    assert [kept.id for kept in books.notices.of(account)] == [told.id]


def test_a_consent_ends_once_and_for_its_first_reason(books: Books) -> None:
    account = books.add()
    books.consents.record(account, ConsentKind.CODE, NOW)
    assert books.consents.ended(account, "revoked", NOW) == 1
    assert books.consents.ended(account, "other", NOW + DAY) == 0
    assert [(proof.ended_at, proof.end_reason) for proof in books.consents.of(account)] == [(NOW, "revoked")]


def test_the_calendar_holds_living_accounts_by_the_end_of_their_consent(books: Books) -> None:
    dates = {"late": UNTIL, "none": None, "soon": TODAY + 7 * DAY, "over": TODAY - DAY, "gone": TODAY}
    named = {books.add(f"{30001640000000 + n}", until): name for n, (name, until) in enumerate(dates.items())}
    gone = next(account for account, name in named.items() if name == "gone")
    books.registry.remove(gone)
    assert [named[account.id] for account in books.consents.calendar()] == ["over", "soon", "late", "none"]
    assert [named[account.id] for account in books.consents.calendar(TODAY + 30 * DAY)] == ["over", "soon"]


def test_unknown_and_removed_accounts_get_no_consent(books: Books) -> None:
    removed = books.add()
    books.registry.remove(removed)
    for account in ("nobody", removed):
        with pytest.raises(UnknownAccount):
            books.consents.record(account, ConsentKind.CODE, NOW)
        with pytest.raises(UnknownAccount):
            books.doubts.note(account, CODE, NOW)
    with pytest.raises(UnknownAccount):
        books.consents.of("nobody")


# The end of accounts and proofs


def test_the_proof_of_a_removed_account_stays_without_its_meter(books: Books) -> None:
    account = books.add()
    books.consents.record(account, ConsentKind.AUTORISATION, NOW, reference="1")
    books.doubts.note(account, CODE, NOW)
    books.notices.post([notice(account)])
    books.registry.remove(account)
    assert books.consents.removed(account, NOW, keep_days=1825) == ErasedProofs(1, 0, doubts=1, notices=1)
    assert books.consents.removed(account, NOW + DAY, keep_days=1825) == ErasedProofs(1, 0, 0, 0)
    (proof,) = books.consents.of(account)
    assert (proof.end_reason, proof.ended_at, proof.reference, proof.names_meter) == ("removed", NOW, "1", False)
    assert books.consents.usage_point_of(proof) is None


def test_a_policy_of_no_days_erases_the_proofs_with_the_account(books: Books) -> None:
    account = books.add()
    for number in range(3):
        books.consents.record(account, ConsentKind.AUTORISATION, NOW, reference=str(number))
    books.registry.remove(account)
    assert books.consents.removed(account, NOW, keep_days=0) == ErasedProofs(0, 3, 0, 0)
    assert books.consents.of(account) == []


def test_tidying_ends_what_is_over_erases_what_was_kept_long_enough_and_nothing_else(books: Books) -> None:
    over, living = books.add(), books.add("30001640000022")
    books.consents.record(over, ConsentKind.USAGE_POINT, NOW, consent_until=TODAY)
    books.consents.record(living, ConsentKind.USAGE_POINT, NOW, consent_until=UNTIL)
    assert books.consents.tidy(NOW, TODAY, 10) == (0, 0)  # its last day counts
    assert books.consents.tidy(NOW + DAY, TODAY + DAY, 10) == (1, 0)
    (proof,) = books.consents.of(over)
    assert (proof.end_reason, proof.ended_at) == ("expired", datetime(2024, 7, 26, tzinfo=PARIS))
    assert books.consents.tidy(NOW + 10 * DAY, TODAY + 10 * DAY, 10) == (0, 0)
    assert books.consents.tidy(NOW + 11 * DAY, TODAY + 11 * DAY, 10) == (0, 1)
    assert books.consents.of(over) == []
    assert books.consents.of(living)[0].open


def test_tidying_finishes_a_removal_that_died_half_way(books: Books) -> None:
    account = books.add()
    books.consents.record(account, ConsentKind.USAGE_POINT, NOW)
    books.doubts.note(account, CODE, NOW)
    books.registry.remove(account)
    assert books.consents.tidy(NOW, TODAY, 10) == (0, 0)
    (proof,) = books.consents.of(account)
    assert (proof.end_reason, proof.names_meter) == ("removed", False)
    assert books.doubts.of(account) == []


# Keys


def test_meters_sealed_under_an_old_key_outlive_it_through_rotation(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stores.encryption.PAGE", 2)
    accounts = [books.add(f"{30001640000000 + n}") for n in range(5)]
    proofs = [books.consents.record(account, ConsentKind.USAGE_POINT, NOW) for account in accounts]
    fresh, database = new_key(), books.registry.database
    with pytest.raises(OperatorFault, match="5 can't be read"):
        ConsentTable(database, Sealer([fresh])).rotate_seals()
    assert ConsentTable(database, Sealer([fresh, KEY])).rotate_seals() == 5
    rotated = ConsentTable(database, Sealer([fresh]))
    assert [rotated.usage_point_of(proof) for proof in proofs] == [f"{30001640000000 + n}" for n in range(5)]


# Doubts


def test_sightings_are_counted_from_the_first_and_forgotten_at_a_success(books: Books) -> None:
    account = books.add()
    for hours in (0, 3, 1):  # the last one's message was late
        doubt = books.doubts.note(account, CODE, NOW + timedelta(hours=hours))
    assert (doubt.first_seen, doubt.last_seen, doubt.times) == (NOW, NOW + timedelta(hours=3), 3)
    assert books.doubts.clear(account) == 1
    assert books.doubts.clear(account) == 0
    assert books.doubts.note(account, CODE, NOW).times == 1


def test_sightings_at_once_are_all_counted(books: Books) -> None:
    account = books.add()
    with ThreadPoolExecutor(8) as threads:
        seen = sorted(threads.map(lambda n: books.doubts.note(account, CODE, NOW).times, range(24)))
    assert seen == list(range(1, 25))


def test_what_a_storm_said_does_not_count_and_whom_it_set_aside_runs_again(books: Books) -> None:
    struck, set_aside, before, other = (books.add(f"{30001640000000 + n}") for n in range(4))
    books.doubts.note(struck, CODE, NOW)
    for account, when in ((set_aside, NOW), (before, NOW - DAY)):
        books.doubts.set_aside(
            account, CODE, when, consent_ended=False, notices=lambda account=account: [notice(account)]
        )
    books.registry.set_state(other, AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=NOW)
    assert books.doubts.absolve(CODE, NOW - timedelta(hours=6), NOW) == [set_aside]
    assert [account.id for account in books.registry.list([AccountState.ACTION_NEEDED])] == sorted([before, other])
    assert books.notices.of(set_aside) == []
    assert books.doubts.of(struck)[0].times == 0
    again = books.doubts.note(struck, CODE, NOW + DAY)
    assert (again.times, again.first_seen) == (1, NOW + DAY)


def test_first_sightings_are_counted_and_who_is_set_aside_for_what_is_certain(books: Books) -> None:
    accounts = [books.add(f"{30001640000000 + n}") for n in range(5)]
    fresh, again, absolved, aside, paused = accounts
    books.doubts.note(absolved, CODE, NOW)
    books.doubts.absolve(CODE, NOW, NOW)
    books.doubts.note(again, CODE, NOW - DAY)
    for account in (fresh, again):
        books.doubts.note(account, CODE, NOW)
    books.doubts.set_aside(aside, CODE, NOW, consent_ended=False, notices=list)
    books.registry.set_state(paused, AccountState.PAUSED, now=NOW)
    assert books.doubts.newly_refused(CODE, NOW - timedelta(hours=1), certain=False) == 1
    assert books.doubts.newly_refused(CODE, NOW - timedelta(hours=1), certain=True) == 1
    assert books.doubts.newly_refused(CODE, NOW + timedelta(seconds=1), certain=True) == 0


def test_accounts_that_were_tried_are_counted_once_and_up_to_a_bound(books: Books) -> None:
    for number in range(4):
        account = books.add(f"{30001640000000 + number}")
        for series in ("daily", "load_curve"):
            at = NOW - DAY if number == 3 else NOW
            books.registry.record_outcome(
                account, series, at.isoformat(), at, code=None, message="", last_day=None, stored=False
            )
    assert books.doubts.tried(NOW, most=10) == 3
    assert books.doubts.tried(NOW, most=2) == 2


def test_consents_that_a_storm_ended_hold_again(books: Books) -> None:
    account, earlier = (books.add(f"{30001640000000 + n}") for n in range(2))
    for each, at in ((account, NOW), (earlier, NOW - DAY)):
        books.consents.record(each, ConsentKind.USAGE_POINT, at)
        books.doubts.set_aside(each, CODE, at, consent_ended=True, notices=list)
    assert books.doubts.absolve(CODE, NOW - timedelta(hours=6), NOW) == [account]
    assert [books.consents.of(each)[0].open for each in (account, earlier)] == [True, False]


def test_one_account_set_aside_by_many_at_once_is_told_of_once(books: Books) -> None:
    account = books.add()

    def aside(number: int) -> bool:
        return books.doubts.set_aside(
            account, "LOGIN_FAILED", NOW, consent_ended=False, notices=lambda: [notice(account, str(number))]
        )

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(aside, range(16))) == 1
    assert len(books.notices.of(account)) == 1


# Notices


def test_a_notice_is_kept_once_whoever_posts_it(books: Books) -> None:
    account = books.add()
    with ThreadPoolExecutor(6) as threads:
        posted = list(threads.map(lambda n: books.notices.post([notice(account), notice(None)]), range(12)))
    assert sum(map(len, posted)) == 2
    assert len(books.notices.of(account)) == 1


def test_a_due_notice_is_claimed_by_one_sender_and_due_again_later(books: Books) -> None:
    mine = notice(books.add())
    books.notices.post([mine])
    with ThreadPoolExecutor(8) as threads:
        claimed = [found for found in threads.map(lambda n: books.notices.claim(mine.id, NOW), range(16)) if found]
    assert [found.attempts for found in claimed] == [1]
    assert books.notices.due(NOW) == []
    assert books.notices.due(NOW + WAITS[0]) == [mine.id]


def test_a_notice_nobody_takes_is_tried_eight_times_with_growing_waits_and_then_given_up(books: Books) -> None:
    mine = notice(books.add())
    books.notices.post([mine])
    now, tries = NOW, []
    while books.notices.due(now + 2 * DAY):
        claimed = books.notices.claim(mine.id, now)
        if claimed is not None:
            books.notices.failed(mine.id, "webhook: status 500")
            tries.append(claimed.next_attempt_at - now)
        now += timedelta(minutes=1)
    assert tries == list(WAITS)
    assert tries == sorted(tries)
    assert len(tries) == MOST_ATTEMPTS == 8
    (given_up,) = books.notices.given_up(NOW - DAY)
    assert (given_up.last_error, given_up.delivered_at) == ("webhook: status 500", None)
    assert books.notices.claim(mine.id, now + 30 * DAY) is None


def test_a_told_notice_is_not_due_and_old_ones_are_forgotten(books: Books) -> None:
    account = books.add()
    told, waiting = notice(account, "a"), notice(account, "b")
    books.notices.post([told, waiting])
    books.notices.delivered(told.id, NOW)
    assert books.notices.due(NOW + 30 * DAY) == [waiting.id]
    assert books.notices.claim(told.id, NOW + DAY) is None
    assert books.notices.erase_before(NOW) == 0
    assert books.notices.erase_before(NOW + DAY) == 2
