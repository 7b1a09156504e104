"""Whether a notice that waited still applies when it is sent."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import update

from tests.unit.conftest import Household
from worker.accounts.notice_channels import NoticeChannels, NoticeLog, write_day
from worker.accounts.notices import NoticeSender
from worker.domain.campaign import Campaign, Recipient
from worker.stores.registry.tables import ACCOUNTS

END = date(2024, 8, 1)


@pytest.mark.parametrize(("now_ends_on", "delivered"), [(END, 1), (date(2027, 8, 1), 0), (None, 0)])
def test_the_end_of_a_consent_is_told_only_while_it_is_that_day(
    household: Household, now_ends_on: date | None, delivered: int
) -> None:
    """Another process may have renewed the consent since."""
    household.add_another(END)
    assert len(household.refusals.insert_reminders()) == 1
    household.registry.database.change(update(ACCOUNTS).values(consent_until=now_ends_on))
    sender = NoticeSender(
        registry=household.registry,
        channels=NoticeChannels(of_settings={"log": NoticeLog()}),
        now=household.now,
    )
    assert sum(map(sender.deliver, household.notices.list_due(household.at))) == delivered


def test_a_campaign_takes_the_place_of_reminders_that_are_waiting_and_of_new_ones(household: Household) -> None:
    account, other = household.add_another(END), household.add_another(END)
    household.registry.now = household.now
    (waiting,) = (notice for notice in household.refusals.insert_reminders() if notice.account_id == account)
    facts = {"campaign_id": "c1", "account_id": account, "mail_id": "m", "sealed_address": "sealed"}
    recipient = Recipient(**facts, id="r", created_at=household.at, next_attempt_at=household.at)
    campaigns = household.registry.campaigns
    campaigns.create(Campaign("c1", "alice", household.at, "--csv", 200), [recipient])
    campaigns.set_running("c1", running=True)
    sender = NoticeSender(
        registry=household.registry,
        channels=NoticeChannels(of_settings={"log": NoticeLog()}),
        now=household.now,
    )
    assert not sender.deliver(waiting.id)
    assert household.refusals.insert_reminders() == [], "it isn't inserted again the next night"
    assert sum(map(sender.deliver, household.notices.list_due(household.at))) == 1, other
    campaigns.set_running("c1", running=False)
    assert [notice.account_id for notice in household.refusals.insert_reminders()] == [account]


@pytest.mark.parametrize(("day", "written"), [("2026-12-24", "24 December 2026"), ("soon", "soon"), ("", "-")])
def test_a_day_in_a_notice_is_written_as_people_do(day: str, written: str) -> None:
    assert write_day(day, "en") == written
