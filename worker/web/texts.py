"""What pages say: texts by key from ``texts/*.json``, numbers and dates as the language writes them (Babel)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache, cached_property
from pathlib import Path
from string import Formatter
from typing import Any, Final

from babel import Locale
from babel.dates import format_date, format_datetime, format_skeleton
from babel.numbers import format_decimal, format_percent
from fastapi import Request

from worker.domain.measures.readings import PARIS

Texts = dict[str, dict[str, str]]

_FOLDER: Final = Path(__file__).parent / "texts"
_LOCALES: Final = {"fr": "fr_FR", "en": "en_GB"}
_MILLIWATT_HOURS_PER_KWH: Final = 1_000_000
_BEFORE_MARK: Final = re.compile(r" (?=[:;?!»])|(?<=«) ")
_DURATION: Final = re.compile(r"P(\d+)([DWMY])")
_DAYS_OF_A_YEAR: Final = 365
_UNITS: Final = {"D": "day", "W": "week", "M": "month", "Y": "year"}


@cache
def load_texts() -> Texts:
    """Every text, in every language.  Raises ValueError where one is missing, or told twice."""
    texts: Texts = {}
    for path in sorted(_FOLDER.glob("*.json")):
        for key, told in json.loads(path.read_text(encoding="utf-8")).items():
            if key in texts:
                raise ValueError(f"{path.name}: the text {key!r} is told twice")
            check_text(key, told)
            texts[key] = told
    return texts


def check_text(key: str, told: dict[str, str]) -> None:
    """Raises ValueError where a language is missing or has other places for facts than the first."""
    if set(told) != set(LANGUAGES):
        raise ValueError(f"the text {key!r} needs {', '.join(LANGUAGES)}")
    places = {frozenset(name for _, name, _, _ in Formatter().parse(text) if name) for text in told.values()}
    if len(places) > 1:
        raise ValueError(f"the text {key!r} has not the same {{names}} in each language")


def typeset_french(text: str) -> str:
    """No line may begin with a colon or end with an opening quote."""
    return _BEFORE_MARK.sub("\N{NO-BREAK SPACE}", text)


@dataclass(frozen=True)
class Words:
    """One language.  Called with a key it gives the text; a fact in it is a name in braces."""

    language: str

    def __call__(self, key: str, **facts: Any) -> str:
        text = load_texts()[key][self.language].format_map(facts)
        return typeset_french(text) if self.language == "fr" else text

    def count(self, key: str, number: int, **facts: Any) -> str:
        """``key.one`` or ``key.other``, as the language counts; the text's ``{number}``."""
        form = "one" if self.locale.plural_form(number) == "one" else "other"
        return self(f"{key}.{form}", number=self.number(number), **facts)

    @cached_property
    def locale(self) -> Locale:
        return Locale.parse(_LOCALES[self.language])

    # -- numbers

    def number(self, value: float, digits: int = 0) -> str:
        pattern = "#,##0" + ("." + "0" * digits if digits else "")
        return format_decimal(value, pattern, self.locale)

    def energy(self, milliwatt_hours: int, digits: int | None = None) -> str:
        """``212,4 kWh``; three figures or so unless told how many decimals."""
        return f"{self.kwh(milliwatt_hours, digits)}\N{NO-BREAK SPACE}kWh"

    def kwh(self, milliwatt_hours: int, digits: int | None = None) -> str:
        """The same without its unit, for columns."""
        value = milliwatt_hours / _MILLIWATT_HOURS_PER_KWH
        return self.number(value, _digits(value) if digits is None else digits)

    def change(self, share: float) -> str:
        """``+8 %``; -0.5 is half as much."""
        return format_percent(share, "+#,##0%;−#,##0%" if self.language == "en" else "+#,##0 %;−#,##0 %", self.locale)

    def percent(self, share: float) -> str:
        return format_percent(share, locale=self.locale)

    # -- dates

    def day(self, day: date) -> str:
        """24 juillet 2024"""
        return format_date(day, "long", self.locale)

    def weekday(self, day: date) -> str:
        """mercredi 24 juillet 2024, Wednesday 24 July 2024"""
        return format_date(day, "full", self.locale)

    def short_day(self, day: date) -> str:
        """mer. 24 juil."""
        return format_skeleton("MMMEd", day, locale=self.locale)

    def month(self, day: date) -> str:
        """juillet 2024"""
        return format_skeleton("yMMMM", day, locale=self.locale)

    def month_name(self, day: date, width: str = "wide") -> str:
        """juillet; juil. (abbreviated); J (narrow)"""
        return str(self.locale.months["stand-alone"][width][day.month])

    def moment(self, moment: datetime) -> str:
        """24 juil. 2024, 07:12, in the meter's zone."""
        return format_datetime(moment, "medium", PARIS, self.locale)

    def duration(self, text: str) -> str:
        """``P3Y`` or ``P1095D`` as ``3 ans``; what isn't so simple as it stands."""
        told = _DURATION.fullmatch(text)
        if told is None:
            return text
        number, unit = int(told[1]), told[2]
        if unit == "D" and number and number % _DAYS_OF_A_YEAR == 0:
            number, unit = number // _DAYS_OF_A_YEAR, "Y"
        return self.count(f"duration.{_UNITS[unit]}", number)


def _digits(kwh: float) -> int:
    if kwh >= 100:
        return 0
    return 1 if kwh >= 10 else 2


# Which language a person reads: what they chose here, else what their browser asks for, else French.

LANGUAGES: Final = ("fr", "en")
LANGUAGE_COOKIE: Final = "releve_language"
LANGUAGE_LIFE_S: Final = 365 * 24 * 3600
CHOICE: Final = "lang"  # in the query: `?lang=en`


def chosen_language(request: Request) -> str | None:
    """The language asked for in the address, which the browser shall remember."""
    told = request.query_params.get(CHOICE)
    return told if told in LANGUAGES else None


def language_of(request: Request) -> str:
    told = chosen_language(request) or request.cookies.get(LANGUAGE_COOKIE)
    if told in LANGUAGES:
        return str(told)
    return preferred(request.headers.get("Accept-Language", ""))


def preferred(header: str) -> str:
    """The first of ours in an Accept-Language header, by weight; a language we don't have gets French.

    Source: RFC 9110, 12.5.4.
    """
    weighed = []
    for rank, part in enumerate(header.split(",")):
        tag, _, weight = part.strip().partition(";q=")
        language = tag.strip().lower().partition("-")[0]
        if language in LANGUAGES and (value := _weight(weight)) > 0:
            weighed.append((-value, rank, language))
    return min(weighed)[2] if weighed else LANGUAGES[0]


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0
