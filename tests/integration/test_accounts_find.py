"""`releve accounts list --meter` and `--reference`: the text is an argument, or comes on standard input."""

from __future__ import annotations

import io
import json
import sys
from datetime import timedelta

import pytest

from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.parts import Parts
from tests.support.registries import close_account
from worker.domain.account import AccountState
from worker.domain.audit_entry import AuditAction, AuditFilter
from worker.domain.completeness import DayMark, DayState
from worker.domain.series import Series
from worker.stores.registry.outcomes import RunOutcome

METER = "22516914714270"


@pytest.fixture
def account(parts: Parts) -> str:
    found, _ = parts.stores.registry.accounts.add("enedis", METER, NOW, token_needed=False)
    yesterday = parts.sync.history.today() - timedelta(days=1)
    late = {yesterday: DayMark(DayState.LATE, asked_at_age=1)}
    parts.stores.registry.outcomes.record(
        found.id, Series.DAILY, "run", NOW, RunOutcome(code=None, message="", last_day=None, stored=False, days=late)
    )
    return found.id


def test_the_number_of_a_meter_leads_to_state_reason_and_missing_days(
    installation: Installation, parts: Parts, account: str
) -> None:
    parts.stores.registry.accounts.set_state(
        account, AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED.OAUTH_OUTDATED", now=NOW
    )
    lines = installation.releve("accounts", "list", "--meter", METER).out.splitlines()
    assert lines[0] == f"account {account}: action_needed USER_ACTION_NEEDED.OAUTH_OUTDATED"
    assert lines[1].startswith("what to do: ")
    yesterday = parts.sync.history.today() - timedelta(days=1)
    assert f"missing of daily: {yesterday}" in lines
    assert f"`releve invite {account}`" in lines[-1]


def test_a_dash_reads_the_number_from_standard_input(
    installation: Installation, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("22516 914714 270\n"))
    row = json.loads(installation.releve("accounts", "list", "--meter", "-", "--json").out)
    assert (row["account"], row["state"], row["invite"]) == (account, "ready", f"releve invite {account}")


def test_an_unknown_or_mistyped_number_is_one_line_that_does_not_repeat_it(
    installation: Installation, account: str
) -> None:
    unknown = installation.releve("accounts", "list", "--meter", "22516914714271", code=1)
    assert unknown.err.splitlines()[-1].startswith("releve: no account has this meter: ") and not unknown.out
    mistyped = installation.releve("accounts", "list", "--meter", "225169147142", code=2)
    assert "14 digits" in mistyped.err
    assert "2251691" not in unknown.err + mistyped.err


def test_a_search_is_recorded_without_the_number(installation: Installation, parts: Parts, account: str) -> None:
    installation.releve("accounts", "list", "--meter", METER)
    (entry,) = parts.stores.registry.audit.page(AuditFilter(action=AuditAction.ACCOUNT_FIND), 10)
    assert entry.account_id == account and METER not in repr(entry)


def test_an_account_is_found_by_its_reference_in_which_case_is_the_same(
    installation: Installation, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, _ = parts.consent.assertion.add(METER, "cli:ada", reference="Contract 47110815")
    lines = installation.releve("accounts", "list", "--reference", "contract 47110815").out.splitlines()
    assert lines[0] == f"account {account.id}: new"
    monkeypatch.setattr(sys, "stdin", io.StringIO("CONTRACT 47110815\n"))
    row = json.loads(installation.releve("accounts", "list", "--reference", "-", "--json").out)
    assert (row["account"], row["state"]) == (account.id, "new")
    unknown = installation.releve("accounts", "list", "--reference", "contract 47110816", code=1)
    assert unknown.err.splitlines()[-1].startswith("releve: no account was added with this reference: ")
    entries = parts.stores.registry.audit.page(AuditFilter(action=AuditAction.ACCOUNT_FIND), 10)
    assert [entry.account_id for entry in entries] == [None, account.id, account.id]
    assert "4711081" not in f"{entries}{unknown.err}"


def test_the_former_account_of_a_reference_is_found_although_another_person_has_its_meter(
    installation: Installation, parts: Parts
) -> None:
    account, _ = parts.consent.assertion.add(METER, "cli:ada", reference="Contract 4711")
    close_account(parts.stores.registry.consents, account.id, NOW)
    row = json.loads(installation.releve("accounts", "list", "--reference", "Contract 4711", "--json").out)
    assert (row["account"], row["state"]) == (account.id, "closed")


def test_a_pause_until_a_day_is_shown_until_it_is_over(installation: Installation, account: str) -> None:
    def show() -> str | None:
        row = json.loads(installation.releve("accounts", "show", account, "--json").out)
        assert ("paused_until" in installation.releve("accounts", "show", account).out) == bool(row["paused_until"])
        until: str | None = row["paused_until"]
        return until

    refused = installation.releve("accounts", "pause", account, "--until", "2024-01-01", code=1)
    assert refused.err.splitlines()[-1] == "releve: a pause ends on a day after today" and show() is None
    paused = installation.releve("accounts", "pause", account, "--until", "2999-01-01").out
    assert paused == f"account {account} is paused until 2999-01-01\n" and show() == "2999-01-01"
    installation.releve("accounts", "resume", account)
    assert show() is None
