"""The measures of one home as a test puts them into the store, and the changes that an outbox would tell of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from tests.support.fakes import memory_measures
from tests.support.home_assistant_server import TOKEN, HomeAssistantServer
from worker.domain.series import Doctype, Series
from worker.domain.windows import day_length, local_midnight
from worker.outputs.home_assistant import HomeAssistant
from worker.outputs.home_assistant_socket import HomeAssistantAddress, parse_address
from worker.outputs.output import Change, OutputAccount

ACCOUNT: Final = OutputAccount(id="k9x4w", label="home")
NOW: Final = datetime(2026, 11, 27, 12, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)


def hours_of(day: date) -> list[datetime]:
    """Return the starts of a civil day's hours, in UTC."""
    midnight = local_midnight(day).astimezone(UTC)
    return [midnight + place * HOUR for place in range(day_length(day) // HOUR)]


@dataclass
class StatisticHome:
    """A store with one account; each change of it is returned as the outbox would tell it."""

    measures: Any = field(default_factory=memory_measures)

    def put_day(self, series: Series, day: date, amount: int, **details: Any) -> Change:
        """Store a daily value, in thousandths."""
        self._put(series.inputs, day.isoformat(), amount / 1000, **details)
        return Change(ACCOUNT, series, local_midnight(day), local_midnight(day))

    def remove_day(self, series: Series, day: date) -> Change:
        """Remove a daily value, as happens to one that no meter can deliver (rule K7)."""
        del self.measures[series.inputs].documents[f"{ACCOUNT.id}:{day}"]
        return Change(ACCOUNT, series, local_midnight(day), local_midnight(day))

    def put_hours(self, series: Series, amounts: dict[datetime, int]) -> Change:
        """Store the hours of a curve, in thousandths."""
        for start, amount in amounts.items():
            self._put(series.totals[0], f"{start:%Y-%m-%dT%H:00Z}", amount / 1000)
        return Change(ACCOUNT, series, min(amounts), max(amounts))

    def put_steps(self, series: Series, start: datetime, amount: int) -> None:
        """Store the two half-hours of an hour of a curve, in thousandths."""
        for minute in (0, 30):
            self._put(series.inputs, f"{start:%Y-%m-%dT%H}:{minute:02}Z", amount / 2000, step=30)

    def remove_hour(self, series: Series, start: datetime) -> None:
        """Remove an hour, as happens if an earlier step replaces its steps."""
        del self.measures[series.totals[0]].documents[f"{ACCOUNT.id}:{start:%Y-%m-%dT%H:00Z}"]

    def output(self, server: HomeAssistantServer, **options: Any) -> HomeAssistant:
        """Return an output to this server that pauses for nothing."""
        address = HomeAssistantAddress(parse_address(server.url), TOKEN, timeout_s=5)
        chosen = {"language": "en", "wait": lambda _: None, **options}
        return HomeAssistant(address, measures=self.measures, now=lambda: NOW, **chosen)

    def _put(self, doctype: Doctype, key: str, load: float, **details: Any) -> None:
        database, name = self.measures[doctype], f"{ACCOUNT.id}:{key}"
        known = {"_rev": database.documents[name]["_rev"]} if name in database.documents else {}
        assert database.write([{"_id": name, "load": load, **details, **known}]) == []
