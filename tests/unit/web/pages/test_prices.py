"""The form of prices: filled in, but nothing is saved unasked; what is refused stays as it was sent, with one line."""

from __future__ import annotations

import html
import re
from datetime import date, timedelta

import pytest
from httpx2 import Response
from sqlalchemy import update

from tests.support.api_service import TODAY, ApiService
from tests.support.factories import NOW
from tests.support.household_pages import FRENCH, csrf_of
from tests.support.panel_homes import PanelHome, store_home
from tests.support.registries import close_account
from worker.accounts.prices import load_choices, set_prices
from worker.domain.audit_entry import AuditFilter
from worker.domain.prices import Option
from worker.domain.prices.choices import OffPeakHours, RegulatedChoice, TariffChoices, read_hours
from worker.domain.prices.own_prices import read_own_prices
from worker.domain.series import of_supplier
from worker.stores.registry.tables import ACCOUNT_DETAILS

OWN = "[[electricity]]\nfrom = 2024-01-01\nsubscription = 15.65\nbase = 0.194\n"
REGULATED = {"option": "hphc", "power": "9", "hours": "22:00-06:00", "from": ""}
PEAK = "[[electricity]]\nfrom = 2024-01-01\nsubscription = 15.65\nhp = 0.25\nhc = 0.125\n"
TOO_LONG = "# " + "x" * 200 + "\n"


class Form:
    """The form of an account in its household's browser."""

    def __init__(self, service: ApiService, account: str) -> None:
        self.service, self.account, self.browser = service, account, service.browser(account)
        self.address = f"/accounts/{account}/prices"

    def load(self) -> str:
        answer = self.browser.get(self.address, headers=FRENCH)
        assert answer.status_code == 200
        return html.unescape(answer.text).replace("\N{NO-BREAK SPACE}", " ")

    def send(self, fields: dict[str, str]) -> Response:
        data = {**fields, "csrf": csrf_of(self.load())}
        return self.browser.post(self.address, data=data, headers=FRENCH, follow_redirects=False)

    @property
    def choices(self) -> TariffChoices | None:
        registry = self.service.parts.stores.registry
        return load_choices(registry, registry.accounts.get_existing(self.account))

    def outcomes(self) -> list[tuple[str, str]]:
        """Return action and outcome of each entry in the audit trail about prices."""
        entries = self.service.parts.stores.registry.audit.page(AuditFilter(account_id=self.account), 100)
        return [(entry.action, entry.outcome) for entry in entries if entry.action.startswith("prices")]


@pytest.fixture
def form(service: ApiService, account: str) -> Form:
    return Form(service, account)


def value_of(page: str, name: str) -> str:
    """Return the value of a field as it is shown."""
    if select := re.search(rf'<select id="{name}".*?</select>', page, re.DOTALL):
        chosen = re.search(r'value="([^"]*)" selected', select[0])
        return chosen[1] if chosen else ""
    field = re.search(rf'<input id="{name}"[^>]* value="([^"]*)"', page)
    assert field
    return field[1]


def test_contract_and_registers_fill_the_form_in_and_nothing_is_saved(service: ApiService) -> None:
    account = service.add(31)
    store_home(service.parts, account, PanelHome(TODAY - timedelta(days=1), days=60), tuple(of_supplier("enedis")))
    form = Form(service, account)
    page = form.load()
    assert [value_of(page, name) for name in ("option", "power", "hours")] == ["hphc", "9", "22:00-06:00"]
    assert "vérifiez avant d’enregistrer" in page and "Ce qui est enregistré" not in page
    assert form.choices is None and "€" not in service.browser(account).get(f"/accounts/{account}?unit=eur").text


def test_the_contracts_own_hours_are_followed_and_others_are_saved(service: ApiService) -> None:
    account = service.add(31)
    store_home(service.parts, account, PanelHome(TODAY - timedelta(days=1), days=60), tuple(of_supplier("enedis")))
    form = Form(service, account)
    assert form.send(REGULATED).status_code == 303
    assert form.choices and form.choices.electricity and form.choices.hours == ()
    assert form.send(REGULATED | {"hours": "23:00-07:00", "from": "2024-07-01"}).status_code == 303
    assert form.choices.hours == (OffPeakHours(date(2024, 7, 1), read_hours("23:00-07:00")),)


