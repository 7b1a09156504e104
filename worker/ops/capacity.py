"""Whether the fleet as it is still fits its quota: for the operator's commands, the metrics and the night's log."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date
from typing import Final

from config.settings import Settings
from worker.clients.enedis.presets import PRESETS, Preset
from worker.domain.fleet.planning import Fleet, Plan, QuotaBudget, plan_fleet
from worker.domain.fleet.policy import FleetPolicy
from worker.domain.measures.readings import Series
from worker.logs import fields
from worker.stores.registry.completeness import CompletenessTable
from worker.stores.registry.database import Database
from worker.stores.registry.policies import PolicyTable

APPLY: Final = "`releve plan --apply`"

log = logging.getLogger("releve.fitting")


@dataclass(frozen=True, slots=True)
class Fit:
    """``held``: the nights as they are asked for; ``best``: what the planner would choose."""

    held: Plan
    best: Plan

    @property
    def fits(self) -> bool:
        return self.held.fits

    @property
    def worse_than_needed(self) -> bool:
        """Whether the quota carries more than the policy asks for."""
        return self.fits and self.best.calls_a_night > self.held.calls_a_night

    def told(self) -> str:
        """A line for the operator: what the night takes, and what to do where that is too much."""
        calls, room = self.held.calls_a_night, self.held.quota.a_night
        if room is None:
            return f"{calls} calls a night, no limit"
        if self.fits:
            better = f"; it carries {told_policy(self.best.policy)}: {APPLY}" if self.worse_than_needed else ""
            return f"{calls} calls a night of {room} that the quota carries ({told_policy(self.held.policy)}){better}"
        way = f"{APPLY} asks for {told_policy(self.best.policy)}" if self.best.fits else too_large(self.best)
        return f"a night takes {calls} calls, and the quota carries {room}: {way}"


def quota_from(settings: Settings, preset: str | None = None, night_hours: int = 24) -> QuotaBudget:
    """What the ledger lets through; the settings' figures belong to their own preset.  0 there is no limit."""
    chosen: Preset = PRESETS[preset or settings.preset]
    ours = chosen.name == settings.preset
    per_hour = settings.calls_per_hour if ours else None
    per_second = settings.calls_per_second if ours else None
    return QuotaBudget(
        (chosen.calls_per_hour if per_hour is None else per_hour) or None,
        (chosen.calls_per_second if per_second is None else per_second) or None,
        night_hours,
        settings.quota_shares(),
    )


def fleet_from(database: Database, today: date, history_days: int) -> Fleet:
    """The active accounts, and those of them that never had a whole day of curve.  Raises StoreUnavailable."""
    book = CompletenessTable(database)
    (active, _), (with_curve, _) = (book.complete_since(series, today) for series in (Series.DAILY, Series.LOAD_CURVE))
    return Fleet(active, max(0, active - with_curve), history_days)


def fit_of(database: Database, settings: Settings, today: date) -> Fit:
    """Raises StoreUnavailable."""
    fleet, quota = fleet_from(database, today, settings.history_load_days), quota_from(settings)
    stored = PolicyTable(database).current()
    return Fit(Plan(fleet, quota, FleetPolicy(stored.daily_every, stored.curve_every)), plan_fleet(fleet, quota))


def log_fit(database: Database, settings: Settings, run: str, today: date) -> Fit:
    """One line a night: what it asks for and what its quota carries, a warning where that is less."""
    fit = fit_of(database, settings, today)
    level = logging.INFO if fit.fits else logging.WARNING
    facts = fields(
        run=run,
        accounts=fit.held.fleet.accounts,
        calls=fit.held.calls_a_night,
        carried=fit.held.quota.a_night,
        daily_every=fit.held.policy.daily_every,
        curve_every=fit.held.policy.curve_every,
    )
    log.log(level, "the night fits its quota" if fit.fits else "the night is too large for its quota", extra=facts)
    return fit


def told_policy(policy: FleetPolicy) -> str:
    return f"totals {_nights(policy.daily_every)}, curves {_nights(policy.curve_every)}"


def too_large(plan: Plan) -> str:
    """Of a plan that does not fit."""
    most, needed = plan.most_accounts(plan.policy), plan.quota.needed_for(plan.calls_a_night)
    return (
        f"{plan.fleet.accounts} accounts do not fit even {_nights(plan.policy.daily_every)}, {most} do; "
        f"ask the supplier for {needed} calls an hour"
    )


def _nights(every: int) -> str:
    names = {1: "every night", 2: "every 2nd night", 3: "every 3rd night", 7: "once a week"}
    return names.get(every, f"every {every}th night")
