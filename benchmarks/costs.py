"""Benchmark of costs: seconds of processor for what a month and a year cost, with the same days in kWh beside.

    python benchmarks/costs.py [--measures couchdb+http://…] [--times 7]

One home with a year of half-hours, daily values and registers is stored, in SQLite unless an address is given.  It
prints one JSON object with the least of some times, in milliseconds: ``curve``: peak and off-peak hours by the curve,
with steps that are divided at 07:04 and 23:04; ``tempo``: its colours by the curve; ``registers`` and ``daily``: by
those; ``kwh``: daily values alone, as the page of an account reads them.  The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from worker.accounts.prices import AccountTariff, read_costs  # noqa: E402
from worker.domain.documents import Entry, to_document  # noqa: E402
from worker.domain.prices import PERIODS, Colour, Option, Price  # noqa: E402
from worker.domain.prices.choices import OffPeakHours, TariffChoices  # noqa: E402
from worker.domain.prices.cost import rows_by_day  # noqa: E402
from worker.domain.series import Doctype, Period, daily_of  # noqa: E402
from worker.domain.windows import ONE_DAY, DateWindow  # noqa: E402
from worker.stores.measures import open_measures  # noqa: E402
from worker.stores.measures.measure_store import MeasureStore  # noqa: E402
from worker.web.pages.chart_values import Against, Span, Unit, View, read_measures  # noqa: E402

YEAR: Final = DateWindow(date(2024, 1, 1), date(2025, 1, 1))
MONTH: Final = DateWindow(YEAR.start, date(2024, 2, 1))
NOW: Final = datetime(2025, 1, 1, tzinfo=UTC)
GOALS_MS: Final = {"month": 150, "year": 600}
_HALF_HOUR: Final = timedelta(minutes=30)
_AT_ONCE: Final = 2000


def store_home(measures: MeasureStore, account_id: str, *doctypes: Doctype) -> None:
    for doctype in doctypes:
        documents = [to_document(account_id, doctype, entry, NOW) for entry in entries_of(doctype)]
        for place in range(0, len(documents), _AT_ONCE):
            measures.write({doctype: documents[place : place + _AT_ONCE]})


def entries_of(doctype: Doctype) -> list[Entry]:
    (start, end), days = YEAR.instants(), [*YEAR.dates(), YEAR.end]
    if doctype is Doctype.MINUTE:
        number = (end - start) // _HALF_HOUR
        moments = [start + place * _HALF_HOUR for place in range(number)]
        return [Entry(f"{moment:%Y-%m-%dT%H:%M}Z", 250_000 + place % 7) for place, moment in enumerate(moments)]
    if doctype is Doctype.DAY:
        return [Entry(str(day), 12_000_000) for day in YEAR.dates()]
    counted = [{"HP": 8000 * place, "HC": 4000 * place} for place in range(len(days))]
    return [
        Entry(str(day), 12_000_000 * place, details={"registers": counted[place]}) for place, day in enumerate(days)
    ]


def tariff_of(option: Option) -> AccountTariff:
    price = Price(YEAR.start, None, dict.fromkeys(PERIODS[option], Decimal("0.1952")), Decimal("185.94"))
    hours = OffPeakHours(YEAR.start, ((clock(23, 4), clock(7, 4)),))
    return AccountTariff(
        supplier="enedis",
        today=YEAR.end,
        choices=[TariffChoices(electricity=(price,), hours=(hours,))],
        regulated={},
        colours=dict.fromkeys([YEAR.start - ONE_DAY, *YEAR.dates()], Colour.BLUE),
        contracts=(),
    )


def measure(work: Callable[[], object], times: int) -> float:
    """Return the least processor time of some runs, in milliseconds."""
    spent = []
    for _ in range(times):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return round(1000 * min(spent), 1)


def run(measures: MeasureStore, times: int) -> dict[str, Mapping[str, float]]:
    store_home(measures, "curve", Doctype.MINUTE)
    store_home(measures, "whole", Doctype.MINUTE, Doctype.DAY, Doctype.INDEX)
    cases = {
        "curve": ("curve", tariff_of(Option.HPHC)),
        "tempo": ("curve", tariff_of(Option.TEMPO)),
        "registers": ("whole", tariff_of(Option.HPHC)),
        "daily": ("whole", tariff_of(Option.BASE)),
    }
    results = {}
    for name, window, view, by in (
        ("month", MONTH, View.MONTH, Period.DAY),
        ("year", YEAR, View.YEAR, Period.MONTH),
    ):

        def read_rows(
            account_id: str, tariff: AccountTariff, window: DateWindow = window, by: Period = by
        ) -> list[Any]:
            return list(rows_by_day(window, by, *read_costs(measures, account_id, tariff, window)))

        def read_kwh(view: View = view) -> object:
            span = Span(view, YEAR.start)
            return read_measures(measures, "whole", span, YEAR.end, daily_of(), Against.PREVIOUS, Unit.KWH)

        found = {case: measure(lambda given=given: read_rows(*given), times) for case, given in cases.items()}
        results[name] = {**found, "kwh": measure(read_kwh, times)}
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measures", help="Address of the measure store. Default: a SQLite file.")
    parser.add_argument("--times", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.measures or f"sqlite:///{folder}/measures.db"
        with closing(open_measures(url)) as measures:
            measures.prepare()
            results = run(measures, options.times)
            for account_id in ("curve", "whole"):
                measures.erase(account_id)
    print(json.dumps({"milliseconds": results, "goals": GOALS_MS}))
    return int(any(results[name][case] > goal for name, goal in GOALS_MS.items() for case in ("curve", "tempo")))


if __name__ == "__main__":
    sys.exit(main())
