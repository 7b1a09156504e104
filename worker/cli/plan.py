"""`releve plan`: computes how often the quota allows a fleet's series to be requested, and sets the nightly policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

import click

from config.settings import Settings, get_settings
from worker.accounts.status import to_row
from worker.cli.command_audit import command, with_options
from worker.cli.gas_option import ChoiceWithGas
from worker.cli.parameters import SERIES_NAMES, json_option, print_result
from worker.clients.grdf import GRDF
from worker.clients.suppliers import SUPPLIERS
from worker.domain.audit_entry import AuditAction
from worker.domain.clock import clock_from
from worker.domain.planning import HOURS_A_DAY, Fleet, Plan, QuotaBudget, plan_fleet
from worker.domain.schedule import FleetPolicy
from worker.domain.series import Series, of_supplier
from worker.domain.windows import MAX_LOAD_CURVE_HISTORY_DAYS, ONE_DAY, civil_date
from worker.ops.capacity import describe_policy, describe_shortfall, fleet_from, is_applied
from worker.ops.logging_setup import warn
from worker.runtime.stores import open_current_registry
from worker.runtime.supplier_settings import chosen_presets, fleet_series, quota_from, supplier_of_preset
from worker.stores.registry import Registry
from worker.stores.registry.due import AppliedPolicy, PolicyTable

_MOST_ACCOUNTS: Final = 100_000_000  # France has 37 million Linky meters.
_MOST_CALLS: Final = 1_000_000_000
_PRESETS: Final = [preset for supplier in SUPPLIERS.values() for preset in supplier.presets]


@command(audit=with_options(to_apply=AuditAction.POLICY_SET, to_reset=AuditAction.POLICY_SET))
@click.option("--accounts", type=click.IntRange(1, _MOST_ACCOUNTS), help="Active accounts. Default: the registry's.")
@click.option("--without-curve", type=click.IntRange(0), help="Number of --accounts without a load curve. Default: 0.")
@click.option(
    "--preset", type=ChoiceWithGas(_PRESETS, GRDF.presets), help="Preset whose limits apply. Default: RELEVE_PRESET."
)
@click.option("--calls-per-hour", type=click.IntRange(0, _MOST_CALLS), help="Limit, if not the preset's. 0: no limit.")
@click.option(
    "--night-hours",
    type=click.IntRange(1, HOURS_A_DAY),
    default=HOURS_A_DAY,
    show_default=True,
    help="Hours that a nightly sync may take.",
)
@click.option(
    "--history-days",
    type=click.IntRange(0, MAX_LOAD_CURVE_HISTORY_DAYS),
    help="Days of load curve in the backfill. Default: RELEVE_HISTORY_LOAD_DAYS.",
)
@click.option("--series", type=SERIES_NAMES, help="Series of all --accounts, with commas. Default: RELEVE_SERIES.")
@click.option("--apply", "to_apply", is_flag=True, help="Use this plan, from the next night on.")
@click.option("--show", "to_show", is_flag=True, help="Show the plan in use, and how it was computed.")
@click.option("--reset", "to_reset", is_flag=True, help="Drop the plan: ask for everything every night.")
@json_option
def plan(
    accounts: int | None,
    without_curve: int | None,
    to_apply: bool,
    to_show: bool,
    to_reset: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Compute whether the nightly syncs fit the quota, and how often each series can be requested.

    Daily values have priority. If the quota is too small for all series every night, load curves are requested only
    every few nights. One call returns seven days, so no day is lost. If that is not enough, daily values are requested
    less often, too.

    Without --accounts, each supplier's accounts are planned with that supplier's quota. --apply changes only Enedis'
    plan. The exit code is 1 if a plan doesn't fit; --apply applies it anyway.

    \b
    Examples:
      releve plan --accounts 100000
      releve plan --apply
    """
    if to_apply + to_show + to_reset > 1:
        raise click.UsageError("give only one of --apply, --show and --reset")
    if options["series"] and accounts is None:
        raise click.UsageError("--series needs --accounts: otherwise the registry determines the series")
    if without_curve is not None and (accounts is None or without_curve > accounts):
        raise click.UsageError("--without-curve needs --accounts, and can't exceed it")
    settings = get_settings()
    with ExitStack() as stack:
        if to_show or to_reset:
            policies = open_current_registry(settings, stack).policies
            _reset(policies, as_json) if to_reset else _show(policies, as_json)
            return 0
        days = settings.history_load_days if options["history_days"] is None else options["history_days"]
        preset = options["preset"] or _preset_of(settings, options["series"] or ())
        supplier = supplier_of_preset(preset)
        if to_apply and supplier != FleetPolicy().supplier:
            raise click.UsageError(f"{preset} has no plan to apply: its nightly syncs use its quota without one")
        fleets = (
            _registered_fleets(open_current_registry(settings, stack), settings, days)
            if accounts is None
            else {supplier: _planned_fleet(settings, preset, accounts, without_curve or 0, days, options["series"])}
        )
        if not fleets or (options["preset"] and supplier not in fleets):
            raise click.UsageError("the registry has no active account: give the expected number with --accounts")
        if supplier not in fleets:
            supplier = next(iter(fleets))
            preset = chosen_presets(settings)[supplier].name
        night_hours = options["night_hours"]
        result = plan_fleet(fleets.pop(supplier), _quota(settings, preset, options["calls_per_hour"], night_hours))
        values = {"preset": preset, **result.as_json()}
        if to_apply:
            now = clock_from(settings.pretend_now)()
            since = civil_date(now) + ONE_DAY  # A night that has begun keeps its policy.
            open_current_registry(settings, stack).policies.apply(result.policy, since, now, values)
            values["since"] = since.isoformat()
        others = {
            chosen_presets(settings)[other].name: plan_fleet(fleet, quota_from(settings, None, night_hours, other))
            for other, fleet in fleets.items()
        }
    return _print(result, values, {} if options["preset"] else others, as_json)


