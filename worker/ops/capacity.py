"""The calls that a night of the fleet needs, compared with the quota: for commands, metrics and the log."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import date

from config.settings import Settings
from worker.domain.planning import Fleet, Plan, plan_fleet
from worker.domain.schedule import FleetPolicy
from worker.domain.series import Series, curve_of, daily_of, of_supplier
from worker.logs import fields
from worker.runtime.supplier_settings import chosen_presets, main_supplier, quota_from
from worker.stores.registry import Registry
from worker.texts import Message

log = logging.getLogger("releve.capacity")


@dataclass(frozen=True, slots=True)
class FleetCapacity:
    """Plans for the fleet: ``current`` with the policy in force, ``best`` with the planner's choice."""

    current: Plan
    best: Plan

    def describe(self) -> Message:
        """Return one line for the operator: the calls of a night, and the remedy if they are too many."""
        calls, limit = self.current.calls_a_night, self.current.quota.night_limit
        if limit is None:
            return Message("capacity.no_limit", {"calls": calls})
        policy, best = describe_policy(self.current.policy), describe_policy(self.best.policy)
        if self.current.fits:
            key = "capacity.fits.better" if self.best.calls_a_night > calls else "capacity.fits"
            return Message(key, {"calls": calls, "limit": limit, "policy": policy, "best": best})
        remedy = Message("capacity.apply" if is_applied(self.best) else "capacity.allows", {"best": best})
        if not self.best.fits:
            remedy = describe_shortfall(self.best)
        return Message("capacity.too_large", {"calls": calls, "limit": limit, "remedy": remedy})


def fleet_from(registry: Registry, history_days: int, supplier: str) -> Fleet:
    """Count a supplier's active accounts, and how many of them never had a complete day of load curve."""
    active = {Series(name): number for name, number in registry.completeness.count_active().items()}
    asked = {series: active[series] for series in of_supplier(supplier, active)}
    accounts = max(asked.values(), default=0)
    curve = _main_curve(supplier)
    if curve is None:
        return Fleet(accounts, 0, history_days, asked, supplier)
    return Fleet(accounts, registry.completeness.count_idle(curve), history_days, asked, supplier)


def _main_curve(supplier: str) -> Series | None:
    """Return the series of a supplier's consumption curve; None if the supplier has no curves."""
    has_curves = any(series.has_steps for series in of_supplier(supplier))
    return curve_of(daily_of(supplier=supplier)) if has_curves else None


def capacity_of(registry: Registry, settings: Settings, today: date, supplier: str | None = None) -> FleetCapacity:
    """Compare a supplier's fleet with the supplier's quota. Without ``supplier``, the main supplier is meant."""
    supplier = supplier or main_supplier(settings)
    fleet = fleet_from(registry, settings.history_load_days, supplier)
    quota, in_force = quota_from(settings, supplier=supplier), registry.policies.load_current(today)
    policy = in_force if in_force.supplier == supplier else FleetPolicy(supplier=supplier)
    return FleetCapacity(Plan(fleet, quota, policy), plan_fleet(fleet, quota))


def is_applied(plan: Plan) -> bool:
    """Return whether `releve plan --apply` can store the plan: True only for the supplier that has policies."""
    return plan.fleet.supplier == FleetPolicy().supplier


def log_capacity(registry: Registry, settings: Settings, run: str, today: date) -> FleetCapacity:
    """Log for each supplier the calls that this night needs and its quota; if the quota is too small, as a warning.

    Return the capacity of the main supplier. The nights of other suppliers follow the cadence of each series instead of
    a policy.
    """
    main = main_supplier(settings)
    capacity = capacity_of(registry, settings, today)
    for supplier in (main, *(chosen_presets(settings).keys() - {main})):
        plan = (capacity if supplier == main else capacity_of(registry, settings, today, supplier)).current
        if supplier == main:
            told = "the night fits its quota" if plan.fits else "the night is too large for its quota"
            more = fields(daily_every=plan.policy.daily_every, curve_every=plan.policy.curve_every)
        else:
            too_large = "the night of a supplier is too large for its quota"
            told = "the night of a supplier fits its quota" if plan.fits else too_large
            more = fields(supplier=supplier)
        numbers = fields(
            run=run, accounts=plan.fleet.accounts, calls=plan.calls_a_night, carried=plan.quota.night_limit
        )
        facts = {"fields": numbers["fields"] | more["fields"]}
        log.log(logging.INFO if plan.fits else logging.WARNING, told, extra=facts)
    return capacity


def describe_policy(policy: FleetPolicy) -> Message:
    key = "capacity.policy.curves" if _main_curve(policy.supplier) else "capacity.policy"
    return Message(key, {"daily": _nights(policy.daily_every), "curves": _nights(policy.curve_every)})


def describe_shortfall(plan: Plan) -> Message:
    """Return one line about a plan that does not fit: how many accounts would fit, and the limit to ask for."""
    most, calls = plan.most_accounts(plan.policy), plan.calls_a_night
    needed = Message("check.limit.hour", {"calls": plan.quota.hour_limit_for(calls)})
    if plan.quota.per_day is not None and plan.quota.day_limit_for(calls) > plan.quota.per_day:
        needed = Message("check.limit.day", {"calls": plan.quota.day_limit_for(calls)})
    nights, accounts = _nights(plan.policy.daily_every), plan.fleet.accounts
    return Message("capacity.shortfall", {"nights": nights, "accounts": accounts, "most": most, "needed": needed})


def _nights(every: int) -> Message:
    return Message(f"capacity.nights.{every if every in (1, 2, 3, 7) else 'other'}", {"every": every})
