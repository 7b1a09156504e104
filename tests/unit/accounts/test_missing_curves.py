"""Notices of a missing curve: the owner gets one each time it stops, and none if the curve comes meanwhile."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tests.support.factories import curve_of, serving_curves, serving_days
from tests.support.registries import deliver_due
from tests.unit.conftest import Household
from worker.accounts.notice_channels import CURVE_NOT_ACTIVATED, NoticeChannels, NoticeMessage
from worker.accounts.notices import NoticeSender, notify_missing_curves
from worker.domain.account import AccountState
from worker.domain.notice import Notice, NoticeKind
from worker.domain.windows import ONE_DAY
from worker.texts import translate_all


class RecordingChannel:
    """A channel that records its messages."""

    def __init__(self) -> None:
        self.messages: list[NoticeMessage] = []

    def send(self, message: NoticeMessage) -> None:
        self.messages.append(message)


class Home:
    """An account whose daily values come and whose curve does not."""

    def __init__(self, household: Household) -> None:
        self.household, self.account, self.channel = household, household.add(), RecordingChannel()
        self.sender = NoticeSender(
            registry=household.registry,
            channels=NoticeChannels(of_settings={"log": self.channel}),
            now=household.now,
        )
        self.sync()

    def sync(self, *with_curve: date) -> None:
        today = self.household.history.today()
        days = [today - age * ONE_DAY for age in range(1, 31)]
        self.household.supplier.daily = serving_days(dict.fromkeys(days, 5000))
        self.household.supplier.curve = serving_curves({day: curve_of(day, 100) for day in with_curve})
        self.household.look_back(self.account)

    def notify(self) -> int:
        return notify_missing_curves(self.household.registry, self.household.refusals)

    def notices(self) -> list[Notice]:
        return self.household.notices.list_for_account(self.account)


@pytest.fixture
def home(household: Household) -> Home:
    return Home(household)


def test_it_is_told_once_with_what_to_do(home: Home) -> None:
    assert [home.notify() for _ in range(2)] == [1, 0]
    home.household.at += timedelta(days=1)
    home.sync()
    assert home.notify() == 0, "the same emptiness"
    assert deliver_due(home.sender) == 1
    (message,) = home.channel.messages
    assert (message.notice.kind, message.notice.about) == (NoticeKind.CURVE_NOT_ACTIVATED, "never")
    assert message.texts == translate_all(f"code.{CURVE_NOT_ACTIVATED}.what_to_do")
    assert not message.new_consent_helps


def test_where_the_curve_comes_meanwhile_nothing_is_told(home: Home) -> None:
    home.notify()
    home.sync(home.household.history.today() - ONE_DAY)
    assert deliver_due(home.sender) == 0
    assert (home.channel.messages, home.notices()) == ([], [])


def test_a_curve_that_stops_again_is_told_of_again(home: Home) -> None:
    home.notify()
    last = home.household.history.today() - ONE_DAY
    home.sync(last)
    home.household.at += timedelta(days=9)
    home.sync()
    assert home.notify() == 0, "two days of the row were never asked for"
    home.household.at -= timedelta(days=3)
    home.sync()
    assert home.notify() == 1
    assert [notice.about for notice in home.notices()][-1] == last.isoformat()


def test_an_account_that_is_not_read_is_left_alone(home: Home) -> None:
    home.household.registry.accounts.set_state(home.account, AccountState.PAUSED, now=home.household.at)
    assert home.notify() == 0
