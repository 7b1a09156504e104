"""Formats 11 to 13, and what is no export at all: one line that says what it is and what to download instead."""

from __future__ import annotations

import json

import pytest

from tests.support.downloaded_files import pack, refusal

EDF = """Récapitulatif de mes puissances atteintes en W

Date et heure de relève par le distributeur;Puissance atteinte (W);Nature de la donnée
18/01/2025;;
00:00:00;1122;Réelle
"""
ENCRYPTED = bytes(range(256)) * 40


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it is empty"),
        (b"\xef\xbb\xbf\r\n  \n", "it is empty"),
        (b"%PDF-1.7\n", "a PDF is not supported: download"),
        (b"\r\n<!DOCTYPE html><html><head><title>Connexion", "a web page instead of the file: log in again"),
        (b"<html lang='fr'>", "a web page instead of the file"),
        (b"\x89PNG\r\n\x1a\n", "a picture is not supported"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "a picture is not supported"),
        (b"\x00\x00\x00\x18ftypheic", "a picture or film is not supported"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old workbook (.xls) or a protected one is not supported: save it"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive is not supported"),
        (b"Rar!\x1a\x07", "a RAR archive is not supported"),
        (b"<?xml version='1.0'?><R50 xmlns='x'>", "flux R50 (XML) is not supported: ask for"),
        (b"<?xml version='1.0'?><ns2:R151>", "flux R151 (XML) is not supported: ask for"),
        (b"<?xml version='1.0'?><x/>", "an XML file is not supported"),
        (json.dumps({"header": {"codeFlux": "R65"}, "mesures": []}).encode(), "flux R65 (daily energy)"),
        (json.dumps({"header": {"codeFlux": "R66"}, "mesures": []}).encode(), "flux R66 (maximum power) is not"),
        (json.dumps({"header": {"codeFlux": "C68"}}).encode(), "flux C68 (contract) is not supported"),
        (json.dumps({"header": {"codeFlux": "R67"}}).encode(), "flux R67 (billed quantities) is not supported"),
        (json.dumps({"header": {"codeFlux": "R63A"}}).encode(), "flux R63A (recurring) is not supported"),
        (json.dumps([{"idPrm": "1"}]).encode(), "unknown format"),
        (b"Identifiant PRM;Puissance souscrite\n1;9\n", "flux C68 (contract) is not supported"),
        (b"Identifiant PRM;Grandeur physique;Valeur\n1;EA;9\n", "this flux of the portal is not supported"),
        (EDF.encode(), "a summary by EDF is not supported: download the load curve"),
        (EDF.encode("cp1252"), "a summary by EDF is not supported"),
        (b"debut;fin;kWh\n2025-10-26T02:00:00+02:00;2025-10-26T02:30:00+02:00;1\n", "the energy of steps in kWh"),
        (b"date;value\n1;2\n", "unknown format: download"),
        (b"hello\x00world", "unknown format"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_read_is_named_in_one_line(content: bytes, told: str) -> None:
    assert refusal("x", content).startswith(f"x: {told}")
    assert refusal("x", pack({"a": content})).startswith(f"x/a: {told}")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("ENEDIS_R65_P_X_M1_00001_20250101000000.csv", b"a;b\n1;2\n", "flux R65 (daily energy) is not supported"),
        ("ENEDIS_R63_P_CdC_M1_00001_20250101000000.zip", ENCRYPTED, "no readable R63; an encrypted one must be"),
        ("ERDF_R50_23X_1.zip", ENCRYPTED, "flux R50 (XML) is not supported"),
        ("ENEDIS_HDM_1.csv", b"a;b\n", "the history of measures (HDM) is not supported"),
        ("export_courbe_charges.csv", b"a;b\n", "the export of Strasbourg"),
        ("123456789-ABC-DEF.csv", b"a;b\n", "an export of TotalEnergies is not supported"),
        ("mint-energie.csv", b"a;b\n", "an export of Mint is not supported"),
    ],
)
def test_a_name_explains_the_refusal_of_content_that_says_nothing(name: str, content: bytes, told: str) -> None:
    assert told in refusal(name, content)
    assert "enedis-hour" not in refusal(name, content)
