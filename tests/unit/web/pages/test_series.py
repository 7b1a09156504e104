"""A household chooses what is asked for its meter: only by our own form, only its own, and what it changed alone."""

from __future__ import annotations

import re

import pytest
from httpx2 import Response

from tests.support.api_service import ApiService
from tests.support.factories import NOW
from tests.support.household_pages import FRENCH, METER, csrf_of
from tests.support.registries import close_account
from worker.domain.series import USUAL_SERIES, Series, SeriesSwitch
from worker.runtime.consent_parts import build_series_chooser, stop_consent
from worker.runtime.supplier_settings import is_offered
from worker.web import dependencies as context
from worker.web.dependencies import Session


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The accounts whose backfill was published."""
    accounts: list[str] = []
    monkeypatch.setattr(context, "enqueue_backfill", lambda account_id, broker_url: accounts.append(account_id))
    return accounts


def switched(service: ApiService, account: str) -> dict[Series, SeriesSwitch]:
    """Return the switches that are not the fleet's."""
    chosen = service.parts.stores.registry.outcomes.list_chosen(account)
    return {one.series: one.switch for one in chosen if one.switch is not SeriesSwitch.FLEET}


def box_of(page: str, series: Series) -> str:
    """Return the box of a series with its texts."""
    return next(part for part in page.split('<div class="choice">')[1:] if f'value="{series}"' in part)


def is_ticked(page: str, series: Series) -> bool:
    return " checked" in box_of(page, series)


class Form:
    """The form in a browser, as it was loaded: its boxes may be ticked and unticked, and it is sent as browsers do."""

    def __init__(self, service: ApiService, account: str) -> None:
        self.browser, self.address = service.browser(account), f"/accounts/{account}/series"
        self.page = self.browser.get(self.address, headers=FRENCH).text
        inputs = re.findall(r"<input [^>]*>", self.page)
        self.before = [_value(one) for one in inputs if 'name="before"' in one]
        self.ticked = {_value(one) for one in inputs if " checked" in one and " disabled" not in one}

    def save(self, *, tick: Series | None = None, untick: Series | None = None) -> Response:
        series = sorted((self.ticked | {str(tick)} if tick else self.ticked) - {str(untick)})
        fields = {"csrf": csrf_of(self.page), "series": series, "before": self.before}
        return self.browser.post(self.address, data=fields, headers=FRENCH)


def _value(element: str) -> str:
    return element.partition('value="')[2].partition('"')[0]


def test_the_page_says_of_each_series_what_it_is_and_whether_it_is_asked_for(service: ApiService, account: str) -> None:
    service.parts.stores.registry.outcomes.switch(account, Series.MAX_POWER, SeriesSwitch.ON, NOW)
    service.parts.stores.registry.outcomes.end(account, Series.MAX_POWER, "run-1", "no such series", NOW)
    assert f'href="/accounts/{account}/series"' in service.browser(account).get(f"/accounts/{account}/connection").text
    page = Form(service, account).page
    assert "…0011" in page and METER not in page
    assert page.count('type="checkbox"') == sum(is_offered(service.parts.stores.settings, series) for series in Series)
    for series in USUAL_SERIES:
        assert is_ticked(page, series) and "Demandé à Enedis." in box_of(page, series)
    assert not is_ticked(page, Series.CONTRACT) and "Non demandé." in box_of(page, Series.CONTRACT)
    assert "La puissance souscrite" in box_of(page, Series.CONTRACT)
    ended = box_of(page, Series.MAX_POWER)
    assert " checked" not in ended and "Enedis ne fournit pas ces données pour ce compteur" in ended


