"""Home Assistant: long-term statistics, which fill its energy dashboard for past days too.

These are *external* statistics with our own identifiers, such as ``releve:home_consumption``; Home Assistant computes
none of them itself. A row is addressed by the statistic's identifier and by its hour, so sending it again overwrites
it. Sums are cumulative, so after a change every row from the first changed day to the newest is sent. This corrects the
later sums too. It also completes a delivery that was cut off. Home Assistant can't delete rows: a row whose reading was
removed is overwritten with a row that has only the running sum. Home Assistant computes no cost of such statistics, so
costs are statistics of their own (``cost_statistics``).

Home Assistant accepts a message before it writes the rows. So we read the rows of each message back before we send the
next message. If Home Assistant stops in between, the delivery fails and is repeated: no row is lost. The measure store
is read one year at a time, so that a long history needs no more memory than a short one.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import islice, takewhile
from typing import Any, Final
from urllib.parse import urlsplit

from worker.accounts.prices import AccountTariff, first_affected, read_costs, read_hours
from worker.domain.clock import Clock
from worker.domain.cost_statistics import (
    COST_STATISTICS,
    COSTED_SERIES,
    CostPart,
    CostStatistic,
    split_costs,
    to_cost_rows,
)
from worker.domain.documents import ALL_KEYS, MILLIWATT_HOURS_PER_KWH, key_of, key_range, start_of
from worker.domain.prices.cost import Cost
from worker.domain.prices.energy import Amount, add_energies
from worker.domain.series import Doctype, of_supplier
from worker.domain.statistics import STATISTICS, DayAmounts, Statistic, StatisticRow, daily_amounts, to_days, to_rows
from worker.domain.windows import ONE_DAY, DateWindow, civil_date, local_midnight, split_window
from worker.errors import NotDelivered
from worker.outputs.home_assistant_socket import HomeAssistantAddress, HomeAssistantSession, parse_address
from worker.outputs.output import Change, OutputAccount, OutputKind, OutputOptions, OutputParts, TariffOf
from worker.stores.measures.measure_store import Document, MeasureStore
from worker.texts import LANGUAGES, translate

SOURCE: Final = "releve"  # The first part of each identifier.
ROWS_A_MESSAGE: Final = 1000
# Before this version, Home Assistant knows only the field ``has_mean``, and refuses a message with the two fields that
# replaced it.
_SINCE_MEAN_TYPE: Final = (2025, 11)
_NO_MEAN: Final = 0
_DAYS_AT_ONCE: Final = 100  # Of costs, whose hours are in memory together.
_HOUR: Final = timedelta(hours=1)
_CLOSE: Final = 1e-7  # A smaller difference counts as none: numbers are sent with six decimals.
# The pauses before each try to read the rows back. A thousand new rows take a second or two on a good machine, and ten
# times as long on a small one.
_READ_BACK_AFTER_S: Final = (0.0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 2.0, 2.0, 5.0, 5.0, 10.0, 15.0, 20.0)
_SUPERVISOR: Final = "supervisor"  # The host under which an app reaches Home Assistant.
StoredRows = Mapping[datetime, Mapping[str, Any]]


@dataclass(frozen=True)
class HomeAssistant:
    """The output to one Home Assistant.

    ``language``: the language of the statistics' names. ``rows_a_message``: the most rows in one message. ``wait``:
    pauses for a number of seconds.
    """

    address: HomeAssistantAddress
    language: str
    measures: MeasureStore
    now: Clock
    tariff_of: TariffOf = OutputParts.tariff_of
    rows_a_message: int = ROWS_A_MESSAGE
    wait: Callable[[float], None] = time.sleep

    def check(self) -> str:
        """Test the address, the token, its user's rights and the recorder."""
        with self.address.open() as session:
            session.call("recorder/info")
            return f"Home Assistant {session.version_text} accepts the token"

    def send(self, changes: Sequence[Change]) -> None:
        """Send every row from the first changed day on, statistic by statistic."""
        of_all = [(one, [change for change in changes if change.series in one.series]) for one in STATISTICS]
        relevant = [(statistic, own) for statistic, own in of_all if own]
        costed = [change for change in changes if change.series in COSTED_SERIES]
        if not costed:
            return
        with self.address.open() as session:
            for statistic, own in relevant:
                self._send_statistic(session, statistic, own)
            self._send_costs(session, costed)

    def _send_statistic(self, session: HomeAssistantSession, statistic: Statistic, changes: list[Change]) -> None:
        account = changes[0].account
        reader = StatisticReader(self.measures, account.id, statistic)
        first = min(civil_date(change.first) for change in changes)
        metadata = self._describe(statistic, account, session)
        span = local_midnight(first).astimezone(UTC), self.now() + ONE_DAY
        rows, sum_before = reader.rows_since(first, self.now()), partial(reader.sum_before, first)
        self._send_rows(session, metadata, rows, span, sum_before)

    def _send_costs(self, session: HomeAssistantSession, changes: Sequence[Change]) -> None:
        """Send what the account's energy costs, where it has prices; also what Home Assistant holds from before."""
        account = changes[0].account
        if (tariff := self.tariff_of(account.id)) is None or not tariff.is_readable:
            return
        possible = [one for one in COST_STATISTICS if (one.kind == "gas") is (tariff.kind == "gas")]
        ids = [statistic_id(account, one) for one in possible]
        described = session.call("recorder/get_statistics_metadata", statistic_ids=ids)
        held = {one["statistic_id"] for one in described}
        needed = [one for one in possible if statistic_id(account, one) in held or one.belongs_to(tariff.choices)]
        if not needed:
            return
        reader = CostReader(self.measures, account.id, tariff)
        changed = min(civil_date(change.first) for change in changes)
        first = first_affected(self.measures, account.id, tariff, changed)
        doctypes = [one.inputs for one in of_supplier(tariff.supplier, COSTED_SERIES)]
        oldest = _find_oldest(self.measures, account.id, doctypes) or first
        totals: dict[CostStatistic, Amount] = dict.fromkeys(needed, 0)
        for year in _years(DateWindow(oldest, first)) if oldest < first else ():
            _add(totals, reader.read_days(year))
        begin, since = max(first, oldest), local_midnight(first).astimezone(UTC)
        for window in split_window(DateWindow(begin, max(begin, tariff.today) + ONE_DAY), _DAYS_AT_ONCE):
            until = local_midnight(window.end).astimezone(UTC) if window.end <= tariff.today else self.now() + ONE_DAY
            days = reader.read_days(window)
            parts = reader.read_rows(window, days)
            for statistic, total in totals.items():
                metadata, rows = self._describe(statistic, account, session), parts[statistic.kind]
                own = to_cost_rows(rows, total, statistic)
                self._send_rows(session, metadata, own, (since, until), partial(statistic.round, total))
            _add(totals, days)
            since = until

    def _send_rows(
        self,
        session: HomeAssistantSession,
        metadata: Mapping[str, Any],
        rows: Iterator[StatisticRow],
        span: tuple[datetime, datetime],
        sum_before: Callable[[], int],
    ) -> None:
        """Send the rows of a span of time; what Home Assistant holds beside them there loses its amount."""
        since, end = span
        batch = list(islice(rows, self.rows_a_message))
        total = batch[0].total - (batch[0].amount or 0) if batch else sum_before()
        while True:
            following = list(islice(rows, self.rows_a_message))
            until = following[0].start if following else end
            stored = self._write(session, metadata, batch, since, until)
            gone = [row for row in _rows_gone(stored, batch, total) if not _is_same(row, stored[row.start])]
            for place in range(0, len(gone), self.rows_a_message):
                part = gone[place : place + self.rows_a_message]
                self._write(session, metadata, part, part[0].start, part[-1].start + _HOUR)
            if not following:
                return
            since, total, batch = until, batch[-1].total, following

    def _describe(
        self, statistic: Statistic | CostStatistic, account: OutputAccount, session: HomeAssistantSession
    ) -> dict[str, Any]:
        is_new = session.version >= _SINCE_MEAN_TYPE
        kind = {"mean_type": _NO_MEAN, "unit_class": statistic.unit_class} if is_new else {"has_mean": False}
        return {
            "has_sum": True,
            "name": _to_title(statistic, account, self.language),
            "source": SOURCE,
            "statistic_id": statistic_id(account, statistic),
            "unit_of_measurement": statistic.unit,
            **kind,
        }

    def _write(
        self,
        session: HomeAssistantSession,
        metadata: Mapping[str, Any],
        batch: Sequence[StatisticRow],
        since: datetime,
        until: datetime,
    ) -> StoredRows:
        """Send rows, wait until they are written, and return Home Assistant's rows from ``since`` to ``until``.

        Raises NotDelivered if the sent rows are not written within a minute.
        """
        if batch:
            session.call("recorder/import_statistics", metadata=metadata, stats=[_to_json(row) for row in batch])
        for pause in _READ_BACK_AFTER_S:
            self.wait(pause)
            answer = session.call(
                "recorder/statistics_during_period",
                start_time=since.isoformat(),
                end_time=until.isoformat(),
                statistic_ids=[metadata["statistic_id"]],
                period="hour",
            )
            stored = {_start_of(row): row for row in answer.get(metadata["statistic_id"], ())}
            if all(_is_same(row, stored.get(row.start, {})) for row in batch):
                return stored
        raise NotDelivered("Home Assistant accepted the statistics, but has not written them yet")