def test_hours_that_were_given_or_are_not_the_contracts_on_that_day_are_saved_even_if_they_are_its_newest(
    service: ApiService,
) -> None:
    account = service.add(31)
    store_home(service.parts, account, PanelHome(TODAY - timedelta(days=1), days=60), tuple(of_supplier("enedis")))
    before_contract = date(2000, 1, 2)
    form = Form(service, account)
    assert form.send(REGULATED | {"from": str(before_contract)}).status_code == 303
    night = read_hours("22:00-06:00")
    assert form.choices and form.choices.hours == (OffPeakHours(before_contract, night),)
    assert form.send(REGULATED | {"hours": "23:00-07:00", "from": "2024-07-01"}).status_code == 303
    assert form.send(REGULATED | {"from": "2024-07-10"}).status_code == 303
    assert form.choices.hours[-1] == OffPeakHours(date(2024, 7, 10), night)


def test_hours_alone_are_saved_beside_own_prices(form: Form) -> None:
    hours = {"option": "", "power": "", "hours": "22:00-06:00", "from": ""}
    assert form.send(hours).status_code == 422
    assert form.send({"own": PEAK}).status_code == 303
    assert form.send(hours).status_code == 303
    assert form.choices and form.choices.hours == (OffPeakHours(date(2000, 1, 1), read_hours("22:00-06:00")),)
    assert form.choices.electricity == read_own_prices(PEAK).electricity


def test_prices_that_can_not_be_decrypted_leave_the_pages_and_can_be_removed(form: Form) -> None:
    assert form.send(REGULATED).status_code == 303
    form.service.parts.stores.registry.database.change(update(ACCOUNT_DETAILS).values(sealed="with a key that is lost"))
    assert "€" not in form.browser.get(f"/accounts/{form.account}?unit=eur", headers=FRENCH).text
    page = form.load()
    assert "Ces prix ne peuvent plus être déchiffrés." in page and 'name="own"' not in page
    form.browser.post(f"{form.address}/remove", data={"csrf": csrf_of(page)}, headers=FRENCH)
    assert form.choices is None and "déchiffrés" not in form.load()


def test_a_regulated_tariff_is_saved_shown_and_removed(form: Form) -> None:
    assert "vérifiez" not in form.load()
    answer = form.send(REGULATED)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{form.address}?saved=yes")
    first = date(2000, 1, 1)
    hours = OffPeakHours(first, read_hours("22:00-06:00"))
    assert form.choices == TariffChoices(electricity=(RegulatedChoice(first, Option.HPHC, 9),), hours=(hours,))
    page = form.load()
    assert "Depuis le début" in page and "Tarif réglementé, option Heures pleines / heures creuses, 9 kVA" in page
    assert "Heures creuses : 22:00 – 06:00" in page and "(« releve prices update »)" in page
    assert f'href="/accounts/{form.account}?unit=eur#chart"' in page
    removed = form.browser.post(
        f"{form.address}/remove", data={"csrf": csrf_of(page)}, headers=FRENCH, follow_redirects=False
    )
    assert removed.headers["location"] == form.address and form.choices is None
    assert sorted(form.outcomes()) == [("prices.remove", "ok"), ("prices.set", "ok")]


def test_hours_are_no_part_of_another_option(form: Form) -> None:
    assert form.send(REGULATED | {"option": "base"}).status_code == 303
    assert form.choices and form.choices.hours == ()