def _print(result: Plan, values: dict[str, Any], others: Mapping[str, Plan], as_json: bool) -> int:
    """Print a plan, then the plans of the other suppliers. If some don't fit, warn about each of them, and return 1."""
    rows = {name: {"preset": name, **plan.as_json()} for name, plan in others.items()}
    lines = [*_lines(result, values)]
    for name, other in others.items():
        lines += ["", *_lines(other, rows[name])]
    print_result({**values, **({"others": [*rows.values()]} if rows else {})}, *lines, as_json=as_json)
    too_large = [one for one in (result, *others.values()) if not one.fits]
    for one in too_large:
        warn(str(describe_shortfall(one)))
    return 1 if too_large else 0


def _preset_of(settings: Settings, series: Sequence[Series]) -> str:
    """Return the preset of the supplier that has these series; without series, the value of RELEVE_PRESET.

    Raises UsageError for series of two suppliers, because each has its own quota.
    """
    suppliers = {one.description.supplier for one in series}
    if len(suppliers) > 1:
        raise click.UsageError(
            "--series has series of two suppliers: plan each separately, because each has its own quota"
        )
    if suppliers <= {FleetPolicy().supplier}:
        return settings.preset
    [supplier] = suppliers
    presets = chosen_presets(settings)
    return presets[supplier].name if supplier in presets else next(iter(SUPPLIERS[supplier].presets))


def _planned_fleet(
    settings: Settings,
    preset: str,
    accounts: int,
    without_curve: int,
    history_days: int,
    series: Sequence[Series] | None,
) -> Fleet:
    """Return the fleet given on the command line. If the supplier is not set up, its usual series are planned."""
    supplier = supplier_of_preset(preset)
    chosen = of_supplier(supplier, series or fleet_series(settings))
    if series and not chosen:
        raise click.UsageError(f"--series has no series of {supplier}, the supplier of this preset")
    offers = SUPPLIERS[supplier].presets[preset].offers
    if series and (lacking := [one.value for one in chosen if not offers(one)]):
        raise click.UsageError(f"--series: {preset} has no {', '.join(lacking)}")
    asked = dict.fromkeys(chosen, accounts) if chosen else None
    return Fleet(accounts, without_curve, history_days, asked, supplier)


def _registered_fleets(registry: Registry, settings: Settings, history_days: int) -> dict[str, Fleet]:
    """Return the fleet of each supplier that is set up and has an active account."""
    fleets = {name: fleet_from(registry, history_days, name) for name in chosen_presets(settings)}
    return {name: fleet for name, fleet in fleets.items() if fleet.accounts}


