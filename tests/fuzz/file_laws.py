"""The laws of files that people download: each gives readings that are in it, or one line that names it."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import corpus
from tests.fuzz.mutations import mutated_bytes, mutated_file
from tests.support.downloaded_files import pack, workbook, workbook_parts
from tests.unit.domain.files import test_customer_site, test_grdf_exports, test_portal_exports
from tests.unit.domain.files.test_enedis_exports import FOOTER_HEAD, INDEX_COLUMNS, INDEX_HEAD, footer_row, index_row
from worker.domain.files import read_file
from worker.domain.files.cells import FileRefused, FileSeries, shown_name
from worker.domain.windows import day_length

_SECRET: Final = "99000000000011"
_MOST_MEMORY: Final = 30 << 20
_STEPS: Final = "".join(
    f"2025-10-26T0{hour}:00:00+01:00;2025-10-26T0{hour}:30:00+01:00;{word}\n"
    for hour, word in ((3, '"0,4"'), (4, "null"), (5, "1.25"))
)
_SCRIPT: Final = f"Courbe de charge Linky (pas 30 min) - PRM {_SECRET}\nHorodate fin de pas;Puissance moyenne (W)\n"
_INDEXES: Final = (
    INDEX_HEAD
    + INDEX_COLUMNS
    + "".join(index_row(f"2024-03-{day}T00:00:00+01:00", [400 * day, 600 * day], 1000 * day) for day in range(28, 32))
    + f"{FOOTER_HEAD}\n"
    + footer_row("2024-03-28T00:00:00+01:00", "FC000040", ["HC", "HP"])
)
TEXTS: Final = [
    *corpus.files(),
    ("Enedis_Conso_Jour_y.csv", _INDEXES),
    ("site.csv", "Début;Fin;Valeur (en kW)\n01/01/2025 00:00:00;01/01/2025 00:30:00;0,412\n"),
    (
        "jours.csv",
        "Point Référence Mesure (PRM) : ;99000000000011\nDate;Valeur (en kWh)\n01/01/2025;6,329\n02/01/2025;NA\n",
    ),
    ("historique_conso.csv", f"debut;fin;kW\n{_STEPS}"),
    ("script.csv", _SCRIPT + "2026-07-13T23:30:00;380\n2026-07-14T00:00:00;350\n"),
    ("r64.csv", test_portal_exports.INDEX_HEAD + test_portal_exports.index_row("2024-04-01 00:00:00", 1000)),
]
_POINTS: Final = [{"d": f"2024-01-10 0{n}:00:00", "v": str(n), "p": "PT60M"} for n in range(1, 5)]
_VALUES: Final = [{"d": f"2024-01-1{n} 00:00:00", "v": 100 * n} for n in range(4)]
_INDEX: Final = {
    "grandeurMetier": "CONS",
    "grandeurPhysique": "EA",
    "unite": "Wh",
    "calendrier": [{"idCalendrier": "F", "classeTemporelle": [{"idClasseTemporelle": "HP", "valeur": _VALUES}]}],
    "cadranTotalisateur": {"valeur": _VALUES},
}
_JSON: Final = [
    test_portal_exports.to_json("R63", [{"idPrm": _SECRET, "grandeur": [test_portal_exports.quantity(_POINTS)]}]),
    test_portal_exports.to_json("R64", [{"idPrm": _SECRET, "contexte": [{"grandeur": [_INDEX]}]}]),
]
_CURVE_ROWS: Final = test_customer_site.curve_rows(["26/10/2025 01:30", "26/10/2025 02:00"])
SHEETS: Final[list[Mapping[str, list[list[object]]]]] = [
    {"Consommation Horaire": [*test_customer_site.ABOVE, ["Début", "Fin", "Valeur (en kW)"], *_CURVE_ROWS]},
    {"a": [["x"]], "Export Production": [["Date", "Valeur (en kWh)"], ["01/01/2025", 6.329], [45659, "NA"]]},
    {"Historique par mois": [["N° PCE :", 123], test_grdf_exports.HEADER, *test_grdf_exports.DAYS]},
]
_BYTES: Final = [
    *(text.encode() for _, text in TEXTS),
    *(text.encode() for text in _JSON),
    *map(workbook, SHEETS),
    pack({"a.csv": TEXTS[2][1], "b.xlsx": workbook(SHEETS[1])}),
    pack({"a.csv": TEXTS[2][1]}, zipfile.ZIP_STORED),
]
_ODD_CELLS: Final = st.one_of(
    st.sampled_from(
        ["", "NA", "=1+1", "\x0b", "Début", "Date", "9" * 400, "-1", "1e309", "26/10/2025 02:00:00", "é" * 99]
    ),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**20), 10**20),
    st.datetimes(),
    st.none(),
)


def _check(name: str, content: bytes) -> None:
    """Read a file: readings in order, each in its bounds, or one line without the content."""
    tracemalloc.start()
    found: list[FileSeries] = []
    try:
        found.extend(read_file(name, io.BytesIO(content)))
    except FileRefused as error:
        assert str(error).startswith(shown_name(name))
        assert "\n" not in str(error)
        assert _SECRET not in str(error)
        assert len(str(error)) < 400
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < _MOST_MEMORY
    for series in found:
        assert series.told_at.tzinfo is not None
        assert _SECRET not in repr(series)
        instants = [(reading.start.timestamp(), reading.length) for reading in series.readings]
        assert all(first + length.total_seconds() <= second for (first, length), (second, _) in pairwise(instants))
        for reading in series.readings:
            assert reading.amount >= 0
            if not series.step_minutes:
                assert reading.length == day_length(reading.start.date())
            else:
                assert reading.length // timedelta(minutes=1) in series.step_minutes


@given(mutated_file(TEXTS))
def a_downloaded_text_gives_readings_or_one_line(file: tuple[str, bytes]) -> None:
    _check(*file)


@given(mutated_bytes(_BYTES), st.sampled_from(["x.csv", "x.xlsx", "x.zip", f"Enedis_Conso_{_SECRET}.csv"]))
def downloaded_bytes_give_readings_or_one_line(content: bytes, name: str) -> None:
    _check(name, content)


@st.composite
def _mutated_book(draw: st.DrawFn) -> bytes:
    sheets = {name: [list(row) for row in rows] for name, rows in draw(st.sampled_from(SHEETS)).items()}
    for _ in range(draw(st.integers(0, 4))):
        rows = sheets[draw(st.sampled_from(sorted(sheets)))]
        at = draw(st.integers(0, len(rows) - 1))
        match draw(st.sampled_from(["cell", "drop", "double", "swap"])):
            case "cell" if rows[at]:
                rows[at][draw(st.integers(0, len(rows[at]) - 1))] = draw(_ODD_CELLS)
            case "drop" if len(rows) > 1:
                del rows[at]
            case "double":
                rows.insert(draw(st.integers(0, len(rows))), list(rows[at]))
            case "swap":
                other = draw(st.integers(0, len(rows) - 1))
                rows[at], rows[other] = rows[other], rows[at]
    return workbook({name: [[_plain(cell) for cell in row] for row in rows] for name, rows in sheets.items()})


def _plain(cell: object) -> object:
    """Return a cell that can stand in XML."""
    return "".join(letter for letter in cell if letter.isprintable()) if isinstance(cell, str) else cell


@given(_mutated_book())
def a_downloaded_workbook_gives_readings_or_one_line(content: bytes) -> None:
    _check("x.xlsx", content)


@given(mutated_bytes([xml.encode() for sheets in SHEETS for xml in workbook_parts(sheets).values()]), st.data())
def a_workbook_with_a_damaged_part_gives_readings_or_one_line(part: bytes, data: st.DataObject) -> None:
    parts: dict[str, bytes | str] = dict(workbook_parts(data.draw(st.sampled_from(SHEETS))))
    parts[data.draw(st.sampled_from(sorted(parts)))] = part
    _check("x.xlsx", pack(parts))


FILE_LAWS: Final = {
    law.__name__: law
    for law in (
        a_downloaded_text_gives_readings_or_one_line,
        downloaded_bytes_give_readings_or_one_line,
        a_downloaded_workbook_gives_readings_or_one_line,
        a_workbook_with_a_damaged_part_gives_readings_or_one_line,
    )
}
