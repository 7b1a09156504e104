"""The texts for people, in French and English, from ``locales/*.json``; each key names one text.

============================ ==========================================================================
``code.<CODE>.…``            ``what_to_do``, for owner and operator; ``cause``, why a call failed; ``headline`` and
                             ``advice``, for the page of an account that waits with this code
``notice.<kind>.…``          ``subject`` and ``text`` of a notice, see ``worker.accounts.notice_channels``
``invitation.…``             ``notice``: how the reader of a notice makes an invitation; ``mail.…``: the mail with the
                             invitation's link
``reason.<reason>``          why a day is complete, partial or missing; a key with ``.<series>`` or ``.<supplier>`` at
                             its end replaces the general sentence
``series.<series>.…``        ``name``; ``object``, the name as a sentence's object; ``about``, a text for households;
                             all three come from the series' description
``supplier.<name>``          the supplier's name; with ``.about``, what is read from the supplier; with ``.of``, the
                             name in the possessive
``check.…``                  the results of `releve doctor`'s checks; a ``Message`` fills in their placeholders
``capacity.…``               the calls of a night, compared with the quota; for a ``Message`` too
other keys                   texts of the pages
============================ ==========================================================================

A test checks that each text has all languages and that each key occurs once. Asking for an unknown key is an error:
there is no fallback text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from babel import Locale
from babel.dates import format_date, format_time, format_timedelta
from babel.numbers import format_decimal

from worker.domain.series import SERIES_DESCRIPTIONS
from worker.domain.windows import PARIS
from worker.errors import WorkerError

Texts = dict[str, dict[str, str]]  # Key of a text -> language -> text.
LANGUAGES: Final = ("fr", "en")
LOCALES: Final = {"fr": Locale.parse("fr_FR"), "en": Locale.parse("en_GB")}
_UNKNOWN_CODE: Final = "UNKNOWN_ERROR"
_SPACE_BEFORE_COLON: Final = re.compile(r" (?=[:»])|(?<=«) ")
_SPACE_BEFORE_MARK: Final = re.compile(r" (?=[;?!])")
_FOLDER: Final = Path(__file__).parent / "locales"


@cache
def load_texts() -> Texts:
    """Return every text in every language; French texts get their no-break spaces."""
    texts: Texts = {}
    for path in _FOLDER.glob("*.json"):
        texts |= json.loads(path.read_text(encoding="utf-8"))
    for series, described in SERIES_DESCRIPTIONS.items():
        texts |= {f"series.{series}.{part}": dict(text) for part, text in described.label.items()}
    return {key: {**by_language, "fr": typeset_french(by_language["fr"])} for key, by_language in texts.items()}


def typeset_french(text: str) -> str:
    """Return the text with no-break spaces, so that no line begins with punctuation or ends with an opening quote."""
    text = _SPACE_BEFORE_COLON.sub("\N{NO-BREAK SPACE}", text)
    return _SPACE_BEFORE_MARK.sub("\N{NARROW NO-BREAK SPACE}", text)


def translate(key: str, language: str, **facts: Any) -> str:
    """Return a text in one language, with ``facts`` in its placeholders. Raises KeyError for an unknown key."""
    return load_texts()[key][language].format_map(facts)


def translate_code(code: str, part: str, language: str, **facts: Any) -> str:
    """Return the text ``part`` of an error code or, if the code has none, of its family: ``A`` for ``A.B``.

    Another version may have stored a code that is unknown here. If its family is unknown too, the code counts as an
    unknown error. The result is empty if there is no text for this part.
    """
    words = code.split(".")
    names = [".".join(words[:length]) for length in range(len(words), 0, -1)]
    known = any(has_text(f"code.{name}.what_to_do") for name in names)
    keys = (f"code.{name}.{part}" for name in (names if known else [_UNKNOWN_CODE]))
    return next((translate(key, language, **facts) for key in keys if has_text(key)), "")


def translate_cause(code: str, supplier: str, language: str) -> str:
    """Return why a call to a supplier failed, as a sentence; empty for a code without a ``cause``."""
    names = {"supplier": translate(f"supplier.{supplier}", language)}
    return translate_code(code, "cause", language, **names, of_supplier=translate(f"supplier.{supplier}.of", language))


def has_text(key: str) -> bool:
    return key in load_texts()


def translate_all(key: str, **facts: Any) -> dict[str, str]:
    return {language: translate(key, language, **facts) for language in LANGUAGES}


def format_clock(moment: datetime, language: str) -> str:
    """Return the time in Europe/Paris, like "8 h 30" in French and "08:30" in English."""
    pattern = "H'\u202fh\u202f'mm" if language == "fr" else "HH:mm"
    return format_time(moment, pattern, PARIS, LOCALES[language])


def format_day(day: date, language: str) -> str:
    """Return "24 juillet 2024" or "24 July 2024"; in French the first of a month is "1er"."""
    text = format_date(day, "long", LOCALES[language])
    return text.replace("1 ", "1er ", 1) if language == "fr" and day.day == 1 else text


@dataclass(frozen=True, slots=True)
class Message:
    """A text with its facts, translated when the reader's language is known.

    A fact is a number, a text, a moment, a day, an error, a Message, or a list of these. A placeholder without a format
    writes it as the language does (in English plainly, as commands always did). Besides Python's formats there are:

    ``{number:one|other}``       one of two words, by the language's plural rule
    ``{series:series.*.name}``   the text whose key has the fact in the place of the star
    ``{idle_s:duration}``        seconds, in the largest unit of which there are at least two
    ``{names: and }``            what stands between the members of a list; without it, a comma
    """

    key: str
    facts: Mapping[str, Any]

    def translate(self, language: str) -> str:
        return translate(self.key, language, **{name: _Fact(fact, language) for name, fact in self.facts.items()})

    def __str__(self) -> str:
        """Return the English text for commands and logs, which write straight apostrophes."""
        return self.translate("en").replace("’", "'")


@dataclass(frozen=True, slots=True)
class _Fact:
    value: Any
    language: str

    def __format__(self, form: str) -> str:
        value, language, locale = self.value, self.language, LOCALES[self.language]
        if isinstance(value, list | tuple):
            joint, form = (", ", form) if "*" in form else (form or ", ", "")
            return joint.join(format(_Fact(one, language), form) for one in value)
        if "*" in form:
            return translate(form.replace("*", str(value)), language)
        if "|" in form:
            return form.split("|")[locale.plural_form(value) != "one"]
        if form == "duration":
            return format_timedelta(timedelta(seconds=value), threshold=2, locale=locale)
        return format(value, form) if form else _write(value, language)


def _write(value: Any, language: str) -> str:
    if isinstance(value, Message):
        return value.translate(language)
    if isinstance(value, Exception):
        code = value.code if isinstance(value, WorkerError) and language != "en" else ""
        return translate_code(code, "what_to_do", language) if code else " ".join(str(value).split())
    if language == "en":
        return str(value)
    if isinstance(value, datetime):
        return f"{format_day(value.astimezone(PARIS).date(), language)} à {format_clock(value, language)}"
    if isinstance(value, date):
        return format_day(value, language)
    return format_decimal(value, "#,##0", LOCALES[language]) if isinstance(value, int) else str(value)
