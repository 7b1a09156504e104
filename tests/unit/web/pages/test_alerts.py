"""The form of alerts: limits as people write them, one line for what is refused, and where the mail goes."""

from __future__ import annotations

import html
import logging
import re
from datetime import date
from decimal import Decimal

import pytest
from httpx2 import Response

from tests.support.api_service import TODAY, ApiService
from tests.support.factories import NOW
from tests.support.household_pages import ENGLISH, FRENCH, csrf_of
from tests.support.output_home import price_of, put
from tests.support.registries import close_account
from worker.accounts.alerts import load_limits
from worker.accounts.prices import set_prices
from worker.domain.alerts import AlertLimits
from worker.domain.audit_entry import AuditFilter
from worker.domain.documents import Entry
from worker.domain.prices.choices import TariffChoices
from worker.domain.series import Doctype, Series


class Form:
    """The form of an account in its household's browser."""

    def __init__(self, service: ApiService, account: str) -> None:
        self.service, self.account, self.browser = service, account, service.browser(account)
        self.registry, self.address = service.parts.stores.registry, f"/accounts/{account}/alerts"

    def load(self, headers: dict[str, str] = FRENCH) -> str:
        answer = self.browser.get(self.address, headers=headers)
        assert answer.status_code == 200
        return html.unescape(answer.text).replace("\N{NO-BREAK SPACE}", " ")

    def send(self, **fields: str) -> Response:
        data = {**fields, "csrf": csrf_of(self.load())}
        return self.browser.post(self.address, data=data, headers=FRENCH, follow_redirects=False)

    @property
    def limits(self) -> AlertLimits:
        return load_limits(self.registry, self.account)

    def collected(self) -> set[Series]:
        return set(self.registry.outcomes.collected(self.account))

    def price(self) -> None:
        choices = TariffChoices(electricity=(price_of(date(2024, 1, 1), base=20),))
        set_prices(self.registry, self.registry.accounts.get(self.account), own=choices)


@pytest.fixture
def form(service: ApiService, account: str) -> Form:
    return Form(service, account)


def value_of(page: str, name: str) -> str:
    field = re.search(rf'<input id="{name}"[^>]* value="([^"]*)"', page)
    assert field
    return field[1]


def test_limits_are_written_with_a_comma_kept_shown_and_removed(form: Form, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    form.price()
    answer = form.send(energy=" 1250,75 ", cost="3.5")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{form.address}?saved=yes")
    assert form.limits == AlertLimits(energy=Decimal("1250.75"), cost=Decimal("3.5"))
    page = form.load()
    assert (value_of(page, "energy"), value_of(page, "cost")) == ("1250,75", "3,5")
    assert value_of(form.load(ENGLISH), "energy") == "1250.75"
    assert form.send(energy="1250,75", cost="3,5").status_code == 303
    assert form.send().status_code == 303 and form.limits == AlertLimits()
    entries = form.registry.audit.page(AuditFilter(action="alerts.set"), 10)
    assert [(one.account_id, one.outcome, one.subject) for one in entries] == [(form.account, "ok", None)] * 3
    assert "1250" not in caplog.text


@pytest.mark.parametrize("field", ["energy", "cost"])
@pytest.mark.parametrize("typed", ["0", "-1", "douze", "1e3", "1,234", "99999", "NaN", "٣"])
def test_what_is_no_amount_is_refused_with_one_line_and_stays_typed(form: Form, field: str, typed: str) -> None:
    form.price()
    form.send(energy="5")
    answer = form.send(**{"energy": "6", field: typed})
    page = html.unescape(answer.text).replace("\N{NO-BREAK SPACE}", " ")
    assert answer.status_code == 422 and page.count('role="alert"') == 1
    assert "Rien n’a été enregistré. Écrivez un" in page and value_of(page, field) == typed
    assert form.limits == AlertLimits(energy=Decimal(5))


def test_the_pages_of_the_meter_lead_to_the_form(form: Form) -> None:
    pages = [form.browser.get(f"/accounts/{form.account}{page}").text for page in ("", "/connection")]
    assert any(f'href="{form.address}"' in page for page in pages)


def test_a_cost_is_asked_for_only_where_prices_are_set(form: Form) -> None:
    assert 'name="cost"' not in form.load()
    form.price()
    assert 'name="cost"' in form.load()


def test_power_switches_on_what_it_needs_and_counts_from_today(form: Form) -> None:
    assert "n’est pas encore connue" in form.load() and "une fois par semaine" in form.load()
    before = form.collected()
    assert form.send(power="yes").status_code == 303
    assert form.limits == AlertLimits(power_since=TODAY)
    assert form.collected() - before == {Series.MAX_POWER, Series.CONTRACT}
    assert "checked" in form.load()
    form.send(energy="5")
    assert form.limits == AlertLimits(energy=Decimal(5)) and Series.MAX_POWER in form.collected()


def test_a_known_subscription_is_shown_and_its_contract_not_asked_for(form: Form, service: ApiService) -> None:
    put(service.parts.stores.measures, Doctype.CONTRACT, [Entry("2024-01-01", 6_000_000)], form.account)
    assert "Votre puissance souscrite : 6 kVA." in form.load()
    before = form.collected()
    form.send(power="yes")
    assert form.collected() - before == {Series.MAX_POWER}


def test_too_many_changes_are_slowed_down(form: Form) -> None:
    answers = [form.send(energy="5").status_code for _ in range(21)]
    assert answers == [303] * 20 + [429]


def test_the_account_of_a_former_holder_takes_no_limits(form: Form) -> None:
    close_account(form.registry.consents, form.account, NOW)
    browser = form.service.browser(form.account)
    assert browser.get(form.address, follow_redirects=False).headers["location"] == f"/accounts/{form.account}"


def test_without_a_mail_service_the_page_says_so(form: Form) -> None:
    assert "Ce service n’envoie pas d’e-mails." in form.load()
