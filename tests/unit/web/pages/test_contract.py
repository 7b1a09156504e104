"""The card of the contract: its facts in words, and what it was before."""

from __future__ import annotations

import pytest

from worker.domain.documents import Entry
from worker.domain.series import Series
from worker.web.pages.cards import describe_off_peak, to_contract
from worker.web.texts import Words

FRENCH = Words("fr")


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("HC (22H00-6H00)", "22:00 – 06:00"),
        ("HC (2H00-7H00;12h30-14h00)", "02:00 – 07:00, 12:30 – 14:00"),
        ("HC (1H28-6H58;13H58-16H28)", "01:28 – 06:58, 13:58 – 16:28"),
        ("hc (22H-6H)", "22:00 – 06:00"),
        ("HC (22H00-6H00;later)", "HC (22H00-6H00;later)"),
        ("toute la nuit", "toute la nuit"),
        ("HC ()", "HC ()"),
        ("", ""),
    ],
)
def test_off_peak_hours_are_read_or_shown_as_they_were_sent(sent: str, shown: str) -> None:
    assert describe_off_peak(sent, FRENCH).replace("\N{NO-BREAK SPACE}", " ") == shown


def test_only_what_the_supplier_told_is_shown() -> None:
    card = to_contract(Series.CONTRACT, [Entry("2024-07-24", 12_000_000, details={"tariff": "Tarif long"})], FRENCH)
    assert card is not None and card.changes == []
    assert card.facts == [("contract.power", "12\N{NO-BREAK SPACE}kVA"), ("contract.tariff", "Tarif long")]
    assert to_contract(Series.CONTRACT, [], FRENCH) is None


def test_a_contract_without_a_power_and_a_day_in_another_form_are_shown_as_they_are() -> None:
    card = to_contract(Series.CONTRACT, [Entry("2024-07-24", 0, details={"activated_on": "hier"})], FRENCH)
    assert card is not None and card.facts == [("contract.since", "hier")]


def test_the_newest_contract_is_in_force_and_the_changes_begin_with_it() -> None:
    rows = [Entry("2023-01-02", 9_000_000, details={"tariff": "A"}), Entry("2024-04-15", 6_000_000)]
    card = to_contract(Series.CONTRACT, rows, FRENCH)
    assert card is not None and card.facts[0][1] == "6\N{NO-BREAK SPACE}kVA"
    assert card.changes == [
        ("15 avril 2024", "6\N{NO-BREAK SPACE}kVA"),
        ("2 janvier 2023", "9\N{NO-BREAK SPACE}kVA, A"),
    ]
