"""A campaign's day by command: `releve campaigns`."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.factories import NOW
from tests.support.installation import Installation, new_installation
from tests.support.mail_server import MailReceiver, mail_receiver, mail_url

ADDRESS = "cleo@example.org"
LATER = (NOW + timedelta(minutes=1)).isoformat()  # The clock of each command begins anew.


@pytest.fixture
def box() -> Iterator[MailReceiver]:
    with mail_receiver() as box:
        yield box


@pytest.fixture
def installation(tmp_path: Path, redis_url: str, box: MailReceiver) -> Installation:
    installation = new_installation(tmp_path, redis_url)
    return installation.but(
        notify_url=mail_url(box), webhook_networks="127.0.0.0/8", preset="enedis-v5", pretend_now=NOW.isoformat()
    )


def add_accounts(installation: Installation, count: int) -> list[str]:
    options = [("--usage-point", f"300016400{number:05}", "--reference", f"=C {number}") for number in range(count)]
    return [installation.query("accounts", "add", *pair, "--json")["account"] for pair in options]


def write_list(folder: Path, *lines: str) -> str:
    file = folder / "list.csv"
    file.write_text("\n".join(("reference;mail", *lines)), encoding="utf-8-sig")
    return str(file)


def test_a_campaign_is_added_shown_started_stopped_and_removed(
    installation: Installation, box: MailReceiver, tmp_path: Path
) -> None:
    account, _ = add_accounts(installation, 2)
    added = installation.releve("campaigns", "add", "--csv", write_list(tmp_path, f"=C 0;{ADDRESS}"))
    assert "1  Chosen accounts" in added.out and "1  Accounts with an address of the list" in added.out
    assert "confirmed" not in added.out and "c…@example.org" in added.out
    assert ADDRESS not in added.out + added.err and "300016400" not in added.out
    (listed,) = installation.query_rows("campaigns", "list")
    assert (listed["state"], listed["recipients"], listed["left"]) == ("stopped", 1, 1)
    assert f"releve campaigns resume {listed['id']}" in added.out
    assert [to for (to,) in box.recipients] == ["support@example.org"], "nobody but the operator is mailed"

    installation.releve("campaigns", "resume", listed["id"])
    with installation.open(pretend_now=LATER) as parts:
        assert not parts.access.campaigns.send_due()
    shown = installation.query("campaigns", "show", listed["id"])
    assert (shown["state"], shown["mailed"]) == ("running", 1)
    assert [(day["day"], day["mailed"]) for day in shown["days"]] == [(NOW.date().isoformat(), 1)]
    assert "is running: --csv, 200 mails a day" in installation.releve("campaigns", "show", listed["id"]).out

    (left,) = csv.DictReader(io.StringIO(installation.releve("campaigns", "left", listed["id"]).out))
    assert (left["account"], left["reference"], left["state"]) == (account, "'=C 0", "mailed")
    assert "is stopped" in installation.releve("campaigns", "stop", listed["id"]).out
    installation.releve("campaigns", "remove", listed["id"], "--yes")
    assert installation.query_rows("campaigns", "list") == []
    gone = installation.run("campaigns", "show", listed["id"])
    assert gone.code == 1 and "releve campaigns list" in gone.err
    assert gone.err.count("\n") <= 2


def test_a_list_with_faults_is_refused_whole_with_its_lines(
    installation: Installation, box: MailReceiver, tmp_path: Path
) -> None:
    add_accounts(installation, 2)
    lines = [f"=C 0;{ADDRESS}", "=C 1;nobody", *(f"unknown {number};u{number}@example.org" for number in range(30))]
    refused = installation.run("campaigns", "add", "--csv", write_list(tmp_path, *lines))
    assert refused.code == 1 and "line 3:" in refused.err and "nobody" not in refused.err
    unknown = installation.run("campaigns", "add", "--csv", write_list(tmp_path, *lines[:1], *lines[2:]))
    assert unknown.code == 1 and unknown.err.count("no account has this reference") == 30
    assert installation.query_rows("campaigns", "list") == [] and box.messages == []
    assert "choose the days until the consents end" in installation.run("campaigns", "add").err


def test_a_list_is_read_from_the_input(
    installation: Installation, box: MailReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_accounts(installation, 1)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"reference,mail\n=C 0,{ADDRESS}\n"))
    assert installation.query("campaigns", "add", "--csv", "-", "--json")["counts"]["listed"] == 1


def test_without_the_session_key_nothing_is_added(installation: Installation, tmp_path: Path) -> None:
    elsewhere = installation.but(registry_url=f"sqlite:///{tmp_path / 'other.db'}", session_key="")
    refused = elsewhere.run("campaigns", "add", "--expiring", "30")
    assert refused.code != 0 and "session key is missing" in refused.err
