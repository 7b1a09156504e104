"""A campaign of consents whose list of mail addresses is sorted a row off: each link is in the wrong person's mail.

Commands, web service, worker, simulator and mail server; each generation of Enedis' API proves consents another way.
"""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.support.household_browser import HouseholdBrowser
from tests.support.mail_server import MailReceiver, mail_receiver, mail_url
from tests.support.outside_view import Service, new_meter, open_service
from tests.support.system import NO_QUOTA
from tests.support.waiting import until

_MAILING: Final = (sys.executable, "-m", "tests.acceptance.mailing")
_OF_ACCOUNT: Final = ("", "/connection", "/contract", "/download", "/everything", "/series", "/stop", "/usage")


@pytest.mark.parametrize("generation", ["enedis-2026", "enedis-v5"])
def test_a_list_sorted_a_row_off_shows_nobody_the_past_of_another(generation: str, tmp_path: Path) -> None:
    with ExitStack() as opened:
        box = opened.enter_context(mail_receiver())
        mails = {"NOTIFY_URL": mail_url(box), "WEBHOOK_NETWORKS": "127.0.0.0/8"}
        service = opened.enter_context(open_service(tmp_path, generation, **mails, **NO_QUOTA))
        system, meter = service.system, new_meter()
        registry = system.parts.stores.registry

        def counts() -> dict[str, int]:
            return {state.value: count for state, count in registry.campaigns.count_states(campaign).items() if count}

        ours, others = add_account(service, meter, "A 1"), add_account(service, new_meter(), "B 2")
        file = tmp_path / "list.csv"
        file.write_text("reference;mail\nA 1;bernard@example.org\nB 2;anne@example.org\n")
        system.releve("campaigns", "add", "--csv", str(file))
        campaign = registry.campaigns.list_campaigns()[0].id
        system.stop("web")
        system.start_web(*_MAILING)
        assert box.recipients == [["support@example.org"]], "before the start, only the operator gets a mail"
        system.releve("campaigns", "resume", campaign)
        until(lambda: len(box.messages) == 3, lambda: f"two mails, not {box.recipients[1:]}")
        link, text = link_to(box, "bernard@example.org")
        assert meter[-4:] not in text and ours not in text

        bernard = service.browser()
        page = bernard.follow(bernard.answer_campaign(link))
        callback = bernard.callback(**bernard.last_callback)
        for shown in (page, bernard.visit(callback)):
            assert shown.account is None and meter[-4:] not in shown.text and ours not in shown.text
            assert not sees_anything(bernard, ours)
        assert service.browser().answer_campaign(link).status_code == 410
        service.settle()
        proof = registry.consents.newest_proofs([ours])[ours]
        assert (proof.vouched_by, proof.browser) == (f"campaign:{campaign}:list", None)
        account = registry.accounts.get(ours)
        assert account.active and account.consent_until == proof.consent_until

        anne = service.browser()
        assert anne.answer_campaign(link_to(box, "anne@example.org")[0], "no").status_code == 200
        assert counts() == {"connected": 1, "refused": 1}
        (request,) = system.query_rows("consents", "--requests")
        system.releve("consents", "accept", request["request"])
        assert bernard.visit(callback).account == ours and sees_anything(bernard, ours)
        assert not bernard.can_see(others) and not anne.can_see(ours) and not anne.can_see(others)
        assert counts() == {"connected": 1, "refused": 1}


def add_account(service: Service, meter: str, reference: str) -> str:
    """Add an account with this reference, and wait until its history is loaded."""
    account = service.system.add_account(meter, "--reference", reference, "--consented", "2024-07-01")
    service.system.wait_loaded(account)
    return account


def link_to(box: MailReceiver, address: str) -> tuple[str, str]:
    """Return the only link in the only mail to this address, and the mail's text."""
    (message,) = [message for message, to in zip(box.messages, box.recipients, strict=True) if to == [address]]
    body = message.get_body(("plain",))
    assert body is not None
    (link,) = set(re.findall(r"\S+/renew#\S+", text := body.get_content()))
    return link, text


def sees_anything(browser: HouseholdBrowser, account: str) -> bool:
    """Return whether the browser may load any page or answer of the account, or is signed in at all."""
    paths = [f"/accounts/{account}{page}" for page in _OF_ACCOUNT]
    paths += [f"/api/accounts/{account}{part}" for part in ("", "/measures", "/measures?format=csv", "/status")]
    return any(browser.get(path).status_code == 200 for path in (*paths, "/api/accounts"))
