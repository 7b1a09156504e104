"""What names tell, and what they hide."""

from __future__ import annotations

from datetime import datetime

import pytest

from worker.domain.files.cells import Source, names_production, number_in_name, shown_name, time_in_name
from worker.domain.windows import PARIS


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("Enedis_Conso_Heure_20221024-20240725_99000000000011.csv", "99000000000011"),
        ("99000000000011_Export_energie_Consommation_01012025-07012025 (1).xlsx", "99000000000011"),
        ("ENEDIS_R63_P_CdC_M0000001_00001_20250313101500.csv", None),
        ("99000000000011 et 99000000000012.csv", None),
        ("mes données.csv", None),
        ("export_20250313101500.csv", None),
        ("export_20250313101500_99000000000011.csv", "99000000000011"),
        ("990000000000111.csv", None),
    ],
)
def test_a_name_has_one_number_or_none(name: str, number: str | None) -> None:
    assert number_in_name(name) == number
    assert (number or "x" * 14) not in shown_name(name)


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("ENEDIS_R64_P_INDEX_M1_GRD-F345_00001_20240627165441.json", datetime(2024, 6, 27, 16, 54, 41, tzinfo=PARIS)),
        ("ENEDIS_R63_P_CdC_M1_00001_20240627165441_1.csv.gz", datetime(2024, 6, 27, 16, 54, 41, tzinfo=PARIS)),
        ("ENEDIS_R63_P_CdC_20250313.csv", datetime(2025, 3, 13, tzinfo=PARIS)),
        ("ENEDIS_R63_P_CdC_20251313.csv", None),
        ("Enedis_Conso_Heure_20221024-20240725_99000000000011.csv", None),
    ],
)
def test_a_name_of_the_portal_tells_when_the_file_was_written(name: str, time: datetime | None) -> None:
    assert time_in_name(name) == time


def test_a_name_without_end_takes_no_time_and_is_shown_cut() -> None:
    """The list of an archive and the header of a form may hold names of any length."""
    source = Source.of("ENEDIS_R63_" * 100_000 + "é.csv")
    for one in (source, source.member(source.name * 100)):
        assert len(one.name) == 255 and one.name.endswith("ENEDIS_R63_é.csv")
        assert number_in_name(one.name) is None and time_in_name(one.name) is None


def test_a_name_is_shown_without_what_a_terminal_would_obey() -> None:
    assert shown_name("a\x1b[31m\n99000000000011.csv") == "a?[31m?…0011.csv"
    assert [names_production(name) for name in ("historique_prod_1.csv", "Production 2.csv", "produits.csv")] == [
        True,
        True,
        False,
    ]
