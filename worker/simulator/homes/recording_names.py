"""Names of recorded files: which reader a name asks for, and what to do about a name that asks for none.

A name with a meter's number is told with its last four digits alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from worker.simulator.homes.gas.recording_formats import read_gas_days, read_gas_periods
from worker.simulator.homes.recording_formats import (
    RecordedFile,
    read_curve,
    read_daily,
    read_export,
)

_PCES: Final = ("[0-9]" * 14, "gi" + "[0-9]" * 6)
_READERS: Final[Mapping[str, Callable[[Path], Iterator[RecordedFile]]]] = {
    "[0-9]" * 14 + ".load_curve.csv": read_curve,
    "[0-9]" * 14 + ".daily.csv": read_daily,
    "enedis_conso_heure_*.csv": read_export,
    "enedis_conso_jour_*.csv": read_export,
    "enedis_prod_jour_*.csv": read_export,
    "enedis_r63*.csv": read_export,
    **{f"{pce}.gas_daily.csv": read_gas_days for pce in _PCES},
    **{f"{pce}.gas_published.csv": read_gas_periods for pce in _PCES},
}
NAMES: Final = (
    "<14 digits>.daily.csv (date,wh), <14 digits>.load_curve.csv (date_end_local,watts), <PCE>.gas_daily.csv "
    "(gas_day,…), <PCE>.gas_published.csv (start,end,…), or as Enedis names its "
    "downloads: Enedis_Conso_Heure_*.csv, Enedis_Conso_Jour_*.csv, Enedis_Prod_Jour_*.csv, ENEDIS_R63*.csv; "
    "with or without .gz"
)
_COMPRESSED: Final = (".zip", ".7z", ".bz2", ".xz", ".zst", ".tar", ".tgz")
_SPREADSHEETS: Final = (".xlsx", ".xls", ".ods")
_PLAIN_SERIES: Final = re.compile(r"(?P<meter>.*?)[._ -]?(?P<series>gas_daily|gas_published|daily|load_curve)\.csv")


def reader_of(path: Path) -> Callable[[Path], Iterator[RecordedFile]] | None:
    """Return the reader of a file with this name; None for a name that is none of a recording."""
    name = Path(_plain_name(path))
    return next((reader for pattern, reader in _READERS.items() if name.match(pattern)), None)


def advice_for(path: Path) -> str:
    """Return why a file or folder without a reader is passed over, and what to do so that it is read."""
    if path.is_dir():
        return "a folder is not searched: move its files up"
    name = _plain_name(path)
    if name.startswith("."):
        return "a hidden file"
    if name.endswith(_COMPRESSED):
        return "only .gz files are unpacked: unpack it yourself"
    if name.endswith(_SPREADSHEETS):
        return "a spreadsheet is not supported: save its days as <14 digits>.daily.csv, with the columns date,wh"
    plain = _PLAIN_SERIES.fullmatch(name)
    if plain is None:
        return f"not the name of a recording: name it {NAMES}"
    has_wrong_number = plain["meter"].isdigit() and len(plain["meter"]) != 14
    is_gas = plain["series"].startswith("gas_")
    number = "a PCE has 14 digits, or GI and 6 digits" if is_gas else "a meter's number has 14 digits"
    reason = number if has_wrong_number else "not the name of a recording"
    ending = f".{plain['series']}.csv{'.gz' if path.suffix.lower() == '.gz' else ''}"
    return f"{reason}: name it <{'PCE' if is_gas else '14 digits'}>{ending}"


def _plain_name(path: Path) -> str:
    return path.name.lower().removesuffix(".gz")
