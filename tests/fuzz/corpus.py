"""Inputs that fuzzing starts from: recorded answers and exports where they are present, and our own in any case.

Bodies are cut to some dozens of points: a mutation breaks in a short answer what it breaks in a long one.
"""

from __future__ import annotations

import gzip
import json
from datetime import date
from typing import Any, Final

from tests.support.factories import USAGE_POINT, answer_2026, curve_of, v5_answer
from tests.support.recordings import RECORDINGS, RESPONSES
from tests.unit.simulator.test_gas_recordings import DAYS as GAS_DAYS
from tests.unit.simulator.test_gas_recordings import PERIODS as GAS_PERIODS
from tests.unit.simulator.test_recorded_folder import PRODUCTION
from tests.unit.simulator.test_recordings import HOUR_EXPORT, INDEX_EXPORT, METER
from worker.domain.series import Series

_MOST_POINTS: Final = 12
_MOST_LINES: Final = 16
_AUTUMN: Final = date(2024, 10, 27)

R63_EXPORT: Final = """Identifiant PRM;Date de début;Date de fin;Grandeur physique;Grandeur métier;Etape métier;Unité;\
Horodate;Valeur;Nature;Pas;Indice de vraisemblance;Etat complémentaire
99000000000033;2023-03-13 00:00:00;2025-03-13 00:00:00;PA;CONS;BRUT;W;2023-03-13 00:30:00;692;B;PT30M;0;0
99000000000033;2023-03-13 00:00:00;2025-03-13 00:00:00;PA;CONS;BRUT;W;2023-03-13 01:30:00;1284;B;PT60M;0;0
99000000000033;2023-03-13 00:00:00;2025-03-13 00:00:00;PA;CONS;BRUT;W;2023-03-13 02:00:00;;B;PT30M;2;11
"""
PLAIN_CURVE: Final = "date_end_local,watts\n" + "".join(
    f"2024-10-27 {hour:02}:{minute:02}:00,{10 * hour}\n" for hour in range(6) for minute in (0, 30)
)
PLAIN_DAYS: Final = "date,wh\r\n2024-01-09,\r\n2024-01-10,41566\r\n2024-01-11,0\r\n2024-01-12,12.5\r\n"


def bodies() -> list[Any]:
    """Return parsed answers, of measures and of all other kinds."""
    ranked = {"start": "2024-10-27", "interval_reading": [{"rank": n, "value": str(90 + n)} for n in range(1, 9)]}
    curve = [row for index, row in enumerate(curve_of(_AUTUMN, 300)) if index < _MOST_POINTS]
    days = [["2024-10-26", "10412"], ["2024-10-27", 9876], ["2024-10-28", "0"]]
    own_bodies = [
        v5_answer(curve, "W", start="2024-10-27", end="2024-10-28", quality="BRUT"),
        v5_answer(days, "Wh"),
        answer_2026(curve, Series.LOAD_CURVE),
        answer_2026(days, Series.DAILY),
        {"usage_point": [{"usage_point_id": USAGE_POINT, "meter_reading": ranked}]},
        {"error": "no_data_found", "error_description": "x"},
        {"status": 400, "error": {"error": "ADAM-ERR0123", "error_description": "x"}},
        {"code": "900804", "nextAccessTime": "2030-Jan-17 05:00:00+0000 UTC"},
        {"fault": {"code": 900901, "message": "Invalid Credentials"}},
        {"valid": False, "quota_reached": True, "quota_reset_at": "2023-01-07T23:59:59.999999"},
    ]
    files = sorted((RESPONSES).glob("*.json"))
    return own_bodies + [_cut(json.loads(path.read_bytes())) for path in files]


def texts() -> list[bytes]:
    """Return recorded bodies as bytes, also those that are not JSON."""
    texts_without_json = [b"", b"<html>firewall</html>", b"500 Internal Server Error", b'{"meter_reading": {']
    files = sorted(path for path in (RESPONSES).glob("*.fragment.*") if path.suffix != ".json")
    return (
        texts_without_json
        + [path.read_bytes()[:2000] for path in files]
        + [json.dumps(body).encode() for body in bodies()]
    )


def files() -> list[tuple[str, str]]:
    """Return name and text of a file of each kind that the simulator reads."""
    own_files = [
        (f"{METER}.load_curve.csv", PLAIN_CURVE),
        (f"{METER}.daily.csv", PLAIN_DAYS),
        ("Enedis_Conso_Heure_x.csv", HOUR_EXPORT),
        ("Enedis_Conso_Jour_x.csv", INDEX_EXPORT),
        ("Enedis_Prod_Jour_x.csv", PRODUCTION),
        ("ENEDIS_R63_x.csv", R63_EXPORT),
        (f"{METER}.gas_daily.csv", GAS_DAYS),
        (f"{METER}.gas_published.csv", GAS_PERIODS),
    ]
    recorded_files = [
        (path.name.removesuffix(".gz"), _first_and_last(gzip.decompress(path.read_bytes()).decode("utf-8-sig")))
        for path in sorted((RECORDINGS / "exports").glob("*.csv.gz"))
    ]
    return own_files + recorded_files


def _cut(body: Any) -> Any:
    if isinstance(body, dict):
        return {name: _cut(inner) for name, inner in body.items()}
    return [_cut(item) for item in body[:_MOST_POINTS]] if isinstance(body, list) else body


def _first_and_last(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:_MOST_LINES], *(line[:300] + "\n" for line in lines[-2:])])
