"""Recognised but unsupported files: what each is, and what to download instead.

Such files are recognised by their bytes (a PDF, a picture), words at their beginning (``Récapitulatif de mes puissances
atteintes``), the columns of their header, or the code of the flux in a JSON. Otherwise the name of the file may explain
the refusal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from worker.domain.files.cells import TableLine, plain_name

_SITE: Final = "download the load curve or the daily energy from your account at Enedis"
_PORTAL: Final = "ask for the load curve (R63) or the indexes (R64) as CSV or JSON"
# The first bytes of a file, and why files that begin so are refused.
_SIGNATURES: Final[Sequence[tuple[bytes, str]]] = (
    (b"%PDF", f"a PDF is not supported: {_SITE}"),
    (
        b"\xd0\xcf\x11\xe0",
        "an old workbook (.xls) or a protected one is not supported: save it as .xlsx or .csv, without a password",
    ),
    (b"\x89PNG", "a picture is not supported"),
    (b"\xff\xd8\xff", "a picture is not supported"),
    (b"GIF8", "a picture is not supported"),
    (b"RIFF", "a picture or sound is not supported"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive is not supported: unpack it, or make a ZIP"),
    (b"Rar!", "a RAR archive is not supported: unpack it, or make a ZIP"),
    (b"BZh", "a bzip2 file is not supported: unpack it"),
    (b"\xfd7zXZ", "an xz file is not supported: unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd file is not supported: unpack it"),
    (b"bplist", "it is not a file of measures"),
    (b"SQLite format 3", "a database is not supported"),
)
_HTML: Final = re.compile(rb"<(?:!doctype\s+html|html|head|body|script)\b", re.IGNORECASE)
_XML_FLUX: Final = re.compile(rb"<(?:\w+:)?(R\d{2,3}|C\d{2}|F\d{2})\b")
UNREAD_FLUXES: Final = {
    "R65": f"flux R65 (daily energy) is not supported: {_PORTAL}",
    "R66": f"flux R66 (maximum power) is not supported: {_PORTAL}",
    "R67": f"flux R67 (billed quantities) is not supported: {_PORTAL}",
    "C68": f"flux C68 (contract) is not supported: {_PORTAL}",
    "R50": f"flux R50 (XML) is not supported: {_PORTAL}",
    "R151": f"flux R151 (XML) is not supported: {_PORTAL}",
    **{code: f"flux {code} (recurring) is not supported: {_PORTAL}" for code in ("R63A", "R63B", "R64A", "R64B")},
}
_EDF: Final = f"a summary by EDF is not supported: {_SITE}"
_BEGINNINGS: Final = (("recapitulatif de m", _EDF), ("date et heure de releve par le distributeur", _EDF))
# Columns of a header, and why tables with these columns are refused.
_HEADERS: Final[Sequence[tuple[frozenset[str], str]]] = (
    (frozenset({"debut", "fin", "kwh"}), "the energy of steps in kWh is not supported: " + _SITE),
    (frozenset({"identifiant prm", "puissance souscrite"}), UNREAD_FLUXES["C68"]),
    (frozenset({"pdl", "puissance souscrite"}), UNREAD_FLUXES["C68"]),
    (frozenset({"identifiant prm", "grandeur physique"}), f"this flux of the portal is not supported: {_PORTAL}"),
)
_NAMES: Final = (
    (re.compile(r"enedis_(r6[3-7][ab]?|c68)_", re.IGNORECASE), ""),
    (re.compile(r"(?:enedis|erdf)_(r50|r151)", re.IGNORECASE), ""),
    (re.compile(r"enedis_(hdm)", re.IGNORECASE), f"the history of measures (HDM) is not supported: {_PORTAL}"),
    (
        re.compile(r"export_courbe_charges", re.IGNORECASE),
        "the export of Strasbourg Électricité Réseaux is not supported",
    ),
    (re.compile(r"^\d+-[^-]+-[^-]+\.csv", re.IGNORECASE), f"an export of TotalEnergies is not supported: {_SITE}"),
    (re.compile(r"mint", re.IGNORECASE), f"an export of Mint is not supported: {_SITE}"),
)
UNKNOWN: Final = f"unknown format: {_SITE}, or daily gas from GRDF"


def explain_bytes(start: bytes) -> str | None:
    """Return why a file with this beginning is unsupported; None if the beginning shows no reason."""
    text = start.lstrip(b"\xef\xbb\xbf \r\n\t")
    if _HTML.search(text[:2048]):
        return "a web page instead of the file: log in again and download it"
    if text[:1] == b"<":
        match = _XML_FLUX.search(text)
        code = match[1].decode() if match else ""
        return UNREAD_FLUXES.get(code, f"an XML file is not supported: {_PORTAL}")
    for signature, reason in _SIGNATURES:
        if start.startswith(signature):
            return reason
    return "a picture or film is not supported" if start[4:8] == b"ftyp" else None


def explain_rows(rows: Iterable[TableLine]) -> str | None:
    """Return why a table with these first rows is unsupported; None if the rows show no reason."""
    for line in rows:
        first = plain_name(str(line.cells[0]))
        for beginning, reason in _BEGINNINGS:
            if first.startswith(beginning):
                return reason
        names = line.names().keys()
        for columns, reason in _HEADERS:
            if columns <= names:
                return reason
    return None


def explain_name(name: str) -> str:
    """Return why a file of unknown content is unsupported, according to its name."""
    for pattern, reason in _NAMES:
        if match := pattern.search(name):
            code = match[1].upper() if match.groups() else ""
            return reason or UNREAD_FLUXES.get(code, f"no readable {code}; an encrypted one must be decrypted first")
    return UNKNOWN
