"""What a household is told of its days: once an account and day, by the night that first stores the day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.factories import curve_of, serving_curves, serving_days, v5_answer
from tests.support.made_files import days_file
from tests.support.output_home import price_of, put
from tests.support.registries import all_rows
from tests.support.strategies import few
from tests.unit.conftest import Household, open_household
from worker.accounts.alerts import load_limits, read_shown_alert, save_limits
from worker.accounts.notice_channels import compose_household_mail
from worker.accounts.prices import set_prices
from worker.domain.alerts import AlertLimits
from worker.domain.documents import Entry
from worker.domain.messages import AGAIN, BACKFILL, LOOK_BACK, NIGHTLY, REPAIR, new_run_id, to_job
from worker.domain.notice import Notice, NoticeKind
from worker.domain.prices.choices import TariffChoices, read_hours
from worker.domain.series import Doctype, Series, SeriesSwitch
from worker.domain.windows import ONE_DAY, DateWindow
from worker.stores.registry.account_details import ALERTS
from worker.stores.registry.households import HouseholdTable, MailAddressTable
from worker.stores.registry.outputs import END
from worker.stores.registry.tables import MAIL_ADDRESSES
from worker.sync.file_import import FileImporter

MAIL = {"notify_url": "mailtos://u:p@mail.example.org?from=a@example.org&to=b@example.org"}
SINCE = date(2024, 1, 1)
KINDS = (NIGHTLY, LOOK_BACK, AGAIN, REPAIR)
_RUNS = count()


class AlertedHome:
    """A home with a confirmed address, a service that sends mail, and limits."""

    def __init__(self, household: Household, limits: AlertLimits) -> None:
        self.household = household = replace(household, settings=MAIL)
        self.registry, self.account = household.registry, household.add_another()
        self.registry.now = household.now
        self.today = household.history.today()
        self.yesterday = self.today - ONE_DAY
        database, sealer = self.registry.database, self.registry.sealer
        owner = HouseholdTable(database, sealer).create({self.account: 0})
        assert MailAddressTable(database, sealer, self.registry.hashes).set(owner.id, "anne@example.org", "fr")
        self.limit(limits)

    def limit(self, limits: AlertLimits) -> None:
        save_limits(self.registry, self.registry.accounts.get(self.account), limits)

    def price(self, choices: TariffChoices, **more: Any) -> None:
        set_prices(self.registry, self.registry.accounts.get(self.account), own=choices, **more)

    def sync(self, series: Series = Series.DAILY, kind: str = NIGHTLY, days: int = 30) -> None:
        """Sync the newest days in a run of this kind, later than those before."""
        now = self.household.at + timedelta(microseconds=next(_RUNS))
        window = DateWindow(self.today - days * ONE_DAY, self.today)
        assert self.household.run(to_job(self.account, series, window, new_run_id(now), f"{kind}/1"))

    def use(self, watt_hours: int, day: date | None = None) -> None:
        """Let the supplier tell so much for a day, else for yesterday."""
        self.household.supplier.daily = serving_days({day or self.yesterday: watt_hours})

    def import_file(self, watt_hours: int) -> None:
        service = self.household
        importer = FileImporter(
            window_sync=service.window_sync, results=service.results, outcomes=service.registry.outcomes
        )
        importer.store(days_file({self.yesterday: watt_hours}, service.at), self.account)

    @property
    def notices(self) -> list[Notice]:
        return self.registry.notices.list_for_account(self.account)

    @property
    def told(self) -> list[tuple[str, str]]:
        return sorted((notice.about, notice.reason) for notice in self.notices)


KWH_12 = AlertLimits(energy=Decimal(12))


@pytest.fixture
def home(household: Household) -> AlertedHome:
    return AlertedHome(household, KWH_12)


def test_a_day_above_the_limit_is_mailed_without_a_figure_to_the_household_alone(home: AlertedHome) -> None:
    home.use(15_678)
    home.sync()
    (notice,) = home.notices
    assert (notice.kind, notice.reason, notice.about) == (NoticeKind.ALERT, "energy", str(home.yesterday))
    assert notice.channel == "household"
    account = home.registry.accounts.get(home.account)
    subject, text = compose_household_mail(notice, account, "fr", "https://releve.example", "off")
    assert subject == "Relève\N{NO-BREAK SPACE}: alerte pour le 24 juillet 2024"
    assert "L’énergie consommée le 24 juillet 2024 dépasse la limite que vous avez fixée." in text
    assert "15" not in text and "12" not in text


STEPS = st.lists(
    st.tuples(st.sampled_from([*KINDS, BACKFILL, "file"]), st.sampled_from([11_000, 13_000, 17_000])),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def stories(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Household]:
    with open_household(redis_url, tmp_path_factory.mktemp("stories"), Household) as service:
        yield service


@few
@given(STEPS)
@example([("file", 17_000), (NIGHTLY, 17_000), (NIGHTLY, 13_000)])
@example([(NIGHTLY, 11_000), ("file", 17_000), (NIGHTLY, 17_000)])
@example([(BACKFILL, 17_000), (REPAIR, 13_000)])
@example([(REPAIR, 17_000), (NIGHTLY, 13_000), (BACKFILL, 17_000)])
def test_in_any_order_of_runs_a_day_is_told_once_and_only_by_the_night_that_stores_it_first(
    stories: Household, steps: list[tuple[str, int]]
) -> None:
    """Whatever comes after it: corrections, files, the history."""
    home = AlertedHome(stories, KWH_12)
    for kind, watt_hours in steps:
        home.use(watt_hours)
        if kind == "file":
            home.import_file(watt_hours)
        else:
            home.sync(kind=kind)
    first, watt_hours = steps[0]
    is_told = first in KINDS and watt_hours > 12_000
    assert home.told == ([(str(home.yesterday), "energy")] if is_told else [])


def test_of_energy_only_the_last_two_days_are_told(home: AlertedHome) -> None:
    for age in (3, 2, 1):
        home.use(20_000, home.today - age * ONE_DAY)
        home.sync()
    assert home.told == [(str(home.today - age * ONE_DAY), "energy") for age in (2, 1)]


def test_a_day_above_both_limits_is_one_notice_that_names_both(home: AlertedHome) -> None:
    home.limit(AlertLimits(energy=Decimal(12), cost=Decimal("2.99")))
    home.price(TariffChoices(electricity=(price_of(SINCE, base=20),)))
    home.use(15_000)
    home.sync()
    assert home.told == [(str(home.yesterday), "energy+cost")]
    account = home.registry.accounts.get(home.account)
    _, text = compose_household_mail(home.notices[0], account, "en", "https://releve.example", "off")
    assert "The energy used on 24 July 2024 exceeds" in text and "The cost of 24 July 2024 exceeds" in text


def test_a_cost_is_told_once_the_series_that_it_needs_is_there(home: AlertedHome) -> None:
    home.limit(AlertLimits(cost=Decimal("0.01")))
    home.price(TariffChoices(electricity=(price_of(SINCE, hp=20, hc=10),)), hours=read_hours("22:00-06:00"))
    home.use(15_000)
    home.household.supplier.curve = serving_curves({home.yesterday: curve_of(home.yesterday, 200)})
    home.sync()
    assert home.told == [], "only the curve tells what was used at which hours"
    home.sync(Series.LOAD_CURVE, days=7)
    assert home.told == [(str(home.yesterday), "cost")]


def test_a_cost_that_is_unknown_is_not_told(home: AlertedHome) -> None:
    home.limit(AlertLimits(cost=Decimal("0.01")))
    home.use(15_000)
    home.sync()
    assert home.told == []


def test_without_daily_values_the_curve_tells_the_energy(home: AlertedHome) -> None:
    home.registry.outcomes.switch(home.account, Series.DAILY, SeriesSwitch.OFF, home.household.at)
    home.household.supplier.curve = serving_curves({home.yesterday: curve_of(home.yesterday, 900)})
    home.sync(Series.LOAD_CURVE, days=7)
    assert home.told == [(str(home.yesterday), "energy")]


def test_power_near_the_subscription_is_told_of_each_day_since_it_was_asked_for(home: AlertedHome) -> None:
    days = [home.today - age * ONE_DAY for age in (6, 4, 2, 1)]
    rows = zip(days, (5_800, 5_500, 5_399, 5_400), strict=True)
    answer = v5_answer([[f"{day} 19:12:00", power] for day, power in rows], "VA")
    home.household.supplier.others[Series.MAX_POWER] = answer
    put(home.household.stores.measures, Doctype.CONTRACT, [Entry("2024-01-01", 6_000_000)], home.account)
    home.limit(AlertLimits(power_since=days[1]))
    home.sync(Series.MAX_POWER)
    assert home.told == [(str(days[1]), "power"), (str(days[3]), "power")]


def test_the_power_of_a_day_is_compared_with_what_was_subscribed_on_it(home: AlertedHome) -> None:
    days = [home.today - age * ONE_DAY for age in (4, 3, 2, 1)]
    answer = v5_answer([[f"{day} 19:12:00", 5_500] for day in days], "VA")
    home.household.supplier.others[Series.MAX_POWER] = answer
    contracts = [Entry(str(SINCE), 9_000_000), Entry(str(days[2]), 6_000_000)]
    put(home.household.stores.measures, Doctype.CONTRACT, contracts, home.account)
    home.limit(AlertLimits(power_since=days[0]))
    home.sync(Series.MAX_POWER)
    assert home.told == [(str(day), "power") for day in days[2:]]


def test_a_household_without_an_address_and_a_service_without_mail_insert_nothing(home: AlertedHome) -> None:
    home.registry.database.change(MAIL_ADDRESSES.delete())
    home.use(20_000)
    home.sync()
    assert home.told == []


def test_an_output_shows_the_newest_known_day_and_the_power_of_the_week(home: AlertedHome) -> None:
    kept = home.registry.outputs
    own = kept.insert("mqtt", {}, home.household.at, account_id=home.account)
    of_other_kind = kept.insert("webhook", {}, home.household.at, account_id=home.account)
    shown = partial(read_shown_alert, home.registry, home.household.stores.measures)
    assert shown(kept.get(own), home.account) is False
    home.use(20_000, home.today - 2 * ONE_DAY)
    home.sync(kind=BACKFILL)
    assert shown(kept.get(own), home.account) is True, "the newest known day, whoever stored it"
    home.use(3_000)
    home.sync()
    assert shown(kept.get(own), home.account) is False
    measures = home.household.stores.measures
    put(measures, Doctype.CONTRACT, [Entry("2024-01-01", 6_000_000)], home.account)
    put(measures, Doctype.MAX_POWER, [Entry(str(home.today - 5 * ONE_DAY), 5_900_000)], home.account)
    home.limit(AlertLimits(power_since=home.today - 4 * ONE_DAY))
    assert shown(kept.get(own), home.account) is False, "the day before alerts of power were asked for"
    home.limit(AlertLimits(power_since=SINCE))
    assert shown(kept.get(own), home.account) is True
    assert shown(kept.get(of_other_kind), home.account) is None
    assert shown(replace(kept.get(own), tenant="other"), home.account) is None
    home.limit(AlertLimits())
    assert shown(kept.get(own), home.account) is None
    assert [one.last for one in home.registry.outbox.next_changes(own)] == [END], "the output removes its sensor"
    assert home.registry.account_details.load(home.account, ALERTS) is None


def test_limits_are_sealed_and_follow_the_household_to_its_outputs(home: AlertedHome) -> None:
    home.limit(AlertLimits(energy=Decimal("87.65"), cost=Decimal("43.21"), power_since=SINCE))
    assert load_limits(home.registry, home.account).energy == Decimal("87.65")
    stored = str(all_rows(home.registry.database))
    assert "87.65" not in stored and "43.21" not in stored
