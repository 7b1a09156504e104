"""The name of a meter: which texts are one, and what is kept of them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.account import LONGEST_METER_NAME, read_meter_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Maison", "Maison"),
        ("  Maison\n", "Maison"),
        ("Chalet de l’e\N{COMBINING ACUTE ACCENT}te\N{COMBINING ACUTE ACCENT}", "Chalet de l’été"),
        ("n°\N{NO-BREAK SPACE}3", "n°\N{NO-BREAK SPACE}3"),
        ("e\N{COMBINING ACUTE ACCENT}" * LONGEST_METER_NAME, "é" * LONGEST_METER_NAME),
        ("", ""),
        (" \N{NO-BREAK SPACE}\t", ""),
    ],
)
def test_a_name_is_trimmed_and_composed(text: str, name: str) -> None:
    assert read_meter_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "é" * (LONGEST_METER_NAME + 1),
        "Mai\nson",
        "Mai\x00son",
        "Mai\x1b[31mson",
        "Maison\N{RIGHT-TO-LEFT OVERRIDE}nosiam",
        "Mai\N{ZERO WIDTH SPACE}son",
        "Mai\N{LINE SEPARATOR}son",
        "Mai\ud83dson",
    ],
)
def test_a_long_or_invisible_text_is_no_name_and_is_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a meter's name has at most 40 characters, all of them visible$"):
        read_meter_name(text)


@given(st.text())
def test_what_is_kept_is_short_visible_and_kept_again(text: str) -> None:
    try:
        name = read_meter_name(text)
    except ValueError:
        return
    assert name == read_meter_name(name) == unicodedata.normalize("NFC", name) == name.strip()
    assert len(name) <= LONGEST_METER_NAME and len(name.splitlines()) <= 1
