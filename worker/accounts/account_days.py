"""All that is known about an account's series and days, read once for its status, coverage and explanations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cached_property

from worker.domain.account import Account
from worker.domain.completeness import DayLedger, DayMark
from worker.domain.documents import ALL_KEYS
from worker.domain.schedule import AskingHours, FleetPolicy, Turn, next_look_back, next_request
from worker.domain.series import FREQUENCY, Series, SeriesSwitch, of_supplier
from worker.domain.windows import HistoryDays
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.registry.outcomes import SeriesOutcome
from worker.sync.history import History


@dataclass(frozen=True)
class AccountDays:
    """An account with its stored state; each part of the state is loaded once, when it is first used.

    The properties and methods may raise StoreUnavailable.
    """

    account: Account
    history: History

    @cached_property
    def now(self) -> datetime:
        return self.history.now()

    @cached_property
    def outcomes(self) -> Mapping[Series, SeriesOutcome]:
        return self.history.registry.outcomes.load(self.account.id)

    @cached_property
    def series(self) -> list[Series]:
        """The series that are collected for the account or have readings, in the order of ``Series``."""
        known = self.history.registry.outcomes.known(self.account.id)
        if not self.account.files_only:
            return known
        return [series for series in known if series in self.outcomes and self.outcomes[series].ever_stored]

    @cached_property
    def asked(self) -> set[Series]:
        """The series that are collected now or once the consent is in force; empty if the account has only files."""
        return set() if self.account.files_only else set(self.history.registry.outcomes.collected(self.account.id))

    @cached_property
    def ended(self) -> set[Series]:
        """The series that this meter does not have, according to the supplier."""
        chosen = self.history.registry.outcomes.list_chosen(self.account.id)
        return {one.series for one in chosen if one.switch is SeriesSwitch.ENDED}

    def reading_frequency(self, measures: MeasureStore) -> str | None:
        """Return how often the meter is read, according to its newest stored contract; None if unknown."""
        contracts = [series.inputs for series in of_supplier(self.account.supplier) if series.is_state]
        stored = measures.read(self.account.id, dict.fromkeys(contracts, ALL_KEYS))
        rows = [document for doctype in contracts for document in stored[doctype]]
        return rows[-1].get(FREQUENCY) if rows else None

    @cached_property
    def histories(self) -> Mapping[Series, HistoryDays]:
        return self.history.load(self.account.id, *self.series)

    def ledger(self, series: Series) -> DayLedger:
        return self._ledgers.get(series, DayLedger())

    def turn_of(self, series: Series) -> Turn:
        """Return the facts that decide when a series is next requested."""
        nights, outcome = self._policy.every(series), self.outcomes.get(series)
        turn = Turn(
            nightly_at=self.history.nightly_at,
            nights=nights,
            hours=AskingHours.of(self.account.supplier, self.account.id),
        )
        if outcome is None:
            return turn
        return replace(
            turn,
            nights=max(nights, outcome.every),
            asked_at=outcome.asked_at,
            again_at=outcome.again_at,
            last_day=outcome.last_day,
            last_complete=outcome.last_complete,
            repair_on=outcome.repair_on,
            history_at=outcome.history_due_at,
            lacks_curve=outcome.every > 1,
        )

    def asked_next(self, series: Series, day: date, mark: DayMark) -> datetime | None:
        """Return when a day is next requested; None if never. ``mark``: the day's mark in the ledger."""
        # ``turn_of`` reads outcomes and policy, so it is called only for an open day; most accounts have none.
        return next_request(series, day, mark, self.now, self.turn_of(series)) if mark.open else None

    def next_look_back(self, series: Series) -> datetime:
        """Return when the last days of a series are next requested."""
        return next_look_back(series, self.now, self.turn_of(series))

    @cached_property
    def _ledgers(self) -> Mapping[Series, DayLedger]:
        ledgers = self.history.registry.completeness.load_ledgers(self.account.id)
        return {series: ledger for (_, series), ledger in ledgers.items()}

    @cached_property
    def _policy(self) -> FleetPolicy:
        return self.history.registry.policies.load_current(self.history.today())
