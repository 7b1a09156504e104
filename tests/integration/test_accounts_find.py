"""`releve accounts list --meter`: by the number of the meter, as an argument or on standard input."""

from __future__ import annotations

import io
import json
import sys
from datetime import timedelta

import pytest

from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.parts import Parts
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
