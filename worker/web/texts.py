"""Translations for pages: texts by key, numbers and dates (Babel), and the reader's language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from babel import Locale
from babel.dates import format_date, format_skeleton, format_time
from babel.numbers import format_currency, format_decimal, format_percent
from fastapi import Request

from worker.domain.documents import MILLIWATT_HOURS_PER_KWH, count_places, round_kwh, round_percent
from worker.domain.windows import PARIS
from worker.texts import LANGUAGES, LOCALES, format_day, has_text, translate, translate_cause, translate_code

LANGUAGE_COOKIE: Final = "releve_language"
LANGUAGE_LIFE_S: Final = 365 * 24 * 3600
LANGUAGE_PARAMETER: Final = "lang"  # In the query: `?lang=en`.
_WISH: Final = re.compile(r"([a-z]+)(?:-[\w-]+)?(?:;q=(\d(?:\.\d*)?))?")
_DURATION: Final = re.compile(r"P(\d+)([DWMY])")
_DAYS_OF_A_YEAR: Final = 365
_DURATION_UNITS: Final = {"D": "day", "W": "week", "M": "month", "Y": "year"}


@dataclass(frozen=True)
class Words:
    """Translator into one language. A call with a key returns the key's text, with ``facts`` in its placeholders."""

    language: str

    def __call__(self, key: str, **facts: Any) -> str:
        return translate(key, self.language, **facts)

    def known(self, key: str, otherwise: str) -> str:
        """Return the text of a key made from a supplier's own word; ``otherwise`` if no text has this key."""
        return self(key) if has_text(key) else otherwise

    def choose(self, texts: Mapping[str, str]) -> str:
        """Return the text in the reader's language; ``texts``: by language."""
        return texts[self.language]

    def what_to_do(self, code: str) -> str:
        """Return what to do about an error code, even one stored by another version."""
        return translate_code(code, "what_to_do", self.language)

    def cause(self, code: str, supplier: str) -> str:
        """Return why a call failed, as a sentence; empty for a code that explains itself."""
        return translate_cause(code, supplier, self.language)

    def count(self, key: str, number: int, **facts: Any) -> str:
        """Return the text ``key.one`` or ``key.other``, by the language's plural rule, with ``{number}`` filled in."""
        form = "one" if self.locale.plural_form(number) == "one" else "other"
        return self(f"{key}.{form}", number=self.number(number), **facts)

    @property
    def locale(self) -> Locale:
        return LOCALES[self.language]

    # Numbers are rounded before Babel formats them, because Babel would round half to even.

    def number(self, value: int) -> str:
        return format_decimal(value, "#,##0", self.locale)

    def decimal(self, value: Decimal) -> str:
        """Return a decimal number with all its decimals, such as ``11,42781``."""
        return format_decimal(value, locale=self.locale, decimal_quantization=False)

    def places(self, value: str | Decimal, places: int) -> str:
        """Return a decimal number with so many decimals."""
        return format_decimal(Decimal(value), "#,##0." + "0" * places, self.locale)

    def energy(self, milliwatt_hours: int, places: int | None = None) -> str:
        """Return an energy such as ``212 kWh``, with about three significant digits, or with ``places`` decimals."""
        usual = _usual_places(milliwatt_hours) if places is None else places
        return f"{self.kwh(milliwatt_hours, usual)}\N{NO-BREAK SPACE}kWh"

    def kwh(self, milliwatt_hours: int, places: int) -> str:
        """Return the energy in kWh with this many decimals, without its unit, for columns."""
        return self.places(round_kwh(milliwatt_hours, places), places).replace("-", "\N{MINUS SIGN}")

    def signed_kwh(self, milliwatt_hours: int, places: int) -> str:
        """Return a difference in kWh with its sign, without its unit, for columns: ``+6``, ``−12``, ``0``."""
        return f"{'+' if milliwatt_hours > 0 else ''}{self.kwh(milliwatt_hours, places)}"

    def power(self, millivolt_amperes: int, places: int | None = None) -> str:
        """Return a power such as ``4,64 kVA``, with all its decimals unless ``places`` gives their number."""
        exact = count_places([millivolt_amperes], least=0) if places is None else places
        return f"{self.kwh(millivolt_amperes, exact)}\N{NO-BREAK SPACE}kVA"

    def euros(self, amount: str | Decimal) -> str:
        """Return ``45,12 €``, in English ``€45.12``, for an amount in whole cents."""
        return format_currency(Decimal(amount), "EUR", locale=self.locale)

    def change(self, percents: int) -> str:
        """Return a change in percent with its sign, such as ``+8 %``; ``0 %`` has none, as it may be less or more."""
        share, number = Decimal(percents).scaleb(-2), "#,##0%" if self.language == "en" else "#,##0 %"
        return format_percent(share, f"{'+' if percents else ''}{number};−{number}", self.locale)

    def percent(self, part: int, whole: int) -> str:
        """Return the share of ``whole`` (not 0), such as ``99,6 %``; it is ``100 %`` only if nothing is missing."""
        share = round_percent(part, whole).scaleb(-2)
        return format_percent(share, locale=self.locale, decimal_quantization=False)

    def day(self, day: date) -> str:
        """Return a day such as ``24 juillet 2024``."""
        return format_day(day, self.language)

    def weekday(self, day: date) -> str:
        """Return a day such as ``mercredi 24 juillet 2024``, in English ``Wednesday 24 July 2024``."""
        return self._with_ordinal(format_date(day, "full", self.locale), day)

    def medium_day(self, day: date) -> str:
        """Return a day such as ``24 juil. 2024``."""
        return self._with_ordinal(format_date(day, "medium", self.locale), day)

    def short_day(self, day: date) -> str:
        """Return a day such as ``mer. 24 juil.``."""
        return self._with_ordinal(format_skeleton("MMMEd", day, locale=self.locale), day)

    def day_of_week(self, day: date, *, with_number: bool) -> str:
        """Return a day of the week such as ``mer. 24``, or ``mer.`` without the number."""
        return self._with_ordinal(format_skeleton("Ed" if with_number else "E", day, locale=self.locale), day)

    def week(self, first: date, last: date) -> str:
        """Return a week such as ``semaine du 22 au 28 juillet 2024``; two months or years are both named."""
        if first.year != last.year:
            beginning = self.day(first)
        else:
            skeleton = "d" if first.month == last.month else "MMMMd"
            beginning = self._with_ordinal(f"{format_skeleton(skeleton, first, locale=self.locale)} ", first).strip()
        return self("chart.week", first=beginning, last=self.day(last))

    def month(self, day: date) -> str:
        """Return a month such as ``juillet 2024``."""
        return format_skeleton("yMMMM", day, locale=self.locale)

    def month_name(self, day: date, width: str = "wide") -> str:
        """Return the name of a month: ``juillet``, ``juil.`` (with ``width`` ``abbreviated``) or ``J`` (``narrow``)."""
        return str(self.locale.months["stand-alone"][width][day.month])

    def moment(self, moment: datetime) -> str:
        """Return a moment such as ``24 juil. 2024, 07:12`` in the meter's time zone."""
        return f"{self.medium_day(moment.astimezone(PARIS).date())}, {self.clock(moment)}"

    def clock(self, moment: datetime) -> str:
        """Return a time of day such as ``07:12`` in the meter's time zone."""
        return format_time(moment, "HH:mm", PARIS, self.locale)

    def _with_ordinal(self, text: str, day: date) -> str:
        """Write the first of a month as "1er" in French."""
        return text.replace("1 ", "1er ", 1) if self.language == "fr" and day.day == 1 else text

    def duration(self, text: str) -> str:
        """Return an ISO 8601 duration in words: ``P3Y`` and ``P1095D`` as ``3 ans``; a mixed duration is unchanged."""
        match = _DURATION.fullmatch(text)
        if match is None:
            return text
        number, unit = int(match[1]), match[2]
        if unit == "D" and number and number % _DAYS_OF_A_YEAR == 0:
            number, unit = number // _DAYS_OF_A_YEAR, "Y"
        return self.count(f"duration.{_DURATION_UNITS[unit]}", number)


