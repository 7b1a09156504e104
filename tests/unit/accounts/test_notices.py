"""Whether a notice that waited still applies when it is sent."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import update

from tests.unit.conftest import Household
from worker.accounts.notice_channels import NoticeChannels, NoticeLog, write_day
from worker.accounts.notices import NoticeSender
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


@pytest.mark.parametrize(("day", "written"), [("2026-12-24", "24 December 2026"), ("soon", "soon"), ("", "-")])
def test_a_day_in_a_notice_is_written_as_people_do(day: str, written: str) -> None:
    assert write_day(day, "en") == written
