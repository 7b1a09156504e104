"""The days that need a colour of Tempo, and the colours that RTE tells of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from itertools import zip_longest
from typing import Final

from worker.accounts.prices import iterate_choices, load_colours, save_colours
from worker.clients.published_files import NotFetched
from worker.clients.rte import LONGEST_DAYS, RteApplication, fetch_colours
from worker.domain.prices import Option, Price
from worker.domain.prices.choices import option_of
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, plan_repair
from worker.logs import fields
from worker.stores.registry import Registry

log = logging.getLogger("releve.prices")
_KNOWN_AT: Final = time(10, 40)  # From then on RTE tells the colour of tomorrow.
_HISTORY: Final = timedelta(days=3 * 365 + 15)  # Suppliers keep 36 months and 15 days of measures.
_READ_AGAIN: Final = 7  # Days, in which RTE may have corrected a colour.


def days_on_tempo(registry: Registry, now: datetime) -> DateWindow | None:
    """Return the days that need a colour, because an account, or a tenant by default, is on Tempo.

    They go back three years at most, and to tomorrow once its colour may be known. None if there are no such days.
    """
    local = now.astimezone(PARIS)
    today = local.date()
    earliest, latest = today - _HISTORY, today + ONE_DAY if local.time() >= _KNOWN_AT else today
    spans = list[tuple[date, date]]()
    for choices in iterate_choices(registry):
        for choice, after in zip_longest(choices.electricity, choices.electricity[1:]):
            last = choice.last if isinstance(choice, Price) and choice.last else date.max
            last = min(latest, last, after.first - ONE_DAY if after else date.max)
            if option_of(choice) is Option.TEMPO and (first := max(choice.first, earliest)) <= last:
                spans.append((first, last))
    if not spans:
        return None
    # Until 06:00 of the first day, the colour of the day before holds.
    return DateWindow(min(first for first, _ in spans) - ONE_DAY, max(last for _, last in spans) + ONE_DAY)


def find_lacking(registry: Registry, now: datetime) -> tuple[list[date], bool]:
    """Return the days that need a colour and have none, and whether the newest day is among them."""
    window, colours = days_on_tempo(registry, now), load_colours(registry)
    lacking = [day for day in window.dates() if day not in colours] if window else []
    return lacking, bool(window and lacking and lacking[-1] == window.end - ONE_DAY)


def update_colours(registry: Registry, application: RteApplication, lacking: Sequence[date]) -> None:
    """Ask RTE for the colours that lack, the newest first, and again for those of the days before the newest."""
    again = (lacking[-1] - days * ONE_DAY for days in range(1, _READ_AGAIN + 1))
    try:
        for told in fetch_colours(application, plan_repair({*lacking, *again}, LONGEST_DAYS)):
            added, changed = save_colours(registry, told)
            log.info("colours updated", extra=fields(added=added, changed=changed))
    except NotFetched as error:
        log.warning("colours not updated", extra=fields(reason=str(error)))
