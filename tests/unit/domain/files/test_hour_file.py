"""The file of a stored curve, as Enedis' customer site wrote it: our reader finds the same steps in it."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.downloaded_files import read_one
from tests.support.recordings import RECORDINGS, needs_recordings
from tests.support.strategies import many
from worker.domain.documents import Document, Entry, entry_of, period_key, to_document
from worker.domain.files.hour_file import HourFile
from worker.domain.series import Doctype, Series

METER = "99000000000011"
MASKED = "00000000000011"
MINUTE = timedelta(minutes=1)
# A winter day, the evenings before both clock changes, and New Year's Eve.
EVENINGS = [datetime(2023, *day, 21, tzinfo=UTC) for day in ((1, 10), (3, 25), (10, 28), (12, 31))]
HEAD = (
    "\ufeffIdentifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;Grandeur metier;Etape metier;"
    "Unite;Pas en minutes\n"
    f"{METER};Courbe de charge;28/10/2023;30/10/2023;Energie active;Consommation;Comptage Brut;W;\nHorodate;Valeur\n"
)


def document(start: datetime, minutes: int, watts: int, doctype: Doctype = Doctype.MINUTE) -> Document:
    """Return the stored document of a step."""
    amount = (watts * minutes * 1000 + 30) // 60
    entry = Entry(period_key(start, doctype), amount, None if minutes == 30 else minutes)
    return to_document("home1", doctype, entry, start)


def write(documents: Sequence[Document], meter: str = METER, page: int = 5000, name: Doctype = Doctype.MINUTE) -> str:
    file = HourFile(meter, name, date(2023, 10, 28), date(2023, 10, 30))
    pages = [documents[place : place + page] for place in range(0, len(documents), page)]
    return file.head() + "".join(map(file.rows, pages)) + file.tail()


@st.composite
def aligned_steps(draw: st.DrawFn) -> list[Document]:
    """Steps as Enedis publishes them, of any lengths in any order and with holes, each a multiple of whole watts."""
    at, steps = draw(st.sampled_from(EVENINGS)), []
    for minutes, count, hole in draw(
        st.lists(
            st.tuples(
                st.sampled_from([5, 10, 15, 30, 60]), st.integers(1, 4), st.sampled_from([0, 0, 0, 5, 30, 60, 300])
            ),
            min_size=1,
            max_size=30,
        )
    ):
        at += hole * MINUTE
        at += -(at.hour * 60 + at.minute) % minutes * MINUTE
        for _ in range(count):
            steps.append(document(at, minutes, draw(st.integers(0, 36_000))))
            at += minutes * MINUTE
    return steps


@many
@given(aligned_steps(), st.integers(1, 9))
def test_our_reader_finds_the_same_steps(steps: list[Document], page: int) -> None:
    found = read_one("courbe.csv", write(steps, page=page))
    assert found.usage_point == METER
    entries = [entry_of(reading, Doctype.MINUTE) for reading in found.readings]
    assert [to_document("home1", Doctype.MINUTE, entry, datetime.now(UTC))["_id"] for entry in entries] == [
        one["_id"] for one in steps
    ]
    assert [(entry.step, entry.amount) for entry in entries] == [
        (one.get("step"), round(one["load"] * 1_000_000)) for one in steps
    ]


def test_a_row_has_the_end_of_its_step_in_local_time_and_whole_watts() -> None:
    night = datetime(2023, 10, 28, 23, 30, tzinfo=UTC)
    rows = write([document(night + 30 * number * MINUTE, 30, 250 + number) for number in range(4)])
    assert rows == HEAD + (
        "2023-10-29T02:00:00+02:00;250\n2023-10-29T02:30:00+02:00;251\n"
        "2023-10-29T02:00:00+01:00;252\n2023-10-29T02:30:00+01:00;253\n"
    )
    third = document(night, 30, 0) | {"load": 0.00025}  # Half a watt.
    assert write([third]).endswith("2023-10-29T01:30:00+02:00;\n2023-10-29T02:00:00+02:00;1\n")


def test_rows_without_a_value_enclose_a_longer_step_between_shorter_ones() -> None:
    starts = [(0, 30), (30, 30), (60, 60), (120, 30)]
    steps = [document(EVENINGS[0] + at * MINUTE, minutes, 60) for at, minutes in starts]
    assert [row[11:16] + row[25:] for row in write(steps).splitlines()[3:]] == (
        ["22:00;", "22:30;60", "23:00;60", "23:00;", "00:00;60", "00:00;", "00:30;60"]
    )


def test_the_meter_number_shows_four_digits_and_a_reader_asks_for_the_others() -> None:
    text = write([document(EVENINGS[0], 30, 100)], MASKED)
    assert f"\n{MASKED};" in text
    assert read_one("Enedis_Conso_Heure_20231028-20231030_0011.csv", text).usage_point is None


def test_a_curve_of_production_says_so() -> None:
    doctype = Series.PRODUCTION_LOAD_CURVE.inputs
    text = write([document(EVENINGS[0], 30, 100, doctype)], name=doctype)
    assert read_one("x.csv", text).series is Series.PRODUCTION_LOAD_CURVE


@needs_recordings
@pytest.mark.rest
@pytest.mark.parametrize(
    "path", sorted((RECORDINGS / "exports").glob("Enedis_Conso_Heure*")), ids=lambda one: one.name[:24]
)
def test_a_recorded_file_is_written_as_the_site_wrote_it(path: Path) -> None:
    recorded = gzip.decompress(path.read_bytes())
    entries = [entry_of(reading, Doctype.MINUTE) for reading in read_one(path.name, recorded).readings]
    file = HourFile(path.name[-21:-7], Doctype.MINUTE, date(2022, 10, 24), date(2024, 7, 25))
    documents = [to_document("home1", Doctype.MINUTE, entry, datetime.now(UTC)) for entry in entries]
    assert (file.head() + file.rows(documents) + file.tail()).encode() == recorded
    assert f"{file.name}.csv" == f"{path.name[:-21]}0011.csv"
