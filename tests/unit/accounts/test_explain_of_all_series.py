"""The explanation of a day of a household with panels: each of its series, consumption first."""

from __future__ import annotations

import pytest

from tests.support.panel_household import PEAK, SUBSCRIBED, PanelHousehold
from tests.support.whole_homes import index_entry
from tests.unit.conftest import Household
from worker.accounts.explanations import Explanation
from worker.accounts.status import coverage_of, coverage_to_json, explanation_to_json
from worker.cli.explain import _lines
from worker.domain.completeness import DayState
from worker.domain.consistency import Law
from worker.domain.reasons import Reason
from worker.domain.series import Series, of_supplier
from worker.domain.tariffs import BreakCause
from worker.domain.windows import ONE_DAY
from worker.ops.support_bundle import _Anonymizer


class Home(PanelHousehold):
    def __init__(self, household: Household) -> None:
        super().__init__(household, household.add())
        self.explainer = household.build_explainer()

    def explain(self, place: int) -> Explanation:
        """Explain the day at this place of the stored ones."""
        day = self.days[0] + place * ONE_DAY
        return self.explainer.explain(self.household.registry.accounts.get(self.account), day)


@pytest.fixture
def home(household: Household) -> Home:
    return Home(household)


def test_each_series_of_the_account_is_explained_consumption_first(home: Home) -> None:
    explanation = home.explain(4)
    assert list(explanation.series) == of_supplier("enedis")
    assert (explanation.reason, explanation.discrepancies) == (Reason.COMPLETE, [])
    assert explanation.sentences["fr"] == "Nous avons reçu les données du 19 juillet 2024 en entier."
    reasons = {series: one.reason for series, one in explanation.series.items()}
    assert reasons.pop(Series.CONTRACT) is Reason.BEYOND_HISTORY, "it was told on the last day only"
    assert set(reasons.values()) == {Reason.COMPLETE}
    production = explanation.series[Series.PRODUCTION_DAILY].stored
    assert production.amount == explanation.series[Series.PRODUCTION_LOAD_CURVE].stored.amount


def test_registers_peak_and_contract_are_told_as_they_are(home: Home) -> None:
    explanation = home.explain(4)
    registers = explanation.series[Series.REGISTERS].stored.registers
    assert registers is not None
    assert 1000 * registers.total == explanation.series[Series.DAILY].stored.amount
    peak = explanation.series[Series.MAX_POWER].stored.peak
    assert peak is not None
    assert (peak.amount, peak.subscribed, peak.percent) == (PEAK, SUBSCRIBED, 52)
    lines = list(_lines(explanation, "en"))
    hc, hp = registers.by_period["HC"] / 1000, registers.by_period["HP"] / 1000
    assert f"  of the day: HC {hc:.3f} kWh, HP {hp:.3f} kWh" in lines
    assert "max_power: complete (complete), 4.638 kVA stored" in lines
    assert "  at 12:06:20+0200, 52% of 9.000 kVA" in lines
    assert "contract: unknown (beyond_history), 9.000 kVA stored" in lines
    assert "  known since 2024-07-24, tariff BTINFCU4, off_peak_hours HC (22H00-6H00)" in lines
    assert "totals: correct" in lines


def test_a_contract_is_known_from_the_day_on_which_it_was_told(home: Home) -> None:
    contract = home.explain(9).series[Series.CONTRACT]
    assert contract.reason is Reason.IN_FORCE
    assert contract.sentences["fr"] == "Nous connaissons le contrat en vigueur le 24 juillet 2024."
    assert contract.sentences["en"] == "We know the contract in force on 24 July 2024."


