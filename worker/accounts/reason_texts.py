"""The reason of a day as a sentence to read aloud, in each language (worker/locales/reasons.json)."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, timedelta
from typing import Final

from worker.domain.completeness import half_hours_of
from worker.domain.reasons import Reason
from worker.domain.series import Series
from worker.domain.windows import civil_date
from worker.texts import LANGUAGES, format_clock, format_day, has_text, translate

_SOON: Final = timedelta(minutes=1)


def format_sentences(
    reason: Reason,
    reason_series: Collection[Series],
    day: date,
    *,
    now: datetime,
    asked_next: datetime | None = None,
    consent_until: date | None = None,
    half_hours: int = 0,
) -> dict[str, str]:
    """Return the reason in each language, as a sentence that a support person can read aloud.

    ``reason_series``: the series that it concerns. ``half_hours``: how many of the day are stored. ``{thing}`` is
    always the grammatical object, so no verb or participle has to agree with it.
    """
    supplier = next(iter(reason_series)).description.supplier
    series = next(iter(reason_series)).value if len(reason_series) == 1 else "any"
    return {
        language: translate(
            _key_of(reason, series, supplier),
            language,
            supplier=translate(f"supplier.{supplier}", language),
            of_supplier=translate(f"supplier.{supplier}.of", language),
            thing=translate(f"series.{series}.object", language),
            day=format_day(day, language),
            again=_format_next_request(asked_next, now, language),
            until=format_day(consent_until, language) if consent_until else "?",
            slots=half_hours,
            of=half_hours_of(day),
        )
        for language in LANGUAGES
    }


def _key_of(reason: Reason, series: str, supplier: str) -> str:
    """Return the key of a reason's sentence: one of the series or of its supplier comes before that of all."""
    key = f"reason.{reason.value}"
    return next((own for own in (f"{key}.{series}", f"{key}.{supplier}") if has_text(own)), key)


def _format_next_request(asked_next: datetime | None, now: datetime, language: str) -> str:
    if asked_next is None:
        return translate("reason.again.undated", language)
    if asked_next < now + _SOON:
        return translate("reason.again.now", language)
    key = "today" if civil_date(asked_next) == civil_date(now) else "later"
    day, clock = format_day(civil_date(asked_next), language), format_clock(asked_next, language)
    return translate(f"reason.again.{key}", language, day=day, time=clock)
