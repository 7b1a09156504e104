"""Translations: no text missing in any language, and the choice of the reader's language."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path
from string import Formatter

import pytest
from starlette.requests import Request

import worker
from worker import web
from worker.domain.series import Series
from worker.texts import LANGUAGES, load_texts, translate, typeset_french
from worker.web.texts import Words, language_of, preferred_language

ROOT = Path(web.__file__).parent
_KEY = re.compile(r"""\bt\(\s*'([^']+)'\s*[,)]""")
_COUNTED = re.compile(r"""\bt\.count\(\s*'([^']+)'\s*,""")
_PREFIX = re.compile(r"""\bt\(\s*'([^']+)'\s*~""")
_IN_CODE = re.compile(r"""\bwords\(\s*"([a-z_.]+)"\s*[,)]""")


def test_every_text_is_there_once_in_every_language_with_the_same_facts() -> None:
    files = [json.loads(path.read_text()) for path in Path(worker.__file__).parent.glob("locales/*.json")]
    of_series = 3 * len(Series)  # Those are in the descriptions.
    assert sum(map(len, files)) + of_series == len(load_texts()), "a key comes twice"
    for key, translations in load_texts().items():
        assert set(translations) == set(LANGUAGES) and all(map(str.strip, translations.values())), key
        facts = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in translations.values()]
        assert facts == [facts[0]] * len(LANGUAGES), key


@pytest.mark.parametrize("path", sorted((ROOT / "templates").glob("*.html")), ids=lambda path: path.name)
def test_every_key_of_a_template_is_a_text(path: Path) -> None:
    source, texts = path.read_text(encoding="utf-8"), load_texts()
    keys = set(_KEY.findall(source)) | {
        f"{key}.{form}" for key in _COUNTED.findall(source) for form in ("one", "other")
    }
    assert keys <= texts.keys()
    assert all(any(key.startswith(prefix) for key in texts) for prefix in _PREFIX.findall(source))


def test_every_key_that_the_code_asks_for_is_a_text() -> None:
    keys = {key for path in ROOT.rglob("*.py") for key in _IN_CODE.findall(path.read_text(encoding="utf-8"))}
    assert keys and keys <= load_texts().keys()


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "fr"),
        ("de-DE,de", "fr"),
        ("en-GB,en;q=0.9", "en"),
        ("de,en;q=0.8,fr;q=0.9", "fr"),
        ("en;q=0, fr;q=0.1", "fr"),
        ("en;q=lots", "fr"),
    ],
)
def test_the_browsers_languages_are_weighed(header: str, language: str) -> None:
    assert preferred_language(header) == language


def test_what_the_reader_chose_goes_before_what_the_browser_asks_for() -> None:
    assert language_of(_request(query="lang=en", cookie="releve_language=fr")) == "en"
    assert language_of(_request(cookie="releve_language=en")) == "en"
    assert language_of(_request(query="lang=tlh", cookie="releve_language=tlh")) == "fr"


def _request(query: str = "", cookie: str = "") -> Request:
    headers = [(b"accept-language", b"fr"), (b"cookie", cookie.encode())]
    return Request({"type": "http", "query_string": query.encode(), "headers": headers})


def test_numbers_and_dates_are_written_as_the_language_does() -> None:
    french, english = Words("fr"), Words("en")
    assert french.energy(1_234_567_000).replace("\u202f", " ") == "1 235\N{NO-BREAK SPACE}kWh"
    assert english.energy(12_345_000) == "12.3\N{NO-BREAK SPACE}kWh"
    assert french.kwh(456_789, 3) == "0,457"
    assert french.day(date(2024, 7, 24)) == "24 juillet 2024"
    assert english.month(date(2024, 7, 24)) == "July 2024"
    assert french.change(-8).replace("\N{NO-BREAK SPACE}", " ") == "−8 %"
    assert (english.change(8), english.change(0)) == ("+8%", "0%")


def test_a_consents_length_is_said_in_words() -> None:
    assert Words("fr").duration("P1095D") == "3 ans"
    assert Words("en").duration("P6M") == "6 months"
    assert Words("en").duration("P1D") == "1 day"
    assert Words("en").duration("P1Y2M") == "P1Y2M"


def test_french_marks_keep_to_their_words() -> None:
    narrow, wide = "\N{NARROW NO-BREAK SPACE}", "\N{NO-BREAK SPACE}"
    assert typeset_french("Qui ? « Moi »") == f"Qui{narrow}? «{wide}Moi{wide}»"
    assert typeset_french("Là : oui ; non !") == f"Là{wide}: oui{narrow}; non{narrow}!"


def test_every_french_text_is_typeset_wherever_it_is_written() -> None:
    loose = re.compile(r" [:;?!»]|« ")
    assert [key for key, text in load_texts().items() if loose.search(text["fr"])] == []
    assert translate("stop.title", "fr") == Words("fr")("stop.title") == "Arrêter les relevés\N{NARROW NO-BREAK SPACE}?"
    assert translate("stop.title", "en") == "Stop data collection?"


def test_d31_french_has_typographic_apostrophes() -> None:
    assert [key for key, text in load_texts().items() if "'" in text["fr"]] == []


def test_d31_the_first_of_a_month_is_ordinal_in_french() -> None:
    french, english = Words("fr"), Words("en")
    assert french.weekday(date(2026, 11, 1)) == "dimanche 1er novembre 2026"
    assert french.short_day(date(2026, 11, 1)) == "dim. 1er nov."
    assert french.moment(datetime(2026, 11, 1, 6, 12, tzinfo=UTC)) == "1er nov. 2026, 07:12"
    assert french.weekday(date(2026, 11, 11)) == "mercredi 11 novembre 2026"
    assert english.weekday(date(2026, 11, 1)) == "Sunday, 1 November 2026"


@pytest.mark.parametrize(
    "words",
    [
        "autant par rapport",
        "être défait",
        "se fait pas ainsi",
        "incomprise",
        "flotte",
        "Barrière",
        "périmé",
        "vous dites oui",
        "serez conduit",
        "de soi-même",
        "d’elle-même",
        "d’elles-mêmes",
        "de nous-mêmes",
    ],
)
def test_d31_a_page_says_it_as_a_french_person_would(words: str) -> None:
    assert [key for key, text in load_texts().items() if words in text["fr"]] == []
