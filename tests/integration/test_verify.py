"""The command ``releve verify``: it names a wrong total, repairs it, and finds nothing afterwards."""

from __future__ import annotations

import json
from datetime import date

import pytest

from tests.support.factories import NOW
from tests.support.installation import Installation
from worker.domain.measures.completeness import COMPLETE, DayLedger
from worker.domain.measures.documents import Entry, to_document
from worker.domain.measures.series import Doctype, Series
from worker.runtime.process import Runtime

DAYS = [Entry("2024-07-01", 5_000_000), Entry("2024-07-02", 6_000_000)]
RIGHT = {Doctype.DAY: DAYS, Doctype.MONTH: [Entry("2024-07", 11_000_000)], Doctype.YEAR: [Entry("2024", 11_000_000)]}


def add(runtime: Runtime, number: int, content: dict[Doctype, list[Entry]]) -> str:
    account, _ = runtime.registry.add("enedis", f"300016400000{number}", NOW, token_needed=False)
    for period, entries in content.items():
        documents = [to_document(account.id, period, entry, NOW) for entry in entries]
        assert runtime.measures.write({period: documents}) == {period: []}
    return account.id


def test_a_wrong_total_is_named_mended_and_then_no_more(installation: Installation, runtime: Runtime) -> None:
    add(runtime, 11, RIGHT)
    wrong = add(runtime, 12, {**RIGHT, Doctype.MONTH: [Entry("2024-07", 9_000_000)]})
    assert installation.releve("verify", "--all", code=1).out.splitlines() == [
        f"{wrong} 2024-07: days make the month, 11.000 kWh, stored is 9.000 kWh: the total is stale",
        "2 accounts, 8 documents, 1 at fault",
    ]
    report = installation.query("verify", wrong, "--repair")
    assert report["accounts_at_fault"] == 0
    assert report["faults"] == [{"account": wrong, "findings": [], "documents_written": 1, "windows_asked_again": 0}]
    installation.releve("verify", "--sample", "2")


def test_measures_that_are_gone_are_a_finding(installation: Installation, runtime: Runtime) -> None:
    """D23: `verify` said "0 at fault" where the whole measure store was gone."""
    account = add(runtime, 13, RIGHT)
    ledger = DayLedger(date(2024, 7, 1), [COMPLETE, COMPLETE])
    assert runtime.registry.completeness.replace_if_unchanged(account, Series.DAILY, DayLedger(), ledger)
    installation.releve("verify", account)
    runtime.measures.erase(account)
    assert installation.releve("verify", account, code=1).out.splitlines() == [
        f"{account} daily 2024-07-01/2024-07-03: a series is stored according to the registry, missing in the measures",
        "1 accounts, 0 documents, 1 at fault",
    ]
    report = json.loads(installation.releve("verify", account, "--repair", "--json", code=1).out)
    assert report["faults"][0]["windows_asked_again"] == 1, "and it counts until the answer has come"


@pytest.mark.parametrize("words", [(), ("home1", "--all"), ("--all", "--sample", "3")])
def test_it_wants_to_know_which_accounts(installation: Installation, words: tuple[str, ...]) -> None:
    assert "name one ACCOUNT, or --all, or --sample N" in installation.releve("verify", *words, code=2).error_line
