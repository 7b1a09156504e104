"""The daily task that fetches the regulator's prices."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from celery.schedules import crontab

from config import celery_options
from tasks import upkeep
from tests.support.parts import use_parts
from tests.unit.conftest import Household
from worker.accounts.prices import CHOICES_JSON
from worker.clients.published_files import NotFetched
from worker.domain.prices import Option
from worker.domain.prices.choices import RegulatedChoice, TariffChoices
from worker.stores.registry.account_details import PRICES


@pytest.fixture
def asked(household: Household, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that were called, in order; none of them answers."""
    use_parts(monkeypatch, household)
    asked: list[str] = []

    def fetch(url: str, *_: Any) -> str:
        asked.append(url)
        raise NotFetched("www.cre.fr answered with status 503")

    monkeypatch.setattr("worker.accounts.price_files.fetch_text", fetch)
    return asked


def use(household: Household, *choices: RegulatedChoice) -> None:
    told = CHOICES_JSON.dump_python(TariffChoices(choices), mode="json")
    household.registry.account_details.save(household.add_another(), PRICES, told)


def test_nothing_is_fetched_while_nobody_is_on_the_regulated_tariff(household: Household, asked: list[str]) -> None:
    use(household)
    upkeep.update_prices.run()
    assert asked == []


def test_the_three_files_are_fetched_once_a_day_and_a_failure_waits_for_the_next(
    household: Household, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(household, RegulatedChoice(date(2026, 1, 1), Option.BASE, 6))
    for _ in range(2):
        upkeep.update_prices.run()
    settings = household.stores.settings
    files = [settings.prices_base_url, settings.prices_hphc_url, settings.prices_tempo_url]
    assert asked == files and len(set(files)) == len(Option)
    monkeypatch.setattr(upkeep, "civil_date", lambda moment: date(2099, 1, 1))
    upkeep.update_prices.run()
    assert asked == files * 2


def test_beat_asks_for_them_each_day_also_in_a_home() -> None:
    entry = celery_options.beat_schedule["update prices"]
    assert (entry["task"], entry["schedule"]) == ("tasks.upkeep.update_prices", crontab(hour=7, minute=50))