def _to_title(statistic: Statistic | CostStatistic, account: OutputAccount, language: str) -> str:
    name, facts = statistic.name, {"label": account.shown_name}
    if isinstance(statistic, CostStatistic) and statistic.period:
        name = name.replace(statistic.period, "period")
        facts["period"] = translate(f"tariff_period.{statistic.period}", language)
    return translate(f"output.statistic.{name}", language, **facts)


def statistic_id(account: OutputAccount, statistic: Statistic | CostStatistic) -> str:
    """Return the identifier of an account's statistic, such as ``releve:home_gas_volume``."""
    label = re.sub(r"[^a-z0-9]+", "_", account.label.lower()).strip("_")
    return f"{SOURCE}:{label}_{statistic.name}"


def _rows_gone(stored: StoredRows, batch: Sequence[StatisticRow], total: int) -> Iterator[StatisticRow]:
    """Yield a row without an amount for each of Home Assistant's rows (``stored``) that isn't in the batch.

    The reading of such a row was removed; or its day has lost all hours, so that the day's value is sent as a single
    row. ``total``: the running sum before the batch.
    """
    rows = deque(batch)
    for start in sorted(stored):
        is_sent = False
        while rows and rows[0].start <= start:
            row = rows.popleft()
            total, is_sent = row.total, row.start == start
        if not is_sent:
            yield StatisticRow(start, None, total)


