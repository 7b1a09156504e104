"""An owner is told once that the curve is not switched on, and not at all once it comes."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tests.support.factories import curve_of, serving_curves, serving_days
from tests.unit.conftest import Household
from worker.accounts.notice_texts import CURVE_NOT_ACTIVATED, WHAT_TO_DO, Message, to_message
from worker.accounts.notices import NoticeSender, tell_of_missing_curves
from worker.domain.consent.accounts import AccountState
from worker.domain.consent.consents import Notice, NoticeKind
from worker.domain.measures.readings import ONE_DAY, Series


class Box:
    """A channel that keeps what it is given."""

    def __init__(self) -> None:
        self.told: list[Message] = []

    def send(self, message: Message) -> None:
        self.told.append(message)


class Home:
    """Daily values come, the curve does not."""

    def __init__(self, house: Household) -> None:
        self.house, self.account, self.box = house, house.add(), Box()
        self.courier = NoticeSender(
            house.notices,
            house.registry,
            {"log": self.box},
            lambda account_id: f"https://x/{account_id}",
            house.now,
            lambda account_id: house.registry.completeness.missing_curve(account_id) is not None,
        )
        self.sync()

    def sync(self, *with_curve: date) -> None:
        today = self.house.dispatcher.today()
        days = [today - age * ONE_DAY for age in range(1, 31)]
        self.house.supplier.daily = serving_days(dict.fromkeys(days, 5000))
        self.house.supplier.curve = serving_curves({day: curve_of(day, 100) for day in with_curve})
        for series in Series:
            self.house.run(self.house.dispatcher.look_back_now(self.account, series))

    def watch(self) -> int:
        return tell_of_missing_curves(self.house.registry, self.house.desk)

    def notices(self) -> list[Notice]:
        return self.house.notices.of(self.account)


@pytest.fixture
def home(household: Household) -> Home:
    return Home(household)


def test_it_is_told_once_with_what_to_do(home: Home) -> None:
    assert [home.watch() for _ in range(2)] == [1, 0]
    home.house.at += timedelta(days=1)
    home.sync()
    assert home.watch() == 0, "the same emptiness"
    assert home.courier.deliver_due() == 1
    (message,) = home.box.told
    assert (message.notice.kind, message.notice.about) == (NoticeKind.CURVE_NOT_ACTIVATED, "never")
    assert message.texts == WHAT_TO_DO[CURVE_NOT_ACTIVATED]
    assert message.renewal_url is None, "a new consent would not help"


def test_where_the_curve_comes_meanwhile_nothing_is_told(home: Home) -> None:
    home.watch()
    home.sync(home.house.dispatcher.today() - ONE_DAY)
    assert home.courier.deliver_due() == 0
    assert (home.box.told, home.notices()) == ([], [])


def test_a_curve_that_stops_again_is_told_of_again(home: Home) -> None:
    home.watch()
    last = home.house.dispatcher.today() - ONE_DAY
    home.sync(last)
    home.house.at += timedelta(days=9)
    home.sync()
    assert home.watch() == 0, "two days of the row were never asked for"
    home.house.at -= timedelta(days=3)
    home.sync()
    assert home.watch() == 1
    assert [notice.about for notice in home.notices()][-1] == last.isoformat()


def test_an_account_that_is_not_read_is_left_alone(home: Home) -> None:
    home.house.registry.set_state(home.account, AccountState.PAUSED, now=home.house.at)
    assert home.watch() == 0


def test_every_kind_of_notice_has_its_words(home: Home) -> None:
    for kind in NoticeKind:
        notice = Notice("1", home.account, kind, CURVE_NOT_ACTIVATED, "2024-07-25", "log", home.house.at, home.house.at)
        message = to_message(notice, lambda account_id: "https://x")
        assert all(message.texts[language] and message.subject[language] for language in ("fr", "en"))
