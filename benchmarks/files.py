"""Benchmark of reading files: peak memory and seconds of the largest file of each kind that is read.

Each is read in a process of its own, which has made it on disk before and measures itself from the reading on.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from tests.support.downloaded_files import sheet_xml, workbook
from worker.domain.files import read_file
from worker.domain.files.cells import MAX_ROWS
from worker.domain.windows import PARIS

_METER: Final = "99000000000011"
_HEAD: Final = "Identifiant PRM;{}Grandeur physique;Grandeur metier;Etape metier;Unite{}\n"
_TWO_YEARS: Final = 35_088
_SHEET_ROWS: Final = 90_000


def _labels(number: int, minutes: int) -> Iterator[datetime]:
    first = datetime(2003, 1, 1, tzinfo=UTC)
    return ((first + place * timedelta(minutes=minutes)).astimezone(PARIS) for place in range(1, number + 1))


def _hours(number: int, minutes: int = 10) -> bytes:
    head = _HEAD.format("Type de donnees;", "") + f"{_METER};Courbe de charge;;Consommation;;W\nHorodate;Valeur\n"
    rows = (f"{label.isoformat()};{label.minute * 97}\n" for label in _labels(number, minutes))
    return (head + "".join(rows)).encode()


def _portal(number: int) -> bytes:
    head = _HEAD.format("", ";Horodate;Valeur;Nature;Pas;Indice de vraisemblance;Etat complementaire")
    rows = (
        f"{_METER};PA;CONS;BRUT;W;{label:%Y-%m-%d %H:%M:%S};{label.minute};B;PT10M;2;11\n"
        for label in _labels(number, 10)
    )
    return (head + "".join(rows)).encode()


def _portal_json(number: int) -> bytes:
    points = [
        {"d": f"{label:%Y-%m-%d %H:%M:%S}", "v": str(label.minute), "p": "PT10M"} for label in _labels(number, 10)
    ]
    quantity = {"grandeurMetier": "CONS", "grandeurPhysique": "PA", "unite": "W", "points": points}
    payload = {"header": {"codeFlux": "R63"}, "mesures": [{"idPrm": _METER, "grandeur": [quantity]}]}
    return json.dumps(payload, separators=(",", ":")).encode()


def _book(number: int) -> bytes:
    def text(value: object) -> str:
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>'

    step = timedelta(minutes=10)
    rows = (
        f"<row>{text(f'{label - step:%d/%m/%Y %H:%M}')}{text(f'{label:%d/%m/%Y %H:%M}')}<c><v>0.412</v></c></row>"
        for label in _labels(number, 10)
    )
    header = "".join(map(text, ("Début", "Fin", "Valeur (en kW)")))
    return workbook({"x": []}, sheet=sheet_xml(f"<row>{header}</row>{''.join(rows)}"))


KINDS: Final[dict[str, Callable[[], bytes]]] = {
    "two years of half-hours": lambda: _hours(_TWO_YEARS, 30),
    "hours, most rows": lambda: _hours(MAX_ROWS - 10),
    "R63 as CSV, most rows": lambda: _portal(MAX_ROWS),
    "R63 as JSON, most points": lambda: _portal_json(MAX_ROWS - 10),
    "workbook, most rows": lambda: _book(_SHEET_ROWS),
}


def _measure(path: Path) -> None:
    start = time.monotonic()
    with path.open("rb") as content:
        rows = [len(series.readings) for series in read_file(path.name, content)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{sum(rows):>8} readings {peak:6.0f} MB {time.monotonic() - start:6.1f} s")


def main() -> None:
    """Print a line for each kind of file."""
    with tempfile.TemporaryDirectory() as folder:
        for kind, make in KINDS.items():
            path = Path(folder) / "file"
            path.write_bytes(make())
            print(f"{kind:<26} {path.stat().st_size / 1e6:6.1f} MB", end=" ", flush=True)
            subprocess.run([sys.executable, __file__, str(path)], check=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _measure(Path(sys.argv[1]))
    else:
        main()