def _to_json(row: StatisticRow) -> dict[str, Any]:
    """Return a row in Home Assistant's form. A row without an amount gets no ``state``, so its hour has no value."""
    numbers = {"sum": _to_number(row.total)}
    if row.amount is not None:
        numbers["state"] = _to_number(row.amount)
    return {"start": row.start.isoformat(), **numbers}


def _start_of(stored: Mapping[str, Any]) -> datetime:
    """Return the start of a row. Home Assistant sends milliseconds; up to version 2023.2 it sent a text."""
    start = stored["start"]
    return datetime.fromisoformat(start) if isinstance(start, str) else datetime.fromtimestamp(start / 1000, UTC)


def _is_same(row: StatisticRow, stored: Mapping[str, Any]) -> bool:
    pairs = ((row.amount, stored.get("state")), (row.total, stored.get("sum")))
    return all(
        held is None if amount is None else held is not None and abs(held - _to_number(amount)) < _CLOSE
        for amount, held in pairs
    )


def _to_number(amount: int) -> float:
    return amount / MILLIWATT_HOURS_PER_KWH


@dataclass(frozen=True)
class StatisticReader:
    """One statistic of one account, read from the store. The methods may raise StoreUnavailable."""

    measures: MeasureStore
    account_id: str
    statistic: Statistic

    def rows_since(self, first: date, now: datetime) -> Iterator[StatisticRow]:
        """Yield the rows of ``first`` and of all later days until ``now``, with sums computed from the store.

        There are no rows before the oldest value, and none at all if the statistic has no value.
        """
        oldest = self._first_day()
        if oldest is None or not self._has_values(oldest, civil_date(now)):
            return
        begin = max(first, oldest)
        days = self._read_days(DateWindow(begin, max(begin, civil_date(now)) + ONE_DAY))
        rows = to_rows(days, self._sum_before(oldest, begin), self.statistic)
        yield from takewhile(lambda row: row.start <= now, rows)

    def sum_before(self, end: date) -> int:
        oldest = self._first_day()
        return 0 if oldest is None else self._sum_before(oldest, end)

    def _has_values(self, oldest: date, today: date) -> bool:
        """Return whether the statistic has a value, provided that documents exist.

        Each document has ``load``. Any other field may be missing in all documents, so the documents are read.
        """
        if self.statistic.detail == "load":
            return True
        return any(self._read_daily(year) for year in _years(DateWindow(oldest, max(oldest, today) + ONE_DAY)))

    def _read_days(self, window: DateWindow) -> Iterator[DayAmounts[int]]:
        for year in _years(window):
            yield from to_days(year.dates(), self._read_daily(year), self._read_hours(year))

    def _sum_before(self, oldest: date, end: date) -> int:
        """Return the sum of the days from ``oldest`` to the one before ``end``.

        Hours are read only for years in which a daily value is missing.
        """
        total = 0
        for year in _years(DateWindow(oldest, end)) if oldest < end else ():
            daily = self._read_daily(year)
            total += sum(daily.values())
            without = [day for day in year.dates() if day not in daily]
            if without:
                hours = self._read_hours(DateWindow(without[0], without[-1] + ONE_DAY))
                total += sum(values.amount for values in to_days(without, {}, hours))
        return total

    def _first_day(self) -> date | None:
        doctypes = [doctype for doctype in (self.statistic.days, self.statistic.hours) if doctype]
        return _find_oldest(self.measures, self.account_id, doctypes)

    def _read_daily(self, window: DateWindow) -> dict[date, int]:
        return daily_amounts(self._read(window, self.statistic.days), self.statistic)

    def _read_hours(self, window: DateWindow) -> list[Document]:
        return self._read(window, self.statistic.hours) if self.statistic.hours else []

    def _read(self, window: DateWindow, doctype: Doctype) -> list[Document]:
        return self.measures.read(self.account_id, {doctype: key_range(window, doctype)}).get(doctype, [])