def test_what_the_supplier_does_not_have_is_not_on_the_page(
    service: ApiService, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chooser = build_series_chooser(service.parts.stores)
    usual = type(chooser)(outcomes=chooser.outcomes, is_offered=lambda one: one in USUAL_SERIES, now=chooser.now)
    for module in ("worker.web.dependencies", "worker.web.pages.account_forms"):
        monkeypatch.setattr(f"{module}.build_series_chooser", lambda stores: usual)
    form = Form(service, account)
    assert form.page.count('type="checkbox"') == len(USUAL_SERIES)
    assert form.save(tick=Series.REGISTERS).status_code == 200
    assert switched(service, account) == {}


def test_what_was_changed_is_switched_and_nothing_else(service: ApiService, account: str, published: list[str]) -> None:
    saved = Form(service, account).save(tick=Series.MAX_POWER)
    assert [step.status_code for step in saved.history] == [303]
    assert "Vos choix sont enregistrés" in saved.text and is_ticked(saved.text, Series.MAX_POWER)
    assert switched(service, account) == {Series.MAX_POWER: SeriesSwitch.ON}
    assert published == [account]
    Form(service, account).save(untick=Series.LOAD_CURVE)
    assert switched(service, account) == {Series.MAX_POWER: SeriesSwitch.ON, Series.LOAD_CURVE: SeriesSwitch.OFF}
    assert published == [account], "nothing new is asked for"


def test_a_form_that_was_loaded_before_another_change_does_not_take_it_back(
    service: ApiService, account: str, published: list[str]
) -> None:
    old = Form(service, account)
    service.parts.stores.registry.outcomes.switch(account, Series.CONTRACT, SeriesSwitch.ON, NOW)
    old.save(tick=Series.MAX_POWER)
    assert switched(service, account) == dict.fromkeys((Series.MAX_POWER, Series.CONTRACT), SeriesSwitch.ON)
    Form(service, account).save()
    assert len(switched(service, account)) == 2 and published == [account]


def test_a_series_that_ended_while_the_form_was_open_is_not_asked_for_again(
    service: ApiService, account: str, published: list[str]
) -> None:
    service.parts.stores.registry.outcomes.switch(account, Series.MAX_POWER, SeriesSwitch.ON, NOW)
    form = Form(service, account)
    service.parts.stores.registry.outcomes.end(account, Series.MAX_POWER, "run-1", "no such series", NOW)
    form.save()
    assert switched(service, account) == {Series.MAX_POWER: SeriesSwitch.ENDED} and published == []
    Form(service, account).save(tick=Series.MAX_POWER)
    assert switched(service, account) == {Series.MAX_POWER: SeriesSwitch.ON} and published == [account]


def test_daily_totals_stay_on(service: ApiService, account: str) -> None:
    form = Form(service, account)
    daily = box_of(form.page, Series.DAILY)
    assert " checked disabled" in daily and "tous les totaux sont calculés à partir de ces données" in daily
    fields = {"csrf": csrf_of(form.page), "before": [str(Series.DAILY)]}
    form.browser.post(form.address, data=fields)
    assert switched(service, account) == {}


def test_daily_totals_that_the_operator_switched_off_can_be_switched_on(
    service: ApiService, account: str, published: list[str]
) -> None:
    service.parts.stores.registry.outcomes.switch(account, Series.DAILY, SeriesSwitch.OFF, NOW)
    form = Form(service, account)
    assert not is_ticked(form.page, Series.DAILY) and "disabled" not in box_of(form.page, Series.DAILY)
    form.save(tick=Series.DAILY)
    assert switched(service, account) == {Series.DAILY: SeriesSwitch.ON}


def test_changes_are_limited_because_each_may_take_calls(
    service: ApiService, account: str, published: list[str]
) -> None:
    for _ in range(5):
        assert Form(service, account).save(tick=Series.MAX_POWER).status_code == 200
        assert Form(service, account).save(untick=Series.MAX_POWER).status_code == 200
    assert Form(service, account).save().status_code == 200, "nothing is changed"
    refused = Form(service, account).save(tick=Series.MAX_POWER)
    assert refused.status_code == 429 and "Trop de changements" in refused.text
    assert 0 < int(refused.headers["Retry-After"]) <= 3600
    assert switched(service, account) == {Series.MAX_POWER: SeriesSwitch.OFF}


def test_choices_of_an_account_without_consent_are_kept_for_later(
    service: ApiService, account: str, published: list[str]
) -> None:
    stop_consent(service.parts.stores, account)
    form = Form(service, account)
    assert "Relève ne demande rien à Enedis" in form.page
    form.save(tick=Series.MAX_POWER)
    assert switched(service, account) == {Series.MAX_POWER: SeriesSwitch.ON}


def test_an_account_that_another_person_has_taken_over_has_nothing_to_choose(service: ApiService, account: str) -> None:
    form = Form(service, account)
    close_account(service.parts.stores.registry.consents, account, NOW)
    browser = service.browser(account)
    assert browser.get(form.address, follow_redirects=False).headers["Location"] == f"/accounts/{account}"
    ticked = {"csrf": browser.headers["X-CSRF-Token"], "series": [str(Series.MAX_POWER)], "before": form.before}
    assert f"/accounts/{account}/series" not in browser.post(form.address, data=ticked, headers=FRENCH).text
    assert switched(service, account) == {}


@pytest.mark.parametrize("csrf", [None, "", "0" * 64, "another session"])
def test_a_form_of_another_site_switches_nothing(service: ApiService, account: str, csrf: str | None) -> None:
    if csrf == "another session":
        csrf = service.parts.access.signer.csrf_token(Session().sid)
    fields = {"series": str(Series.MAX_POWER)} | ({} if csrf is None else {"csrf": csrf})
    refused = service.browser(account).post(f"/accounts/{account}/series", data=fields, headers=FRENCH)
    assert refused.status_code == 403 and "Ce formulaire a expiré" in refused.text
    assert switched(service, account) == {}


def test_who_does_not_own_an_account_cannot_choose_for_it(service: ApiService, account: str) -> None:
    other = service.browser(service.add(12))
    fields = {"csrf": other.headers["X-CSRF-Token"], "series": str(Series.MAX_POWER)}
    assert other.get(f"/accounts/{account}/series").status_code == 404
    assert other.post(f"/accounts/{account}/series", data=fields).status_code == 404
    assert switched(service, account) == {}
