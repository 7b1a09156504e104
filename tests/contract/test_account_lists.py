"""The operator's lists of accounts, on SQLite and PostgreSQL alike."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import chain

import pytest

from tests.support.registries import NOW, add_ready, mark_asked, record_outcome, switch_on
from worker.domain.account import AccountState
from worker.domain.completeness import DayMark, DayState
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, DateWindow
from worker.errors import SeriesNotOffered
from worker.stores.registry import Registry
from worker.stores.registry.account_lists import AccountFilter, ListedAccount

TODAY = NOW.date()
WEEK = (TODAY, TODAY + timedelta(days=7))
SUSPENDED = "USER_ACTION_NEEDED.OAUTH_OUTDATED"


@pytest.fixture
def ids(registry: Registry) -> dict[str, str]:
    """Accounts of every kind, by a word for each."""

    def add(number: int, until: date | None = None, tenant: str = "default") -> str:
        meter, days = str(30001640000000 + number), {} if until is None else {"consent_until": until}
        return registry.accounts.add("enedis", meter, NOW, token_needed=False, tenant=tenant, **days)[0].id

    words = ("ready", "paused", "waiting", "timeout", "down", "series_ended", "removed")
    made = {word: add(number) for number, word in enumerate(words)}
    made |= {"today": add(20, TODAY), "next week": add(21, WEEK[1]), "later": add(22, WEEK[1] + ONE_DAY)}
    made |= {"waits for its end": add(23, TODAY), "solar": add(24, tenant="solar")}
    registry.accounts.set_state(made["paused"], AccountState.PAUSED, now=NOW)
    for word in ("waiting", "waits for its end"):
        registry.accounts.set_state(made[word], AccountState.ACTION_NEEDED, SUSPENDED, now=NOW)
    for series in (Series.DAILY, Series.LOAD_CURVE):
        record_outcome(registry, made["timeout"], "1", series=series, code="VENDOR_DOWN.TIMEOUT")
    record_outcome(registry, made["down"], "1", code="VENDOR_DOWN")
    record_outcome(registry, made["removed"], "1", code="VENDOR_DOWN")
    switch_on(registry, made["series_ended"], Series.MAX_POWER)
    record_outcome(registry, made["series_ended"], "1", series=Series.MAX_POWER, code=SeriesNotOffered.code)
    registry.outcomes.end(made["series_ended"], Series.MAX_POWER, "2", "not offered", NOW)
    registry.accounts.remove(made["removed"], NOW)
    return made


@pytest.mark.parametrize(
    "wanted, words",
    [
        (AccountFilter(state=AccountState.PAUSED), {"paused"}),
        (AccountFilter(state=AccountState.CLOSED), set()),
        (AccountFilter(tenant="solar"), {"solar"}),
        (AccountFilter(ending=WEEK), {"today", "next week"}),
        (AccountFilter(code="VENDOR_DOWN"), {"timeout", "down"}),
        (AccountFilter(code="VENDOR_DOWN.TIMEOUT"), {"timeout"}),
        (AccountFilter(code="VENDOR"), set()),
        (AccountFilter(code="USER_ACTION_NEEDED"), {"waiting", "waits for its end"}),
        (AccountFilter(code=SeriesNotOffered.code), set()),
        (AccountFilter(code="VENDOR_DOWN", tenant="solar"), set()),
        (AccountFilter(code="VENDOR_DOWN", late=Series.DAILY, late_since=TODAY), {"timeout", "down"}),
        (AccountFilter(code=SUSPENDED, late=Series.DAILY, late_since=TODAY), set()),
        (AccountFilter(changed_since=NOW, tenant="solar"), {"solar"}),
        (AccountFilter(changed_since=NOW, code="VENDOR_DOWN"), {"timeout", "down"}),
        (AccountFilter(changed_since=NOW + ONE_DAY, code="VENDOR_DOWN"), set()),
        (AccountFilter(changed_since=NOW + ONE_DAY), set()),
    ],
)
def test_a_list_has_the_accounts_that_match_all_its_conditions(
    registry: Registry, ids: dict[str, str], wanted: AccountFilter, words: set[str]
) -> None:
    listed = [account.id for account in registry.lists.page(wanted)]
    assert listed == sorted(ids[word] for word in words)


def test_without_conditions_all_but_removed_accounts_come_in_pages_that_miss_and_double_none(
    registry: Registry, ids: dict[str, str]
) -> None:
    everyone = sorted(account_id for word, account_id in ids.items() if word != "removed")
    pages: list[list[str]] = []
    after = ""
    while page := registry.lists.page(AccountFilter(), after, 4):
        pages.append([account.id for account in page])
        after = page[-1].id
    assert [len(page) for page in pages] == [4, 4, 3] and [*chain(*pages)] == everyone


def test_a_failing_account_is_listed_once_with_its_series(registry: Registry, ids: dict[str, str]) -> None:
    (account,) = registry.lists.page(AccountFilter(code="VENDOR_DOWN.TIMEOUT"))
    whole = ListedAccount(
        *(ids["timeout"], "default", "enedis", AccountState.READY, "", None, Series.DAILY),
        code="VENDOR_DOWN.TIMEOUT",
        since=None,
    )
    assert account == whole


def test_a_series_lags_where_the_overview_counts_it_as_not_complete(registry: Registry) -> None:
    """A curve that was asked for and never came isn't switched on at the supplier, so it doesn't lag."""
    day = TODAY - ONE_DAY
    complete, behind, never, unasked, paused = (add_ready(registry, f"{30001640000000 + n}") for n in range(5))
    for series in (Series.DAILY, Series.LOAD_CURVE):
        mark_asked(registry, complete, series, DateWindow(day - ONE_DAY, TODAY))
        mark_asked(registry, behind, series, DateWindow(day - ONE_DAY, day))
        late = {day: DayMark(DayState.LATE, asked_at_age=1)}
        record_outcome(registry, never, "1", series=series, days=late)
    registry.accounts.set_state(paused, AccountState.PAUSED, now=NOW)
    for series, lagging in ((Series.DAILY, {behind, never, unasked}), (Series.LOAD_CURVE, {behind, unasked})):
        page = registry.lists.page(AccountFilter(late=series, late_since=day))
        assert ([one.id for one in page], {one.series for one in page}) == (sorted(lagging), {series})
        active, finished = registry.completeness.count_complete({series: day})[series]
        assert active - finished == len(lagging)
