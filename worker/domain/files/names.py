"""What the name of a file tells: the meter's number, the time of the export and the direction, where content has none.

    Enedis_Conso_Heure_20221024-20240725_99000000000011.csv          the meter's number
    99000000000011_Export_energie_Consommation_01012025-07012025.xlsx
    ENEDIS_R63_P_CdC_M0000001_00001_20250313101500.csv               the time of the export
    historique_prod_99000000000011.csv                               the direction

People rename files, so a name never says what the format is, and content wins over it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from typing import Final

from worker.domain.measures.readings import PARIS
from worker.domain.parsing.values import to_plain

# A number that lost its first zero in a spreadsheet is a meter's as well.
_METER: Final = re.compile(r"(?:[0-9]{6,}|GI[0-9]{2})(?=[0-9]{4}(?![0-9]))", re.IGNORECASE)
_NUMBER: Final = re.compile(r"(?<![0-9])[0-9]{14}(?![0-9])", re.ASCII)
_EXPORTED: Final = re.compile(
    r"ENEDIS_[RC][0-9]{2}[A-Z]?_.*?(20[0-9]{6})([0-9]{6})?(?:_[0-9]{1,5})?(?=\.[A-Z]|$)", re.IGNORECASE
)
_TIME: Final = re.compile(r"20[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[01][0-9]|2[0-3])(?:[0-5][0-9]){2}")
_PRODUCTION: Final = re.compile(r"(?<![a-z])prod(?:uction)?(?![a-z])")


def shown_name(name: str) -> str:
    """Return a file's name with meter numbers cut to their last four digits: ``…0011.daily.csv``."""
    return _METER.sub("…", "".join(letter if letter.isprintable() else "?" for letter in name))


def number_in_name(name: str) -> str | None:
    """Return the meter's number; None where there is none, or several. A time such as 20250313101500 is none."""
    numbers = {number for number in _NUMBER.findall(name) if not _TIME.fullmatch(number)}
    return numbers.pop() if len(numbers) == 1 else None


def time_in_name(name: str) -> datetime | None:
    """Return when the portal wrote a file; of a name with a date alone its first instant, which is early enough."""
    match = _EXPORTED.search(name.removesuffix(".gz"))
    if match is None:
        return None
    with suppress(ValueError):
        return datetime.strptime(match[1] + (match[2] or "000000"), "%Y%m%d%H%M%S").replace(tzinfo=PARIS)
    return None


def names_production(name: str) -> bool:
    """Return whether a name says that the file is of what a meter feeds in."""
    return bool(_PRODUCTION.search(to_plain(name)))
