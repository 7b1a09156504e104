"""The command ``releve verify``: it names a wrong total, repairs it, and finds nothing afterwards."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest

from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.parts import Parts
from tests.support.registries import switch_on
from tests.support.whole_homes import index_entry
from worker.accounts.prices import set_prices
from worker.domain.completeness import COMPLETE, DayLedger
from worker.domain.documents import Entry, to_document
from worker.domain.prices.choices import read_hours
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, DateWindow

DAYS = [Entry("2024-07-01", 5_000_000), Entry("2024-07-02", 6_000_000)]
RIGHT = {Doctype.DAY: DAYS, Doctype.MONTH: [Entry("2024-07", 11_000_000)], Doctype.YEAR: [Entry("2024", 11_000_000)]}


def add(parts: Parts, number: int, content: dict[Doctype, list[Entry]]) -> str:
    account, _ = parts.stores.registry.accounts.add("enedis", f"300016400000{number}", NOW, token_needed=False)
    for period, entries in content.items():
        documents = [to_document(account.id, period, entry, NOW) for entry in entries]
        assert parts.stores.measures.write({period: documents}) == {period: []}
    return account.id


def test_a_wrong_total_is_named_mended_and_then_no_more(installation: Installation, parts: Parts) -> None:
    add(parts, 11, RIGHT)
    wrong = add(parts, 12, {**RIGHT, Doctype.MONTH: [Entry("2024-07", 9_000_000)]})
    assert installation.releve("verify", "--all", code=1).out.splitlines() == [
        f"{wrong} 2024-07: days make the month, 11.000 kWh, stored is 9.000 kWh: the total is stale",
        "2 accounts (1 at fault), 8 documents",
    ]
    report = installation.query("verify", wrong, "--repair")
    assert report["accounts_at_fault"] == 0
    assert report["faults"] == [{"account": wrong, "findings": [], "documents_written": 1, "windows_asked_again": 0}]
    installation.releve("verify", "--sample", "2")


def test_measures_that_are_gone_are_a_finding(installation: Installation, parts: Parts) -> None:
    """D23: `verify` said "0 at fault" where the whole measure store was gone."""
    account = add(parts, 13, RIGHT)
    ledger = DayLedger(date(2024, 7, 1), [COMPLETE, COMPLETE])
    assert parts.stores.registry.completeness.replace_if_unchanged(account, Series.DAILY, DayLedger(), ledger)
    installation.releve("verify", account)
    parts.stores.measures.erase(account)
    assert installation.releve("verify", account, code=1).out.splitlines() == [
        f"{account} daily 2024-07-01/2024-07-03: a series is stored according to the registry, missing in the measures",
        "1 accounts (1 at fault), 0 documents",
    ]
    report = json.loads(installation.releve("verify", account, "--repair", "--json", code=1).out)
    assert report["faults"][0]["windows_asked_again"] == 1, "and it counts until the answer has come"


def test_production_is_named_and_a_new_sequence_of_registers_is_a_note(
    installation: Installation, parts: Parts
) -> None:
    registers = [
        index_entry(date(2024, 7, 1), {"HP": 9_000}),
        index_entry(date(2024, 7, 2), {"HP": 4}),
        index_entry(date(2024, 7, 3), {"HP": 5_004}),
    ]
    content = {
        Doctype.PRODUCTION_DAY: [Entry("2024-07-02", 6_000_000)],
        Doctype.PRODUCTION_MONTH: [Entry("2024-07", 6_000_000)],
        Doctype.PRODUCTION_YEAR: [Entry("2024", 6_000_000)],
        Doctype.PRODUCTION_INDEX: registers,
    }
    account = add(parts, 14, content)
    switch_on(parts.stores.registry, account, Series.PRODUCTION_DAILY, Series.PRODUCTION_REGISTERS)
    assert installation.releve("verify", account, code=1).out.splitlines() == [
        f"{account} production_registers 2024-07-02: the tariff periods make the day, 5.000 kWh, stored is 6.000 kWh: "
        "not known",
        f"{account} production_registers 2024-07-02: note, a new sequence of registers, the meter was replaced",
        "1 accounts (1 at fault), 6 documents",
    ]
    report = json.loads(installation.releve("verify", account, "--json", code=1).out)
    (finding,) = report["faults"][0]["findings"]
    assert (finding["series"], finding["expected_kwh"], finding["found_kwh"]) == ("production_registers", 5.0, 6.0)
    (note,) = report["notes"]
    assert note == {
        "account": account,
        "series": "production_registers",
        "last": "2024-07-01",
        "day": "2024-07-02",
        "cause": "the meter was replaced",
    }


def test_registers_and_curve_that_differ_by_tariff_period_are_a_note_that_nothing_repairs(
    installation: Installation, parts: Parts
) -> None:
    """The contract says 22:00 to 06:00; of the third day the registers have 1 kWh of the night in the peak hours."""
    steps, days = [], DateWindow(date(2024, 7, 1), date(2024, 7, 4))
    start, end = days.instants()
    while start < end:
        steps.append(Entry(f"{start:%Y-%m-%dT%H:%M}Z", 250_000))
        start += timedelta(minutes=30)
    counted = [(0, 0), (8000, 4000), (16000, 8000), (25000, 11000)]
    registers = [
        index_entry(days.start + place * ONE_DAY, {"HP": peak, "HC": off}) for place, (peak, off) in enumerate(counted)
    ]
    hours: dict[str, int] = {}
    for step in steps:
        hours[f"{step.key[:13]}:00Z"] = 500_000
    content = {
        Doctype.MINUTE: steps,
        Doctype.HOUR: [Entry(*hour) for hour in hours.items()],
        Doctype.INDEX: registers,
        Doctype.CONTRACT: [Entry("2024-06-01", 6_000_000, details={"off_peak_hours": "HC (22H00-6H00)"})],
    }
    account = add(parts, 15, content)
    switch_on(parts.stores.registry, account, Series.LOAD_CURVE, Series.REGISTERS, Series.CONTRACT)
    for words in ((), ("--repair",)):
        assert installation.releve("verify", account, *words).out.splitlines()[0] == (
            f"{account} registers 2024-07-03: note, registers and load curve differ by tariff period"
        )
    (note,) = installation.query("verify", account)["notes"]
    assert note == {"account": account, "series": "registers", "differs_by_period": ["2024-07-03"]}
    set_prices(
        parts.stores.registry, parts.stores.registry.accounts.get_existing(account), hours=read_hours("00:00-06:00")
    )
    assert installation.releve("verify", account).out.splitlines()[0] == (
        f"{account} registers 2 days from 2024-07-01 to 2024-07-02: note, registers and load curve differ by tariff "
        "period"
    ), "the hours that the household gives come first"


@pytest.mark.parametrize("words", [(), ("home1", "--all"), ("--all", "--sample", "3")])
def test_it_wants_to_know_which_accounts(installation: Installation, words: tuple[str, ...]) -> None:
    assert "give one ACCOUNT, --all or --sample N" in installation.releve("verify", *words, code=2).error_line