def _usual_places(milliwatt_hours: int) -> int:
    if milliwatt_hours >= 100 * MILLIWATT_HOURS_PER_KWH:
        return 0
    return 1 if milliwatt_hours >= 10 * MILLIWATT_HOURS_PER_KWH else 2


def chosen_language(request: Request) -> str | None:
    """Return the language that the address asks for; None if it names no language that we have."""
    language = request.query_params.get(LANGUAGE_PARAMETER)
    return language if language in LANGUAGES else None


def language_of(request: Request) -> str:
    """Return the reader's language: chosen on these pages now or earlier, else the browser's, else French."""
    language = chosen_language(request) or request.cookies.get(LANGUAGE_COOKIE)
    if language in LANGUAGES:
        return str(language)
    return preferred_language(request.headers.get("Accept-Language", ""))


def preferred_language(header: str) -> str:
    """Return the supported language with the largest weight in an Accept-Language header, else French.

    Source: RFC 9110, 12.5.4.
    """
    wishes = [match for part in header.lower().split(",") if (match := _WISH.fullmatch(part.strip()))]
    ours = [(match[1], float(match[2] or 1)) for match in wishes if match[1] in LANGUAGES]
    language, weight = max(ours, key=lambda wish: wish[1], default=(LANGUAGES[0], 1))
    return language if weight > 0 else LANGUAGES[0]
