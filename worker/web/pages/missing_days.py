"""Why values are missing from a chart, and why the newest day is late: in the sentences of ``releve explain``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import MAXYEAR, MINYEAR, date, timedelta
from typing import Final

from worker.accounts.explanations import SeriesExplanation
from worker.accounts.status import AccountStatus
from worker.domain.account import Account
from worker.domain.reasons import Reason
from worker.domain.series import Series, find_curve
from worker.domain.windows import ONE_DAY
from worker.runtime.sync_parts import Runtime
from worker.texts import has_text
from worker.web.pages.measures import SpanMeasures, View
from worker.web.texts import Words

_TOLERANCE: Final = timedelta(days=2)  # Of values that come some days after their day anyway.


def explain_gaps(
    runtime: Runtime, account: Account, daily: Series, measures: SpanMeasures, words: Words
) -> tuple[str, ...]:
    """Return why values of the chart are missing, a sentence for each reason. Raises StoreUnavailable.

    The months of a year have none: their days do.
    """
    match measures.span.view:
        case View.DAY:
            return tuple(_explain_day(runtime, account, daily, measures, words))
        case View.YEAR:
            return ()
        case _:
            return tuple(_explain_days(runtime, account, daily, measures, words))


def explain_asked_day(runtime: Runtime, account: Account, daily: Series, day: date, words: Words) -> str:
    """Return why nothing is there of a day outside of the stored ones; empty at the ends of the calendar."""
    if day.year in (MINYEAR, MAXYEAR):
        return ""
    return words.choose(runtime.explainer.explain_days(account, daily, [day])[day].sentences)


def explain_lateness(runtime: Runtime, account: Account, daily: Series, status: AccountStatus, words: Words) -> str:
    """Return why the newest day that should be stored is not; empty where it is, or where nobody could have asked yet.

    Raises StoreUnavailable.
    """
    series, today = status.series.get(daily), runtime.history.today()
    if series is None or series.last_day is None:
        return ""
    due = today - daily.description.published_after_days * ONE_DAY - (_TOLERANCE if daily.comes_late else timedelta())
    if series.last_day >= due:
        return ""
    explanation = runtime.explainer.explain_days(account, daily, [due])[due]
    waits_for_tonight = explanation.reason is Reason.NOT_ASKED_YET and series.last_day >= due - ONE_DAY
    return "" if waits_for_tonight or explanation.reason.is_complete else words.choose(explanation.sentences)


def _explain_day(
    runtime: Runtime, account: Account, daily: Series, measures: SpanMeasures, words: Words
) -> Iterator[str]:
    """Yield why a day has no total, or else why it has no whole curve; of a whole one what a file has told."""
    curve, day = find_curve(daily), measures.span.start
    lacks_curve = curve is not None and (measures.empty or measures.gaps > 0)
    series = daily if measures.total is None else (curve if lacks_curve else None)
    if series is None:
        told = (runtime.explainer.explain_days(account, one, [day])[day] for one in (daily, curve) if one)
        yield from (words.choose(one.sentences) for one in told if one.reason is Reason.FROM_FILE)
        return
    explanation = runtime.explainer.explain(account, day).series.get(series)
    if explanation is None or explanation.reason.is_complete:
        return
    if explanation.reason is Reason.NOT_ASKED_YET and explanation.stored.amount is not None:
        return  # The ledger was lost.
    yield words.choose(explanation.sentences)


def _explain_days(
    runtime: Runtime, account: Account, daily: Series, measures: SpanMeasures, words: Words
) -> Iterator[str]:
    """Yield for each reason how many days of a week or month are missing, and why."""
    today = runtime.history.today()
    days = [slot.start.date() for slot in measures.slots if slot.gap or (measures.empty and slot.energy is None)]
    explanations = runtime.explainer.explain_days(account, daily, [day for day in days if day < today])
    by_reason: dict[Reason, list[date]] = {}
    for day, explanation in explanations.items():
        by_reason.setdefault(explanation.reason, []).append(day)
    for reason, missing in by_reason.items():
        newest = explanations[missing[-1]]
        if measures.empty:  # Nothing is drawn, so nothing is hatched.
            yield words.choose(newest.sentences)
        else:
            yield _describe_gaps(reason, len(missing), newest, daily, words)


def _describe_gaps(reason: Reason, number: int, newest: SeriesExplanation, daily: Series, words: Words) -> str:
    """Return how many days are missing and why; of the newest one where the reason has no words for several."""
    if has_text(f"chart.gaps.{reason}.one"):
        return words.count(f"chart.gaps.{reason}", number, supplier=words(f"supplier.{daily.description.supplier}"))
    count = words.count("chart.gaps.days", number)
    return count if reason.is_complete else f"{count} {words.choose(newest.sentences)}"
