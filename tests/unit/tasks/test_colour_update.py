"""The task that asks RTE for the colours of Tempo: which days, when, and for whom."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from celery.schedules import crontab

from config import celery_options
from tasks import upkeep
from tests.support.parts import use_parts
from tests.unit.conftest import Household
from worker.accounts.prices import CHOICES_JSON, load_colours, save_colours
from worker.clients.published_files import NotFetched
from worker.clients.rte import LONGEST_DAYS, RteApplication
from worker.domain.account import DEFAULT_TENANT
from worker.domain.prices import PERIODS, Colour, Option, Price
from worker.domain.prices.choices import RegulatedChoice, TariffChoices
from worker.domain.windows import ONE_DAY, PARIS, DateWindow
from worker.stores.registry.account_details import PRICES

TODAY = date(2026, 1, 15)
TOMORROW = TODAY + ONE_DAY
FIRST = date(2026, 1, 2)
TEMPO = RegulatedChoice(FIRST, Option.TEMPO, 6)
APPLICATION = {"rte_client_id": "our-id", "rte_client_secret": "s3cret"}


def at(hour: int, minute: int = 0, day: date = TODAY) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=PARIS)


class PretendRte:
    """RTE, which knows the colours of the days up to ``last``; ``calls`` are the windows that were asked for."""

    def __init__(self) -> None:
        self.calls: list[DateWindow] = []
        self.last = TOMORROW
        self.colour = Colour.BLUE
        self.fault = ""

    def fetch(self, application: RteApplication, windows: Iterable[DateWindow]) -> Iterator[dict[date, Colour]]:
        assert (application.client_id, application.client_secret) == ("our-id", "s3cret")
        for window in windows:
            self.calls.append(window)
            if self.fault:
                raise NotFetched(self.fault)
            yield {day: self.colour for day in window.dates() if day <= self.last}


@pytest.fixture
def rte(monkeypatch: pytest.MonkeyPatch) -> PretendRte:
    rte = PretendRte()
    monkeypatch.setattr("worker.accounts.tempo.fetch_colours", rte.fetch)
    return rte


@pytest.fixture
def home(household: Household, monkeypatch: pytest.MonkeyPatch) -> Household:
    """An installation with an application at RTE; it is 10:40."""
    home = replace(household, settings=APPLICATION, at=at(10, 40))
    use_parts(monkeypatch, home)
    return home


def use(home: Household, *electricity: RegulatedChoice | Price) -> None:
    told = CHOICES_JSON.dump_python(TariffChoices(electricity), mode="json")
    home.registry.account_details.save(home.add_another(), PRICES, told)


def run(home: Household, moment: datetime | None = None) -> None:
    """Run the task, after the claims of before have ended."""
    home.at = moment or home.at
    home.redis.flushdb()
    upkeep.update_colours.run()


def own(last: date | None = None, option: Option = Option.TEMPO) -> Price:
    return Price(FIRST, last, dict.fromkeys(PERIODS[option], Decimal("0.2")))


def test_colours_are_asked_for_from_the_first_day_on_tempo_to_tomorrow(home: Household, rte: PretendRte) -> None:
    use(home, TEMPO)
    run(home)
    # Until 06:00 of the first day, the colour of the day before holds.
    assert rte.calls == [DateWindow(FIRST - ONE_DAY, TOMORROW + ONE_DAY)]
    assert load_colours(home.registry) == dict.fromkeys(rte.calls[0].dates(), Colour.BLUE)
    run(home)
    assert len(rte.calls) == 1


def test_a_tenants_default_and_own_prices_by_colour_are_on_tempo_too(home: Household, rte: PretendRte) -> None:
    use(home, own(option=Option.HPHC), RegulatedChoice(TODAY, Option.BASE, 6))
    run(home)
    assert rte.calls == []
    use(home, own())
    run(home)
    default = TariffChoices((replace(TEMPO, first=FIRST - 9 * ONE_DAY),))
    home.registry.tenants.save_prices(DEFAULT_TENANT, CHOICES_JSON.dump_python(default, mode="json"))
    run(home)
    assert [window.start for window in rte.calls] == [FIRST - ONE_DAY, FIRST - 10 * ONE_DAY]


def test_nothing_is_asked_for_without_an_application(household: Household, rte: PretendRte) -> None:
    for settings in ({}, {"rte_client_id": "our-id"}, {"rte_client_secret": "s3cret"}):
        home = replace(household, settings=settings, at=at(11))
        use(home, TEMPO)
        with pytest.MonkeyPatch.context() as patch:
            use_parts(patch, home)
            run(home)
    assert rte.calls == []


def test_three_years_are_asked_for_at_most_in_four_calls_the_newest_first(home: Household, rte: PretendRte) -> None:
    use(home, RegulatedChoice(date.min, Option.TEMPO, 6), RegulatedChoice(date.max, Option.BASE, 6))
    run(home)
    assert len(rte.calls) == 4 and max(window.days for window in rte.calls) == LONGEST_DAYS
    assert rte.calls[0].end == TOMORROW + ONE_DAY and rte.calls[-1].end == rte.calls[-2].start
    assert rte.calls[-1].start == TODAY - timedelta(days=3 * 365 + 16)


def test_of_a_time_on_tempo_that_is_over_only_its_days_are_asked_for(home: Household, rte: PretendRte) -> None:
    use(home, own(last=date(2026, 1, 9)))
    use(home, TEMPO, RegulatedChoice(date(2026, 1, 11), Option.BASE, 6))
    use(home, RegulatedChoice(date(2026, 2, 1), Option.TEMPO, 6))
    run(home)
    assert [window.end for window in rte.calls] == [date(2026, 1, 11)]


def test_only_days_without_a_colour_are_asked_for_and_the_week_before_for_corrections(
    home: Household, rte: PretendRte
) -> None:
    use(home, RegulatedChoice(date(2024, 1, 1), Option.TEMPO, 6))
    known = DateWindow(date(2023, 12, 31), TOMORROW).dates()
    save_colours(home.registry, dict.fromkeys(known, Colour.WHITE))
    rte.colour = Colour.RED
    run(home)
    week = DateWindow(TODAY - 6 * ONE_DAY, TOMORROW + ONE_DAY)
    assert rte.calls == [week]
    red = [day for day, colour in load_colours(home.registry).items() if colour is Colour.RED]
    assert red == list(week.dates())


def test_tomorrow_is_asked_for_from_1040_each_half_hour_until_it_is_known(home: Household, rte: PretendRte) -> None:
    use(home, TEMPO)
    rte.last = TODAY
    run(home, at(9))
    run(home, at(10, 39))
    assert [window.end for window in rte.calls] == [TOMORROW]
    run(home, at(10, 40))
    upkeep.update_colours.run()  # Of the same half-hour.
    run(home, at(11, 10))
    assert [window.end for window in rte.calls[1:]] == [TOMORROW + ONE_DAY] * 2
    rte.last = TOMORROW
    run(home, at(23, 40))
    run(home, at(0, 10, TOMORROW))
    assert len(rte.calls) == 4


def test_a_claim_ends_before_the_next_half_hour_but_lasts_a_day_if_only_old_days_lack(
    home: Household, rte: PretendRte
) -> None:
    use(home, TEMPO)
    rte.fault = "RTE has a fault (503)"
    run(home)
    (claim,) = home.redis.keys(f"{home.prefix}slot:update_colours:*")
    assert 1_500_000 < home.redis.pttl(claim) < 1_800_000
    save_colours(home.registry, {TOMORROW: Colour.RED})
    run(home)
    (claim,) = home.redis.keys(f"{home.prefix}slot:update_colours:*")
    assert home.redis.pttl(claim) > 23 * 3_600_000


def test_a_failure_is_one_warning_and_what_came_before_it_stays(
    home: Household, rte: PretendRte, caplog: pytest.LogCaptureFixture
) -> None:
    use(home, RegulatedChoice(date(2025, 1, 1), Option.TEMPO, 6))
    save_colours(home.registry, dict.fromkeys(DateWindow(date(2025, 1, 3), FIRST).dates(), Colour.WHITE))
    fetch = rte.fetch

    def fail_later(*args: Any) -> Iterator[dict[date, Colour]]:
        for told in fetch(*args):
            yield told
            rte.fault = "RTE has a fault (503)"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.accounts.tempo.fetch_colours", fail_later)
        run(home)
    said = [(record.levelno, record.getMessage(), record.exc_info) for record in caplog.records]
    assert said == [(logging.WARNING, "colours not updated", None)]
    assert [window.end for window in rte.calls] == [TOMORROW + ONE_DAY, date(2025, 1, 3)]
    assert TOMORROW in load_colours(home.registry)


def test_beat_runs_it_each_half_hour_also_in_a_home() -> None:
    entry = celery_options.beat_schedule["update colours"]
    assert (entry["task"], entry["schedule"]) == ("tasks.upkeep.update_colours", crontab(minute="10,40"))