def _quota(settings: Settings, preset: str, calls_per_hour: int | None, night_hours: int) -> QuotaBudget:
    quota = quota_from(settings, preset, night_hours)
    return quota if calls_per_hour is None else replace(quota, per_hour=calls_per_hour or None)


def _show(policies: PolicyTable, as_json: bool) -> None:
    rows = policies.list_all()
    for row in rows:
        policy = to_row(row.policy, "daily_every", "curve_every")
        print_result({**to_row(row, "since", "applied_at", "arithmetic"), **policy}, _line(row), as_json=as_json)
    if not rows and not as_json:
        click.echo("no plan is in use: all series of all accounts are asked for every night")


def _line(row: AppliedPolicy) -> str:
    values = row.arithmetic
    return (
        f"from {row.since} on: {describe_policy(row.policy)}; applied {row.applied_at:%Y-%m-%d %H:%M} UTC for "
        f"{values.get('accounts')} accounts, {values.get('calls_a_night')} calls a night, "
        f"{values.get('calls_per_hour') or 'no limit of'} calls an hour"
    )


def _reset(policies: PolicyTable, as_json: bool) -> None:
    number = policies.delete_all()
    line = f"{number} dropped; all series of all accounts are asked for every night"
    print_result({"forgotten": number}, line, as_json=as_json)


def _lines(result: Plan, values: dict[str, Any]) -> list[str]:
    quota = result.quota
    limit = f"{quota.per_hour} calls an hour" if quota.per_hour else "no limit an hour"
    hours = SUPPLIERS[supplier_of_preset(values["preset"])].presets[values["preset"]].quota_day_hours
    limit += f", {quota.per_day} {'a day' if hours == HOURS_A_DAY else f'in {hours} hours'}" if quota.per_day else ""
    curves = f", {result.fleet.without_curve} of them without a curve" if is_applied(result) else ""
    lines = [
        f"{result.fleet.accounts} accounts{curves}; {values['preset']}, {limit}",
        f"series        {_describe_series(result.fleet)}",
        f"policy        {describe_policy(result.policy)}"
        + ("" if result.fits else ", which is too much for the quota"),
        f"night         {result.calls_a_night} calls ({result.fleet.naive_calls_a_night} for all series of all "
        f"accounts), {_describe_hours(*result.hours)} of {quota.night_hours} h",
    ]
    if result.backfill_days is not None:
        days = result.fleet.history_days
        of_curve = f", {days} days of curve each" if is_applied(result) else ""
        lines.append(f"histories     {result.backfill_days:.1f} days to backfill all accounts{of_curve}")
    lines += [_lane(lane, **numbers) for lane, numbers in values["lanes"].items()]
    most = values["most_accounts"]
    if most["once_a_week"] is not None:
        totals = f"{most['totals_every_night']} with totals every night, " if is_applied(result) else ""
        lines.append(
            f"at most       {most['everything_every_night']} accounts with everything every night, "
            f"{totals}{most['once_a_week']} once a week"
        )
    if "since" in values:
        lines.append(f"applied       from the night of {values['since']} on")
    return lines


def _describe_hours(alone: float, beside: float) -> str:
    """Return the hours of a nightly sync alone and, if they differ, its hours while other lanes make calls, too."""
    hours, longer = f"{alone:.1f} h", f"{beside:.1f} h"
    return hours if hours == longer else f"{hours}, {longer} if other lanes are busy,"


def _describe_series(fleet: Fleet) -> str:
    """Return each series, with its cadence if not nightly, and its number of accounts if not all have the series."""
    parts = []
    for series, number in fleet.numbers.items():
        nights = series.description.cadence_nights
        notes = [f"every {nights} nights"] if nights > 1 else []
        notes += [f"{number} of the accounts"] if number != fleet.accounts else []
        parts.append(series.value + (f" ({', '.join(notes)})" if notes else ""))
    return ", ".join(parts)


def _lane(lane: str, needed: int | None, a_day: int | None) -> str:
    room = "no limit" if a_day is None else f"room for {a_day} calls a day"
    what = {
        "first_screen": "to backfill all daily values",
        "nightly": "a night",
        "backfill": "to backfill the other series",
    }
    return f"{lane:14}{room}" + (f"; {needed} {what[lane]}" if needed is not None else "")
