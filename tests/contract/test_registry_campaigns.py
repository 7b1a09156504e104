"""The tables of campaigns, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from threading import Barrier

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import update

from tests.support.registries import add_ready, close_account, empty_registry, new_registry, record_consent
from worker.domain.account import AccountState
from worker.domain.campaign import CAMPAIGN_LIFE, WAITING, AddressSource, Campaign, Recipient, RecipientState
from worker.domain.consents import ConsentKind
from worker.domain.retry import NOTICE_DELAYS
from worker.domain.windows import civil_date
from worker.stores.registry import Registry
from worker.stores.registry.campaigns import CampaignTable, UnknownCampaign
from worker.stores.registry.tables import ACCOUNTS

T0 = datetime(2026, 7, 6, 8, 0, tzinfo=UTC)  # A Monday.
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
S = RecipientState


class Office:
    """A registry with campaigns, whose time the test sets."""

    def __init__(self, registry: Registry) -> None:
        self.at = T0
        self.registry = registry
        self.table = CampaignTable(registry.database, lambda: self.at)

    def add_accounts(self, count: int) -> list[str]:
        return [add_ready(self.registry, f"1234567890{number:04}") for number in range(count)]

    def create(self, mails: dict[str, list[str]], *, per_day: int = 200, running: bool = True, id_: str = "c1") -> bool:
        """Create a campaign of list addresses, if it may be; ``mails``: the accounts of each mail."""
        recipients = [
            Recipient(
                id=f"{id_}-{mail}-{account}",
                campaign_id=id_,
                account_id=account,
                mail_id=f"{id_}-{mail}",
                created_at=self.at,
                sealed_address=f"sealed {mail}",
                next_attempt_at=self.at,
            )
            for mail, accounts in mails.items()
            for account in accounts
        ]
        if not self.table.create(Campaign(id_, "alice", self.at, "--csv", per_day), recipients):
            return False
        self.table.set_running(id_, running=running)
        return True

    def claim(self) -> str | None:
        """Claim the next mail and return its id."""
        claimed = self.table.claim_next()
        assert len({recipient.mail_id for recipient in claimed}) <= 1
        return claimed[0].mail_id if claimed else None

    def mail(self) -> str | None:
        """Claim the next mail and send it."""
        if mail_id := self.claim():
            self.table.mark_mailed(mail_id)
        return mail_id

    def recipient(self, recipient_id: str) -> Recipient:
        found = self.table.find(recipient_id)
        assert found is not None
        return found

    def the_one(self, account_id: str) -> Recipient:
        (recipient,) = self.table.list_of_account(account_id)
        return recipient

    def consent(self, account_id: str) -> None:
        record_consent(self.registry.consents, account_id, ConsentKind.AUTORISATION, self.at)


@pytest.fixture
def office(registry: Registry) -> Office:
    return Office(registry)


def test_a_campaign_is_created_stopped_and_mails_each_address_once(office: Office) -> None:
    first, second, third = office.add_accounts(3)
    office.create({"m1": [first, second], "m2": [third]}, running=False)
    assert not office.table.get("c1").is_running and office.table.claim_next() == []
    assert office.table.set_running("c1", running=True) == office.table.get("c1")
    claimed = office.table.claim_next()
    assert [(one.account_id, one.mail_id, one.attempts) for one in claimed] == [
        (account, "c1-m1", 1) for account in sorted([first, second])
    ]
    assert all(one.claimed_at == T0 and one.source is AddressSource.LIST for one in claimed)
    office.table.mark_mailed("c1-m1")
    office.table.mark_mailed("c1-m1")
    assert office.mail() == "c1-m2"
    office.at += 30 * DAY
    assert office.claim() is None
    assert office.table.count_states("c1") == {**dict.fromkeys(S, 0), S.MAILED: 3} == office.table.count_states()
    assert office.table.count_days("c1") == [(date(2026, 7, 6), {S.MAILED: 3})]


def test_a_stopped_campaign_claims_nothing_until_it_goes_on(office: Office) -> None:
    office.create({account: [account] for account in office.add_accounts(2)})
    assert office.mail()
    office.table.set_running("c1", running=False)
    assert office.claim() is None
    office.table.set_running("c1", running=True)
    assert office.mail() and office.claim() is None


def test_a_mail_whose_sending_failed_or_died_is_claimed_again_by_the_same_id(office: Office) -> None:
    (account,) = office.add_accounts(1)
    office.create({"m": [account]})
    for attempt in range(1, len(NOTICE_DELAYS) + 3):
        assert office.claim() == "c1-m"
        if attempt == 1:  # The other processes die without a word.
            office.table.record_failure("c1-m", "mail server: " + "x" * 300)
            assert office.the_one(account).last_error.startswith("mail server") and office.claim() is None
        delay = NOTICE_DELAYS[min(attempt, len(NOTICE_DELAYS)) - 1]
        office.at += delay - MINUTE / 60
        assert office.claim() is None
        office.at += MINUTE / 60
    assert office.mail() == "c1-m"
    last = office.the_one(account)
    assert (last.state, last.claimed_at, last.mailed_at, last.last_error) == (S.MAILED, T0, office.at, "")


def test_a_day_of_paris_has_no_more_first_claims_than_its_number_and_retries_do_not_count(office: Office) -> None:
    office.create({account: [account] for account in office.add_accounts(5)}, per_day=2)
    first, second = office.claim(), office.claim()
    assert first and second and office.claim() is None
    office.at = datetime(2026, 7, 6, 21, 59, tzinfo=UTC)
    assert {office.mail(), office.claim()} == {first, second}, "a retry isn't held back by the day's number"
    assert office.claim() is None
    office.at = datetime(2026, 7, 6, 22, 10, tzinfo=UTC)  # Midnight in Paris is over.
    claims = [office.mail() for _ in range(4)]
    assert len({first, second, *claims}) == 5, "a retry isn't counted: one of yesterday's, two of today's, and no more"
    assert claims[3] is None


def test_each_campaign_has_its_own_number_and_the_oldest_mails_first(office: Office) -> None:
    accounts = office.add_accounts(4)
    office.create({account: [account] for account in accounts[:2]}, per_day=1)
    office.at += MINUTE
    office.create({account: [account] for account in accounts[2:]}, per_day=1, id_="c2")
    assert [one.id for one in office.table.list_campaigns()] == ["c2", "c1"]
    claims = [office.claim() for _ in range(3)]
    assert [claim and claim[:2] for claim in claims] == ["c1", "c2", None]


def test_two_processes_never_claim_the_same_mail(office: Office) -> None:
    office.create({account: [account] for account in office.add_accounts(9)}, per_day=7)
    start = Barrier(4)

    def claim_all() -> list[str]:
        start.wait()
        return list(iter(office.claim, None))  # type: ignore[arg-type]

    with ThreadPoolExecutor(4) as pool:
        claims = [mail for future in [pool.submit(claim_all) for _ in range(4)] for mail in future.result()]
    assert len(claims) == len(set(claims)) == 7


@pytest.mark.parametrize("end", ["closed", "removed", "connected", "refused"])
def test_an_account_that_ended_or_answered_is_not_mailed(office: Office, end: str) -> None:
    first, second = office.add_accounts(2)
    office.create({"m": [first, second]})
    recipient = office.the_one(first)
    actions: dict[str, Callable[[], object]] = {
        "closed": lambda: close_account(office.registry.consents, first, office.at),
        "removed": lambda: office.registry.accounts.remove(first, office.at),
        "connected": lambda: office.consent(first),
        "refused": lambda: office.table.note_refused(recipient_id=recipient.id),
    }
    actions[end]()
    assert [one.account_id for one in office.table.claim_next()] == [second]
    office.table.mark_mailed("c1-m")
    found = office.table.find(recipient.id)
    assert found is None if end == "removed" else found and found.mailed_at is None


def test_a_campaign_mails_and_keeps_addresses_for_60_days_and_is_deleted_after_400(office: Office) -> None:
    first, second = office.add_accounts(2)
    office.create({"m1": [first], "m2": [second]})
    assert (mailed := office.mail())
    office.at = T0 + CAMPAIGN_LIFE - MINUTE
    assert office.table.apply_retention() == 0 and office.claim() not in (None, mailed)
    office.at = T0 + CAMPAIGN_LIFE
    assert office.claim() is None and office.table.find_busy([first, second]) == set()
    assert office.table.apply_retention() == 2
    assert [office.the_one(one).sealed_address for one in (first, second)] == [None, None]
    office.at = T0 + 400 * DAY
    assert office.table.apply_retention() == 0
    office.at += MINUTE
    assert office.table.apply_retention() == 3 and office.table.list_campaigns() == []


@pytest.mark.parametrize("how", ["consent", "refused", "address refused", "closed", "erased"])
def test_a_lists_address_is_deleted_with_the_answer_or_the_account(office: Office, how: str) -> None:
    (account,) = office.add_accounts(1)
    office.create({"m": [account]})
    assert office.claim() == "c1-m"
    recipient_id = office.the_one(account).id
    states = {"consent": S.CONNECTED, "refused": S.REFUSED, "address refused": S.ADDRESS_REFUSED, "closed": S.CHOSEN}
    if how == "consent":
        office.consent(account)
    elif how == "refused":
        assert office.table.note_refused(recipient_id=recipient_id)
        assert not office.table.note_refused(recipient_id=recipient_id)
    elif how == "address refused":
        office.table.refuse_address("c1-m")
    elif how == "closed":
        close_account(office.registry.consents, account, office.at)
        assert office.table.apply_retention() == 1
    else:
        office.registry.accounts.remove(account, office.at)
        assert office.table.find(recipient_id) is None
        return
    row = office.recipient(recipient_id)
    assert (row.state, row.sealed_address) == (states[how], None)
    assert row.answered_at == (None if how == "closed" else T0)


def test_a_removal_by_an_older_version_is_finished_by_the_retention(office: Office) -> None:
    (account,) = office.add_accounts(1)
    office.create({"m": [account]})
    deleted = update(ACCOUNTS).where(ACCOUNTS.c.id == account).values(state=AccountState.DELETED)
    office.registry.database.change(deleted)
    assert office.table.apply_retention() == 1 and office.table.list_of_account(account) == []


def test_a_consent_by_any_way_connects_the_account_and_nobody_else(office: Office) -> None:
    first, second = office.add_accounts(2)
    office.create({"m": [first, second]})
    assert office.mail()
    office.at += DAY
    office.consent(first)
    assert [office.the_one(one).state for one in (first, second)] == [S.CONNECTED, S.MAILED]
    assert office.table.count_days("c1") == [(date(2026, 7, 7), {S.CONNECTED: 1}), (date(2026, 7, 6), {S.MAILED: 2})]
    assert [[one.account_id for one in page] for page in office.table.left_pages("c1")] == [[second]]


def test_a_consent_that_is_rolled_back_connects_nothing(office: Office) -> None:
    (account,) = office.add_accounts(1)
    office.create({"m": [account]})
    with pytest.raises(RuntimeError), office.registry.database.writing() as connection:
        joined = office.registry.join(connection)
        record_consent(joined.consents, account, ConsentKind.AUTORISATION, office.at)
        raise RuntimeError
    assert office.the_one(account).state is S.CHOSEN


def test_of_two_presses_at_once_the_link_keeps_one_invitation(office: Office) -> None:
    (account,) = office.add_accounts(1)
    office.create({"m": [account]})
    assert office.mail()
    recipient_id = office.the_one(account).id
    start = Barrier(3)

    def press(invitation_id: str) -> str | None:
        start.wait()
        return office.table.bind(recipient_id, invitation_id)

    with ThreadPoolExecutor(3) as pool:
        (bound,) = set(pool.map(press, ("i1", "i2", "i3")))
    row = office.recipient(recipient_id)
    assert (row.state, row.invitation_id, row.opened_at) == (S.OPENED, bound, T0)
    office.table.note_asked(str(bound))
    assert office.table.bind(recipient_id, "i4") == bound and office.recipient(recipient_id).state is S.ASKED


def test_a_link_that_was_opened_shows_that_its_mail_has_arrived(office: Office) -> None:
    first, second = office.add_accounts(2)
    office.create({"m": [first, second]})
    assert office.claim()  # The process dies before it marks the mail.
    assert office.table.bind(office.the_one(first).id, "i1") == "i1"
    office.at += DAY
    assert office.claim() is None
    assert [office.the_one(one).state for one in (first, second)] == [S.OPENED, S.MAILED]


def test_who_said_no_on_the_links_page_opens_nothing_but_at_the_supplier_may_go_again(office: Office) -> None:
    first, second = office.add_accounts(2)
    office.create({"m": [first, second]})
    assert office.mail()
    assert office.table.note_refused(recipient_id=office.the_one(first).id)
    assert office.table.bind(office.the_one(first).id, "i1") is None and office.table.bind("gone", "i1") is None
    assert office.table.bind(office.the_one(second).id, "i2") == "i2"
    office.at += DAY
    office.table.note_asked("i2")
    assert office.table.note_refused(invitation_id="i2") and not office.table.note_refused(invitation_id="i1")
    office.at += DAY
    office.table.note_asked("i2")
    row = office.the_one(second)
    assert (row.state, row.asked_at, row.answered_at) == (S.ASKED, T0 + DAY, None)


def test_an_account_waits_in_one_campaign_at_a_time(office: Office) -> None:
    first, second, third = office.add_accounts(3)
    office.create({"m1": [first], "m2": [second]}, running=False)
    office.table.note_refused(recipient_id=office.the_one(second).id)
    assert office.table.find_busy([first, second, third]) == {first, second}
    office.at += 60 * DAY
    assert office.table.find_busy([first, second, third]) == {second}, "who said no isn't asked again"
    office.at -= 60 * DAY
    assert not office.create({"m": [first, third]}, id_="c2")
    assert len(office.table.list_campaigns()) == 1 and office.table.list_of_account(third) == []
    office.table.remove("c1")
    assert office.table.list_campaigns() == [] and office.table.list_of_account(first) == []
    office.create({"m": [first, second, third]}, id_="c2")
    with pytest.raises(UnknownCampaign):
        office.table.remove("c1")
    for call in (office.table.get, lambda id_: office.table.set_running(id_, running=True)):
        with pytest.raises(UnknownCampaign):
            call("c1\x00")


def test_reminders_are_taken_over_by_a_running_campaign_and_by_its_mails(office: Office) -> None:
    mailed, chosen, other, stopped = office.add_accounts(4)
    office.create({"a": [mailed]})
    assert office.mail() and office.table.find_taken_over() == {mailed}
    office.create({"b": [chosen]}, id_="c2")
    office.create({"c": [stopped]}, id_="c3", running=False)
    assert office.table.find_taken_over() == {mailed, chosen}
    assert [office.table.find_taken_over(one) for one in (chosen, other, stopped)] == [{chosen}, set(), set()]
    office.table.set_running("c1", running=False)
    office.table.set_running("c2", running=False)
    assert office.table.find_taken_over() == {mailed}
    office.table.set_running("c2", running=True)
    assert office.claim()
    office.table.refuse_address("c2-b")
    assert office.table.find_taken_over() == {mailed}, "nothing has reached the other one"
    office.at += CAMPAIGN_LIFE
    assert office.table.find_taken_over() == set()
    office.table.note_refused(recipient_id=office.the_one(mailed).id)
    assert office.table.find_taken_over() == {mailed}, "who said no isn't reminded"


@pytest.fixture(scope="module")
def own_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with new_registry(tmp_path_factory.mktemp("campaigns")) as registry:
        yield registry


MAILS = {"m1": [0, 1], "m2": [2], "m3": [3]}
EVENTS = (
    "claim",
    "accept",
    "fail",
    "no such address",
    "press",
    "come back",
    "no",
    "no there",
    "consent",
    "erase",
    "wait",
)


@given(st.lists(st.tuples(st.sampled_from((*EVENTS, "claim", "accept", "wait")), st.integers(0, 3)), max_size=30))
@example([("claim", 0), ("press", 0), ("wait", 0), ("claim", 0), ("accept", 0), ("no there", 0), ("consent", 0)])
def test_whatever_happens_no_accepted_mail_is_claimed_again_and_the_counts_add_up(
    own_registry: Registry, events: list[tuple[str, int]]
) -> None:
    empty_registry(own_registry.database)
    office = Office(own_registry)
    accounts = office.add_accounts(4)
    office.create({mail: [accounts[number] for number in numbers] for mail, numbers in MAILS.items()}, per_day=2)
    ids = [office.the_one(account).id for account in accounts]
    rows = {one: office.recipient(one) for one in ids}
    claimed: list[str] = []
    accepted: set[str] = set()
    for event, number in events:
        mail = claimed[number % len(claimed)] if claimed else ""
        match event:
            case "claim":
                if found := office.claim():
                    assert found not in accepted
                    claimed.append(found)
            case "accept" if mail:
                office.table.mark_mailed(mail)
                accepted.add(mail)
            case "fail" if mail:
                office.table.record_failure(mail, "mail server")
            case "no such address" if mail not in accepted:
                office.table.refuse_address(mail)
            case "press" if ids[number] in rows and rows[ids[number]].claimed_at:
                office.table.bind(ids[number], f"i{number}-{len(claimed)}")
            case "no" if ids[number] in rows and rows[ids[number]].claimed_at:
                office.table.note_refused(recipient_id=ids[number])
            case "come back" | "no there" if ids[number] in rows and (bound := rows[ids[number]].invitation_id):
                act = office.table.note_asked if event == "come back" else office.table.note_refused
                act(invitation_id=bound)
            case "consent" if ids[number] in rows:
                office.consent(accounts[number])
            case "erase":
                office.registry.accounts.remove(accounts[number], office.at)
                rows.pop(ids[number], None)
            case "wait":
                office.at += timedelta(hours=13)
        before, rows = rows, {one: office.recipient(one) for one in rows}
        for one, row in rows.items():
            assert before[one].mailed_at in (None, row.mailed_at), "mailed once"
            assert row.sealed_address is None or row.state in WAITING
            assert before[one].invitation_id in (None, row.invitation_id)
        counts = office.table.count_states("c1")
        assert {state: count for state, count in counts.items() if count} == Counter(r.state for r in rows.values())
        days = office.table.count_days("c1")
        assert sum(day[S.MAILED] for _, day in days) == sum(row.mailed_at is not None for row in rows.values())
        firsts = Counter(
            civil_date(row.claimed_at) for row in {r.mail_id: r for r in rows.values()}.values() if row.claimed_at
        )
        assert all(count <= 2 for count in firsts.values())