@dataclass(frozen=True)
class CostReader:
    """What one account pays, read from the store. The methods may raise StoreUnavailable."""

    measures: MeasureStore
    account_id: str
    tariff: AccountTariff

    def read_days(self, window: DateWindow) -> dict[str, Mapping[date, Cost]]:
        """Return the costs of days by kind, also the energy of days without a price."""
        costs, paid = read_costs(self.measures, self.account_id, self.tariff, window, unpriced=True)
        return {self.tariff.kind: costs, "production": paid or {}}

    def read_rows(self, window: DateWindow, days: Mapping[str, Mapping[date, Cost]]) -> dict[str, list[CostPart]]:
        """Return the parts of these days by kind."""
        if self.tariff.kind == "gas":
            return {"gas": list(split_costs(days["gas"], {}, is_gas=True))}
        costs, paid = read_hours(self.measures, self.account_id, self.tariff, window, unpriced=True)
        hours = {"electricity": costs, "production": paid or {}}
        return {kind: list(split_costs(days[kind], hours[kind])) for kind in hours}


def _add(totals: dict[CostStatistic, Amount], days: Mapping[str, Mapping[date, Cost]]) -> None:
    sums = {kind: add_energies(of_kind.values(), 0) for kind, of_kind in days.items()}
    for statistic in totals:
        totals[statistic] += statistic.amount_of(sums[statistic.kind]) or 0


def _find_oldest(measures: MeasureStore, account_id: str, doctypes: Iterable[Doctype]) -> date | None:
    """Return the day of the oldest reading; None if there is none."""
    found = measures.read(account_id, dict.fromkeys(doctypes, ALL_KEYS), 1)
    return min((civil_date(start_of(key_of(row))) for rows in found.values() for row in rows), default=None)


def _years(window: DateWindow) -> Iterator[DateWindow]:
    """Yield the window, split at the ends of years."""
    start = window.start
    while start < window.end:
        end = min(date(start.year + 1, 1, 1), window.end)
        yield DateWindow(start, end)
        start = end


def _build(options: OutputOptions, parts: OutputParts) -> HomeAssistant:
    """Build the output. Raises ValueError, which says what is wrong."""
    url = parse_address(options.url)
    token = options.secret
    if urlsplit(url).hostname == _SUPERVISOR:
        # An app gets a new token at each start, so the current token takes precedence over the stored one.
        token = os.environ.get("SUPERVISOR_TOKEN", token)
    if not token:
        raise ValueError(
            "a long-lived access token is needed: create one in your Home Assistant profile, under Security"
        )
    language = options.more.get("language", LANGUAGES[0])
    if language not in LANGUAGES:
        raise ValueError(f"language must be {' or '.join(LANGUAGES)}")
    return HomeAssistant(HomeAssistantAddress(url, token), language, parts.measures, parts.now, parts.tariff_of)


KIND: Final = OutputKind(
    name="home-assistant",
    title="Home Assistant",
    url_help="the address of its pages, such as http://homeassistant.local:8123",
    secret="long-lived access token",  # noqa: S106 - what is asked for
    options={"language": "language of the statistics' names: fr (default) or en"},
    build=_build,
)
