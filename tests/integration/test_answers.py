"""The commands for a support person who answers a household: whole lines in both languages, and JSON."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.explained_household import METER, ExplainedHousehold
from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.parts import Parts
from worker.domain.completeness import DayLedger
from worker.domain.series import USUAL_SERIES, Series
from worker.stores.registry.outcomes import HourFreshness

Releve = Callable[..., str]


@pytest.fixture
def household(parts: Parts) -> ExplainedHousehold:
    return ExplainedHousehold(parts)


@pytest.fixture
def releve(household: ExplainedHousehold, installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Releve:
    """Return a function that runs ``releve WORD …`` and returns what it prints."""
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *words: installation.releve(*words).out


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_explain_begins_with_the_sentence_to_read_aloud(household: ExplainedHousehold, releve: Releve) -> None:
    printed = lines(releve("explain", household.account_id, "2024-07-23", "--lang", "fr"))
    assert printed[0] == (
        "Enedis n’a pas encore publié la courbe par demi-heure du 23 juillet 2024 ; nous referons la demande "
        "aujourd’hui, dès que possible."
    )
    assert "daily: complete (complete), 10.997 kWh stored" in printed
    assert any(line.startswith("corrected: 2024-07-23 was 10.879 kWh, became 10.997 kWh at") for line in printed)
    assert "call 2024-07-25 09:00 (hand) for 2024-07-18/2024-07-25: data" in printed
    assert printed[-1] == "totals: correct"
    assert METER not in releve("explain", household.account_id, "2024-07-23", "--json")


def test_d32_explain_takes_a_day_by_its_name_and_speaks_the_language_of_the_shell(
    household: ExplainedHousehold, releve: Releve, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "en_GB.UTF-8")
    explained = {words: releve("explain", household.account_id, *words) for words in ((), ("yesterday",), ("-1",))}
    assert len({*explained.values()}) == 1 and "24 July 2024" in explained[()] and "juillet" not in explained[()]
    assert "23 July 2024" in releve("explain", household.account_id, "-2")
    monkeypatch.setenv("LANG", "fr_FR.UTF-8")
    in_french = releve("explain", household.account_id, "2024-07-24")
    assert "24 juillet 2024" in in_french and "July" not in in_french
    assert "July" in releve("explain", household.account_id, "2024-07-24", "--lang", "en")


def test_history_shows_the_old_and_the_new_value(household: ExplainedHousehold, releve: Releve) -> None:
    printed = lines(releve("explain", "--corrections", household.account_id, "2024-07-23"))
    assert printed[0].startswith("changed 2024-07-25 09:00 in run ")
    assert "day 10.879 10.997 2024-07-25 09:00" in printed
    (correction,) = json.loads(releve("explain", "--corrections", household.account_id, "2024-07-23", "--json"))[
        "corrections"
    ]
    assert (correction["was_kwh"], correction["became_kwh"]) == (10.879, 10.997)
    assert "no value of 2024-07-22 was corrected" in releve(
        "explain", "--corrections", household.account_id, "2024-07-22"
    )


def test_completeness_counts_days_and_a_rebuild_brings_them_back(household: ExplainedHousehold, releve: Releve) -> None:
    printed = lines(releve("explain", "--days", household.account_id))
    assert printed[0] == f"{household.account_id} daily: from 2024-06-25 to 2024-07-24: 30 complete"
    assert printed[1] == (
        f"{household.account_id} load_curve: from 2024-07-18 to 2024-07-24: 5 complete, 2 late; "
        "next try 2024-07-25 09:00"
    )
    assert printed[3:] == [
        "2024-07-23 load_curve late late 2024-07-25 09:00",
        "2024-07-24 load_curve late late 2024-07-25 09:00",
    ]
    completeness = household.parts.stores.registry.completeness
    for series in USUAL_SERIES:
        assert completeness.replace_if_unchanged(
            household.account_id, series, completeness.load_ledger(household.account_id, series), DayLedger()
        )
    assert "nothing fetched yet" in releve("explain", "--days", household.account_id)
    rows = [json.loads(line) for line in releve("verify", "--all", "--rebuild-days", "--json").splitlines()]
    (row,) = [row for row in rows if row["account"] == household.account_id]
    assert row["series"]["daily"]["complete"] == 30
    # Nothing tells any more that the other two were asked for: the history asks again.
    assert (row["series"]["load_curve"]["complete"], row["series"]["load_curve"]["late"]) == (5, 0)
    known = household.parts.stores.registry.outcomes.load(household.account_id)
    assert known[Series.LOAD_CURVE].history_due_at is not None


def test_freshness_is_told_now_and_by_the_hour(household: ExplainedHousehold, releve: Releve) -> None:
    assert "no hour is recorded yet" in releve("status", "--freshness")
    household.parts.stores.registry.completeness.save_freshness(HourFreshness(NOW, Series.DAILY, 4, 3))
    printed = lines(releve("status", "--freshness"))
    assert printed[0] == "2024-07-24 daily: 100.0% (1 of 1 active accounts)"
    assert printed[1] == "2024-07-24 load_curve: 0.0% (0 of 1 active accounts)"
    assert "09 75.0%" in printed
    freshness: dict[str, Any] = json.loads(releve("status", "--freshness", "--json"))
    assert freshness["by_hour_of_day"]["daily"] == {"9": 0.75}
    assert [hour["share"] for hour in freshness["hours"]] == [0.75]


def test_status_says_what_the_holder_can_do_about_a_curve_that_is_not_collected(
    household: ExplainedHousehold, releve: Releve
) -> None:
    assert json.loads(releve("status", household.account_id, "--json"))["hint"] == ""
    completeness = household.parts.stores.registry.completeness
    known = completeness.load_ledger(household.account_id, Series.LOAD_CURVE)
    assert completeness.replace_if_unchanged(
        household.account_id, Series.LOAD_CURVE, known, DayLedger.parse("2024-07-18 7l@1")
    )
    assert "switched on" in " ".join(releve("status", household.account_id).split())
    assert "no curve since 2024-07-18" in releve("explain", "--days", household.account_id)
    assert json.loads(releve("status", household.account_id, "--json"))["hint"] == "CURVE_NOT_ACTIVATED"


def test_a_bundle_is_written_once(household: ExplainedHousehold, releve: Releve, tmp_path: Path) -> None:
    path = tmp_path / "b.zip"
    assert f"wrote {path}: it calls account {household.account_id} account-" in releve(
        "support-bundle", household.account_id, "--days", "2", str(path)
    )
    with zipfile.ZipFile(path) as archive:
        assert "explain.json" in archive.namelist()
        assert len(json.loads(archive.read("explain.json"))) == 2
