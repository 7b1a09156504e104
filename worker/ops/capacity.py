"""Comparison of what a night of the fleet asks for with what the quota allows: for commands, metrics and the log."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date
from typing import Final

from config.settings import Settings
from worker.domain.fleet.planning import Fleet, Plan, plan_fleet
from worker.domain.fleet.policy import FleetPolicy
from worker.domain.measures.series import curve_of, daily_of
from worker.logs import fields
from worker.runtime.supplier import quota_from
from worker.stores.database import Database
from worker.stores.registry.completeness import CompletenessTable
from worker.stores.registry.policies import PolicyTable

APPLY: Final = "`releve plan --apply`"

log = logging.getLogger("releve.capacity")


@dataclass(frozen=True, slots=True)
class FleetCapacity:
    """Plans for the fleet: ``current`` with the policy in force, ``best`` with the one the planner would choose."""

    current: Plan
    best: Plan

    def describe(self) -> str:
        """Return one line for the operator: the calls of a night, and the remedy where they are too many."""
        calls, limit = self.current.calls_a_night, self.current.quota.night_limit
        if limit is None:
            return f"{calls} calls a night, no limit"
        if self.current.fits:
            policy = describe_policy(self.current.policy)
            more = f"; it carries {describe_policy(self.best.policy)}: {APPLY}"
            better = more if self.best.calls_a_night > calls else ""
            return f"{calls} calls a night of {limit} that the quota carries ({policy}){better}"
        remedy = (
            f"{APPLY} asks for {describe_policy(self.best.policy)}" if self.best.fits else describe_shortfall(self.best)
        )
        return f"a night takes {calls} calls, and the quota carries {limit}: {remedy}"


def fleet_from(database: Database, today: date, history_days: int) -> Fleet:
    """Count the active accounts, and those among them that never had a whole day of load curve.

    Raises StoreUnavailable.
    """
    table, curve = CompletenessTable(database), curve_of(daily_of())
    asked = table.count_active()
    with_curve, _ = table.count_complete_since(curve, today)
    return Fleet(max(asked.values(), default=0), max(0, asked.get(curve, 0) - with_curve), history_days, asked)


def capacity_of(database: Database, settings: Settings, today: date) -> FleetCapacity:
    """Compare the fleet in the registry with the quota in the settings.  Raises StoreUnavailable."""
    fleet, quota = fleet_from(database, today, settings.history_load_days), quota_from(settings)
    return FleetCapacity(Plan(fleet, quota, PolicyTable(database).load_current(today)), plan_fleet(fleet, quota))


def log_capacity(database: Database, settings: Settings, run: str, today: date) -> FleetCapacity:
    """Log the calls that this night asks for and its quota; a warning where the quota is smaller."""
    capacity = capacity_of(database, settings, today)
    level = logging.INFO if capacity.current.fits else logging.WARNING
    facts = fields(
        run=run,
        accounts=capacity.current.fleet.accounts,
        calls=capacity.current.calls_a_night,
        carried=capacity.current.quota.night_limit,
        daily_every=capacity.current.policy.daily_every,
        curve_every=capacity.current.policy.curve_every,
    )
    log.log(
        level,
        "the night fits its quota" if capacity.current.fits else "the night is too large for its quota",
        extra=facts,
    )
    return capacity


def describe_policy(policy: FleetPolicy) -> str:
    return f"totals {_nights(policy.daily_every)}, curves {_nights(policy.curve_every)}"


def describe_shortfall(plan: Plan) -> str:
    """Return one line about a plan that does not fit: how many accounts would, and the limit to ask for."""
    most, needed = plan.most_accounts(plan.policy), plan.quota.hour_limit_for(plan.calls_a_night)
    return (
        f"{plan.fleet.accounts} accounts do not fit even {_nights(plan.policy.daily_every)}, {most} do; "
        f"ask the supplier for {needed} calls an hour"
    )


def _nights(every: int) -> str:
    names = {1: "every night", 2: "every 2nd night", 3: "every 3rd night", 7: "once a week"}
    return names.get(every, f"every {every}th night")