@pytest.mark.parametrize(
    ("change", "field", "line"),
    [
        ({"option": ""}, "option", "Choisissez une option."),
        ({"option": "HPH"}, "option", "Choisissez une option."),
        ({"power": ""}, "power", "Choisissez une puissance."),
        ({"power": "7"}, "power", "Choisissez une puissance."),
        ({"power": "²"}, "power", "Choisissez une puissance."),
        ({"hours": "la nuit"}, "hours", "Écrivez les heures creuses ainsi"),
        ({"hours": "22:00-06:00,05:00-07:00"}, "hours", "overlap"),
        ({"hours": "00:00-24:00"}, "hours", "write 00:00 for 24:00"),
        ({"from": "2024-02-30"}, "from", "Donnez le jour à partir duquel cela vaut"),
        ({"from": ""}, "from", "Donnez le jour à partir duquel cela vaut"),
    ],
)
def test_a_refused_tariff_stays_typed_with_one_line_and_changes_nothing(
    form: Form, change: dict[str, str], field: str, line: str
) -> None:
    assert form.send({"option": "base", "power": "3"}).status_code == 303
    before, fields = form.choices, REGULATED | {"from": "2024-03-01"} | change
    answer = form.send(fields)
    page = html.unescape(answer.text)
    assert answer.status_code == 422 and form.choices == before
    assert page.count('class="fault"') == 1 and line in page and "Rien n’a été enregistré." in page
    assert re.search(rf'id="{field}"[^>]* aria-describedby="[^"]*fault" aria-invalid="true"', page)
    for name in {"option", "power"} - change.keys():
        assert value_of(page, name) == fields[name]
    assert value_of(page, "hours") == fields["hours"] and value_of(page, "from") == fields["from"]
    assert form.outcomes()[0] == ("prices.set", "prices_refused")


def test_own_prices_are_saved_from_their_text(form: Form) -> None:
    text = 'supplier = "Énergie du Port"\n' + OWN.replace("\n", "\r\n")
    answer = form.send({"own": text})
    assert answer.status_code == 303 and form.choices == TariffChoices().with_own(read_own_prices(text))
    page = form.load()
    assert "À partir du 1er janvier 2024" in page
    told = re.sub(r"\s*<br>\s*|\s+", " ", page)
    assert "Énergie du Port, prix de l’électricité : Toutes heures 0,194 €/kWh abonnement 15,65 € par mois" in told


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (OWN.replace("0.194", '"0,194"'), "write 0.194"),
        (OWN.replace("0.194", "0,194"), "line 4: write 0.194"),
        (OWN.replace("0.194", "-1"), "must be more than 0"),
        (OWN.replace("base", "bas"), "did you mean base?"),
        ("[[gas]]\nfrom = 2024-01-01\nsubscription = 1\nprice = 0.1\n", "this is a meter of electricity"),
        ("", "it has no prices"),
        (OWN + 400 * TOO_LONG, "larger than 64 kB"),
    ],
)
def test_refused_own_prices_stay_typed_with_one_line_and_change_nothing(form: Form, text: str, line: str) -> None:
    answer = form.send({"own": text})
    page = html.unescape(answer.text)
    assert answer.status_code == 422 and form.choices is None
    assert page.count('class="fault"') == 1 and line in page and "Ces prix ne peuvent pas être enregistrés" in page
    assert f">{text}</textarea>" in page


def test_a_body_that_is_much_too_long_is_refused(form: Form) -> None:
    assert form.send({"own": 300 * 1024 * "#"}).status_code == 413
    assert form.choices is None


def test_another_sites_form_is_refused(form: Form) -> None:
    assert form.browser.post(form.address, data={**REGULATED, "csrf": "0" * 64}).status_code == 403
    assert form.browser.post(f"{form.address}/remove", data={"csrf": "0" * 64}).status_code == 403
    assert form.choices is None


def test_prices_of_the_future_and_those_of_the_operator_are_told(form: Form) -> None:
    registry = form.service.parts.stores.registry
    set_prices(registry, "default", regulated=(Option.BASE, 6))
    page = form.load()
    assert "Prix définis par la personne qui gère ce service" in page and "Effacer mes prix" not in page
    assert form.send({"own": OWN.replace("2024", "2031")}).status_code == 303
    page = form.load()
    assert "À venir, à partir du 1er janvier 2031" in page and "Réglé par la personne" not in page
    assert "Pas de prix" not in page  # Until then, the operator's hold.


def test_the_form_of_a_meter_that_another_person_has_now_leads_to_its_page(form: Form) -> None:
    close_account(form.service.parts.stores.registry.consents, form.account, NOW)
    browser = form.service.browser(form.account)
    for answer in (
        browser.get(form.address, follow_redirects=False),
        browser.post(form.address, data={"own": OWN}, follow_redirects=False),
        browser.post(f"{form.address}/remove", follow_redirects=False),
    ):
        assert answer.status_code == 403 or answer.headers["location"] == f"/accounts/{form.account}"
