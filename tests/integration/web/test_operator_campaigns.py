"""The operator's page of campaigns: adding one by a form with a list, its refusals, and what becomes of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from tests.support.connect_service import ConnectService, ConnectServices
from tests.support.factories import NOW
from tests.support.mail_server import MailReceiver, mail_receiver, mail_url
from tests.support.operators import signed_in
from worker.accounts.campaigns import CampaignDesk
from worker.domain.campaign import Campaign
from worker.domain.windows import civil_date
from worker.stores.registry.campaigns import CampaignTable
from worker.stores.registry.tables import AUDIT_LOG
from worker.web.api.callers import CSRF_HEADER

PAGE, ADDRESS = "/operator/campaigns", "anne.martin@example.org"


@dataclass
class Desk:
    service: ConnectService
    box: MailReceiver
    browser: TestClient = field(init=False)

    def __post_init__(self) -> None:
        self.browser = signed_in(self.service.app, self.service.parts)
        self.registry = self.service.parts.stores.registry

    def account(self, number: int = 11, days: int = 3) -> str:
        ends = civil_date(NOW) + timedelta(days=days)
        meter = f"300016400{number:05}"
        return self.registry.accounts.add("enedis", meter, NOW, consent_until=ends, token_needed=False)[0].id

    def add(self, csv: str | bytes | None = None, **typed: Any) -> httpx2.Response:
        form = {"csrf": self.browser.headers[CSRF_HEADER], "days": "30", "per_day": "200", **typed}
        files = {"csv": ("list.csv", csv, "text/csv")} if csv is not None else {"csv": ("", b"")}
        return self.browser.post(PAGE, data=form, files=files)

    def post(self, path: str, **form: str) -> httpx2.Response:
        form = {"csrf": self.browser.headers[CSRF_HEADER], **form}
        return self.browser.post(f"{PAGE}/{path}", data=form, follow_redirects=False)

    def campaigns(self) -> list[Campaign]:
        return self.registry.campaigns.list_campaigns()

    def audit(self) -> list[tuple[str, str, str | None]]:
        rows = self.registry.database.fetch(select(AUDIT_LOG).order_by(AUDIT_LOG.c.id))
        return [(row.action, row.outcome, row.subject) for row in rows]


@pytest.fixture(scope="module")
def box() -> Iterator[MailReceiver]:
    with mail_receiver() as box:
        yield box


@pytest.fixture
def desk(kept_services: ConnectServices, box: MailReceiver) -> Desk:
    return open_desk(kept_services, box)


def open_desk(kept_services: ConnectServices, box: MailReceiver, notify_url: str | None = None) -> Desk:
    box.forget()
    url = mail_url(box) if notify_url is None else notify_url
    return Desk(kept_services.empty("enedis-v5", notify_url=url, webhook_networks="127.0.0.0/8"), box)


def fault_of(answer: httpx2.Response) -> str:
    found = re.search(r'role="alert"[^>]*>(.*?)</div>', answer.text, re.DOTALL)
    assert found is not None
    return " ".join(re.sub(r"<[^>]+>", " ", found[1]).split())


def test_a_campaign_is_added_stopped_started_downloaded_and_removed(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    listed, without = desk.account(11), desk.account(12)
    with caplog.at_level(logging.DEBUG):
        added = desk.add(f"\ufeffaccount;mail\n{listed};{ADDRESS}\n")
    ((campaign),) = desk.campaigns()
    assert (added.status_code, campaign.choice, campaign.is_running) == (200, "--expiring 30d --csv", False)
    assert [str(mail["To"]) for mail in desk.box.messages] == ["support@example.org"]
    assert "Left out: no address" in added.text and "Start sending" in added.text
    shown = desk.browser.get(f"{PAGE}/{campaign.id}").text
    assert all(listed in page and "a…@example.org" in page and without not in page for page in (added.text, shown))

    assert [desk.post(f"{campaign.id}/{word}").status_code for word in ("resume", "stop", "resume")] == [303] * 3
    assert desk.campaigns()[0].is_running
    left = desk.post(f"{campaign.id}/left.csv")
    assert left.text.splitlines()[1] == f"{listed},,To be mailed,,"
    assert desk.post(f"{campaign.id}/remove").status_code == 422 and desk.campaigns(), "without a yes"
    assert desk.post(f"{campaign.id}/remove", sure="yes").headers["location"] == PAGE and desk.campaigns() == []

    done = [(action, outcome) for action, outcome, subject in desk.audit() if subject == campaign.id]
    words = ("add", "resume", "stop", "resume", "export", "remove", "remove")
    assert done == [(f"campaign.{word}", "invalid_request" if n == 5 else "ok") for n, word in enumerate(words)]
    told = [str(vars(record)) for record in caplog.records]
    assert not any(ADDRESS in text for text in [added.text, shown, left.text, *told, str(desk.audit())])


@pytest.mark.parametrize(
    "typed, fault",
    [
        ({"days": "-5"}, "A value of the form is not valid"),
        ({"days": "999999999999"}, "A value of the form is not valid"),
        ({"days": "1_0"}, "A value of the form is not valid"),
        ({"days": "\x00"}, "A value of the form is not valid"),
        ({"per_day": ""}, "A value of the form is not valid"),
        ({"per_day": "0"}, "choose at least 1 mail a day."),
        ({"state": "odd"}, "A value of the form is not valid"),
        ({"tenant": "other"}, "A value of the form is not valid"),
        ({"csv": b"account;mail\n\xe9;a@example.org\n"}, "not in UTF-8"),
        ({"csv": b"", "days": ""}, "The list has other headings"),
    ],
)
def test_a_refused_form_keeps_what_was_typed(desk: Desk, typed: dict[str, Any], fault: str) -> None:
    values = {
        "days": "45",
        "state": "ready",
        "per_day": "77",
        "csv": f"account;mail\n{desk.account()};{ADDRESS}",
        **typed,
    }
    answer = desk.add(**values)
    assert (answer.status_code, desk.campaigns(), desk.box.messages) == (422, [], [])
    assert fault in fault_of(answer)
    assert f'name="days" value="{values["days"]}"' in answer.text
    assert f'name="per_day" value="{values["per_day"]}"' in answer.text
    assert ('value="ready" selected' in answer.text) is (values["state"] == "ready")
    assert desk.audit() == [("campaign.add", "campaign_refused", None)]


@pytest.mark.parametrize("refusal, notify_url, fault", [("550 no", None, "status 550"), (None, "", "no mail service")])
def test_nothing_is_created_if_the_sample_is_not_accepted(
    kept_services: ConnectServices, box: MailReceiver, refusal: str | None, notify_url: str | None, fault: str
) -> None:
    desk = open_desk(kept_services, box, notify_url)
    box.refusal = refusal
    answer = desk.add(f"account;mail\n{desk.account()};{ADDRESS}\n")
    assert (answer.status_code, desk.campaigns()) == (422, [])
    assert fault in fault_of(answer) and "nothing was created" in fault_of(answer)


def test_of_two_forms_at_once_one_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    csv, mail_sample = f"account;mail\n{desk.account()};{ADDRESS}\n", CampaignDesk._mail_sample
    answers = []

    def be_overtaken(*values: Any) -> None:
        monkeypatch.setattr(CampaignDesk, "_mail_sample", mail_sample)
        answers.append(desk.add(csv))

    monkeypatch.setattr(CampaignDesk, "_mail_sample", be_overtaken)
    answers.append(desk.add(csv))
    assert [answer.status_code for answer in answers] == [200, 422]
    assert "nother campaign has just" in fault_of(answers[1]) and len(desk.campaigns()) == 1


def test_an_unknown_campaign_has_no_page(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    # PostgreSQL refuses NUL, so no other table may be asked with the id.
    for name in ("count_states", "count_days", "left_pages"):
        monkeypatch.delattr(CampaignTable, name)
    for language, title in (("en", "Page not found"), ("fr", "Page introuvable")):
        asked = {"Accept-Language": language}
        for id_ in ("nobody", "a%00b"):
            pages = [desk.browser.get(f"{PAGE}/{id_}", headers=asked)]
            pages += [desk.post(f"{id_}/{word}", sure="yes") for word in ("stop", "resume", "remove", "left.csv")]
            assert [page.status_code for page in pages] == [404] * 5 and f"<h1>{title}</h1>" in pages[0].text


def test_the_overview_names_what_a_campaign_waits_for(desk: Desk) -> None:
    table = desk.registry.campaigns
    for number in (11, 12):
        desk.add(f"account;mail\n{desk.account(number)};{number}{ADDRESS}\n", days="")
    stopped, refused = desk.campaigns()
    table.set_running(refused.id, running=True)
    table.refuse_address(table.claim_next()[0].mail_id)

    def needs() -> dict[str, str]:
        found = re.findall(
            r"<li[^>]*>((?:(?!</li>).)*?campaigns/([0-9a-f]+).*?)</li>", desk.browser.get("/operator").text, re.DOTALL
        )
        return {id_: " ".join(re.sub(r"<[^>]+>", " ", text).split()) for text, id_ in found}

    told = {stopped.id: "1 recipient waits for its mail", refused.id: "has refused 1 address"}
    for running in (True, False):
        table.set_running(refused.id, running=running)
        found = needs()
        assert found.keys() == told.keys() and all(told[id_] in found[id_] for id_ in told)
    table.set_running(stopped.id, running=True)
    assert needs().keys() == {refused.id}