def test_the_same_as_json_names_units_and_instants(home: Home) -> None:
    series = explanation_to_json(home.explain(4))["series"]
    assert (series["max_power"]["stored_kva"], series["max_power"]["subscribed_kva"]) == (4.638, 9.0)
    assert series["max_power"]["peak_at"] == "2024-07-19T12:06:20+02:00"
    assert [row["period"] for row in series["registers"]["periods"]] == ["HC", "HP"]
    assert series["registers"]["new_sequences"] == []
    assert series["contract"]["details"]["tariff"] == "BTINFCU4"
    assert "periods" not in series["daily"]


def test_the_last_stored_midnight_has_no_energy_by_period_yet(home: Home) -> None:
    stored = home.explain(9).series[Series.REGISTERS].stored
    assert (stored.registers, stored.breaks) == (None, [])
    assert stored.amount is not None


def test_a_new_sequence_of_registers_is_said_and_gives_no_energy(home: Home) -> None:
    home.sync(Series.REGISTERS, [index_entry(home.days[5], {"HC": 1, "HP": 2})])
    explanation = home.explain(4)
    stored = explanation.series[Series.REGISTERS].stored
    assert stored.registers is None
    assert [one.cause for one in stored.breaks] == [BreakCause.METER_REPLACED]
    assert "  no energy by period from 2024-07-19 up to 2024-07-20: the meter was replaced" in _lines(explanation, "en")
    assert explanation.discrepancies == []


def test_documents_of_two_series_that_disagree_are_named(home: Home) -> None:
    home.spoil(Series.PRODUCTION_DAILY, str(home.days[4]), load=99.0)
    home.spoil(Series.MAX_POWER, str(home.days[4]), load=0.001)
    found = [(one.series, one.law) for one in home.explain(4).discrepancies or ()]
    assert found == [
        (Series.PRODUCTION_LOAD_CURVE, Law.DAY),
        (Series.MAX_POWER, Law.PEAK),
        (Series.PRODUCTION_REGISTERS, Law.REGISTERS),
        (Series.PRODUCTION_DAILY, Law.MONTH),
        (Series.PRODUCTION_DAILY, Law.YEAR),
    ]
    text = "\n".join(_lines(home.explain(4), "en"))
    assert "totals: max_power 2024-07-19: no step is above the maximum power, expected 0.660 kVA, found 0.001" in text


def test_a_production_curve_that_lacks_is_compared_with_daily_production(home: Home) -> None:
    ledgers = home.household.registry.completeness
    curve, state = Series.PRODUCTION_LOAD_CURVE, DayState.LATE
    known = ledgers.load_ledger(home.account, curve)
    marks = dict.fromkeys(home.days[4:5], type(known.mark_of(home.days[4]))(state, 0, 1))
    assert ledgers.replace_if_unchanged(home.account, curve, known, known.with_marks(marks))
    explanation = home.explain(4)
    assert explanation.reason is Reason.COMPLETE, "consumption is what a day is asked about"
    assert explanation.series[curve].reason is Reason.CURVE_GAP
    coverage = coverage_of(home.account, home.household.history)
    assert list(coverage) == of_supplier("enedis")
    assert [str(day.hole) for day in coverage[curve].open_days] == ["transmission"]
    told = coverage_to_json(home.account, coverage)
    assert "production_load_curve" in told["series"]
    assert told["curve_not_activated_since"] is None


def test_the_contract_of_a_day_is_not_asked_for_only_while_none_is_known(home: Home) -> None:
    for store in home.household.measures.values():
        store.documents.clear()
    assert home.explain(4).series[Series.CONTRACT].reason is Reason.NOT_ASKED_YET
    assert home.explain(4).discrepancies is None


def test_a_support_bundle_has_none_of_the_values(home: Home) -> None:
    cleaned = _Anonymizer(home.account, with_values=False).clean(explanation_to_json(home.explain(4)))
    assert cleaned["series"]["registers"]["periods"] == [{"period": "HC"}, {"period": "HP"}]
    assert cleaned["series"]["max_power"].keys().isdisjoint({"stored_kva", "subscribed_kva", "peak_at"})
    assert "4.638" not in str(cleaned)
