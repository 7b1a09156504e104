"""The reason for the state of a day, as a sentence that a support person can read aloud, in French and English.

The sentences stand in ``locales/reasons.json``. ``{thing}`` is always the grammatical object, so no verb or participle
has to agree with it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from worker.domain.measures.readings import Series
from worker.domain.reasons import Reason
from worker.texts import format_day, translate


def format_sentence(
    reason: Reason,
    reason_series: Collection[Series],
    day: date,
    language: str,
    *,
    today: date,
    asked_next: date | None = None,
    consent_until: date | None = None,
    half_hours: tuple[int, int] = (0, 0),
) -> str:
    """Return the sentence for a reason that concerns ``reason_series``; ``half_hours``: stored and expected."""
    series = next(iter(reason_series)).value if len(reason_series) == 1 else "any"
    stored, expected = half_hours
    return translate(
        f"reason.{reason.value}",
        language,
        thing=translate(f"series.{series}.object", language),
        day=format_day(day, language),
        again=_format_next_request(asked_next, today, language),
        until=format_day(consent_until, language) if consent_until else "?",
        slots=stored,
        of=expected,
    )


def _format_next_request(asked_next: date | None, today: date, language: str) -> str:
    if asked_next is None:
        return translate("reason.again.undated", language)
    if asked_next <= today:
        return translate("reason.again.today", language)
    return translate("reason.again.later", language, day=format_day(asked_next, language))
