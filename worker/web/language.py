"""Which language a person reads: what they chose here, else what their browser asks for, else French."""

from __future__ import annotations

from typing import Final

from fastapi import Request

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
