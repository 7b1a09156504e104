"""releve plan: how often a fleet can be asked for what its quota carries, and the policy that the nights follow."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime
from typing import Any, Final

import click

from config.settings import ConfigError, Settings, get_settings
from worker.cli.common import json_option, print_json, warn
from worker.clients.enedis.presets import PRESETS
from worker.domain.clock import clock_from
from worker.domain.fleet.planning import HOURS_A_DAY, Fleet, Plan, QuotaBudget, plan_fleet
from worker.domain.measures.readings import ONE_DAY, PARIS
from worker.domain.measures.windows import MAX_LOAD_CURVE_HISTORY_DAYS
from worker.ops.capacity import fleet_from, quota_from, told_policy, too_large
from worker.stores.registry.database import Database, bring_up
from worker.stores.registry.policies import Applied, PolicyTable

_MOST_ACCOUNTS: Final = 100_000_000  # France has 37 million meters
_MOST_CALLS: Final = 1_000_000_000


@click.command()
@click.option("--accounts", type=click.IntRange(1, _MOST_ACCOUNTS), help="Active accounts; unset, the registry's.")
@click.option(
    "--without-curve", type=click.IntRange(0), help="Those of --accounts whose curve nobody has switched on; 0."
)
@click.option("--preset", type=click.Choice([*PRESETS]), help="Whose limits; unset, RELEVE_PRESET.")
@click.option("--calls-per-hour", type=click.IntRange(0, _MOST_CALLS), help="Another limit than the preset's, 0 none.")
@click.option("--night-hours", type=click.IntRange(1, HOURS_A_DAY), default=HOURS_A_DAY, show_default=True)
@click.option(
    "--history-days",
    type=click.IntRange(0, MAX_LOAD_CURVE_HISTORY_DAYS),
    help="Days of curve that a new account brings; unset, RELEVE_HISTORY_LOAD_DAYS.",
)
@click.option("--apply", "to_apply", is_flag=True, help="Let the nights follow this plan, from the next one on.")
@click.option("--show", "to_show", is_flag=True, help="Show the policy that the nights follow, and how it was found.")
@click.option("--reset", "to_reset", is_flag=True, help="Forget it: everything of everybody every night.")
@json_option
def plan(
    accounts: int | None,
    without_curve: int | None,
    to_apply: bool,
    to_show: bool,
    to_reset: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Tell what a fleet's nights take of its quota, and how often they can ask for what.

    Fresh totals come first: where the quota does not carry everything every night, curves are asked for every k-th
    night (one call brings seven days, so none is lost), then totals too, each account once in k nights.

    \b
    Examples:
      releve plan --accounts 100000 --preset enedis-v5
      releve plan --apply
    """
    if to_apply + to_show + to_reset > 1:
        raise click.UsageError("--apply, --show and --reset exclude one another")
    if without_curve is not None and (accounts is None or without_curve > accounts):
        raise click.UsageError("--without-curve needs --accounts, and is no more than these")
    settings = get_settings()
    with ExitStack() as opened:
        if to_show or to_reset:
            book = PolicyTable(_registry(settings, opened))
            _reset(book, as_json) if to_reset else _show(book, as_json)
            return
        days = settings.history_load_days if asked["history_days"] is None else asked["history_days"]
        fleet = (
            _present(_registry(settings, opened), settings, days)
            if accounts is None
            else Fleet(accounts, without_curve or 0, days)
        )
        preset = asked["preset"] or settings.preset
        found = plan_fleet(fleet, _quota(settings, preset, asked["calls_per_hour"], asked["night_hours"]))
        told = {"preset": preset, **found.as_json()}
        if to_apply:
            now = clock_from(settings.pretend_now)()
            told["since"] = _apply(PolicyTable(_registry(settings, opened)), found, now, told)
    if as_json:
        print_json(told)
    else:
        _print(found, told)
    if not found.fits:
        warn(too_large(found))


def _registry(settings: Settings, opened: ExitStack) -> Database:
    """Raises ConfigError and StoreUnavailable."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        database = Database(settings.registry())
    except ValueError as error:
        raise ConfigError(f"RELEVE_REGISTRY_URL: {error}") from None
    opened.callback(database.close)
    bring_up(database)
    return database


def _present(database: Database, settings: Settings, history_days: int) -> Fleet:
    today = clock_from(settings.pretend_now)().astimezone(PARIS).date()
    fleet = fleet_from(database, today, history_days)
    if not fleet.accounts:
        raise click.UsageError("the registry has no active account: say --accounts, how many there will be")
    return fleet


def _quota(settings: Settings, preset: str, calls_per_hour: int | None, night_hours: int) -> QuotaBudget:
    quota = quota_from(settings, preset, night_hours)
    return quota if calls_per_hour is None else QuotaBudget(calls_per_hour or None, quota.per_second, night_hours)


def _apply(book: PolicyTable, found: Plan, now: datetime, told: dict[str, Any]) -> str:
    """From tomorrow's night on: one under way goes on as it began.  The first day, as ISO text."""
    since = now.astimezone(PARIS).date() + ONE_DAY
    book.apply(found.policy, since, now, told)
    return since.isoformat()


def _show(book: PolicyTable, as_json: bool) -> None:
    kept = book.all()
    if as_json:
        print_json([_applied(each) for each in kept])
    elif not kept:
        click.echo("no policy is stored: everything of every account is asked for every night")
    for each in [] if as_json else kept:
        told = each.arithmetic
        click.echo(
            f"from {each.since} on: {told_policy(each.policy)}; applied {each.applied_at:%Y-%m-%d %H:%M} UTC for "
            f"{told.get('accounts')} accounts, {told.get('calls_a_night')} calls a night, "
            f"{told.get('calls_per_hour') or 'no limit of'} calls an hour"
        )


def _applied(each: Applied) -> dict[str, Any]:
    return {
        "since": each.since.isoformat(),
        "daily_every": each.policy.daily_every,
        "curve_every": each.policy.curve_every,
        "applied_at": each.applied_at.isoformat(),
        "arithmetic": dict(each.arithmetic),
    }


def _reset(book: PolicyTable, as_json: bool) -> None:
    number = book.forget()
    if as_json:
        print_json({"forgotten": number})
    else:
        click.echo(f"{number} forgotten; everything of every account is asked for every night")


def _print(found: Plan, told: dict[str, Any]) -> None:
    for line in _lines(found, told):
        click.echo(line)


def _lines(found: Plan, told: dict[str, Any]) -> list[str]:
    quota, (alone, beside) = found.quota, found.hours
    limit = f"{quota.per_hour} calls an hour" if quota.per_hour else "no limit an hour"
    lines = [
        f"{found.fleet.accounts} accounts, {found.fleet.without_curve} of them without a curve; "
        f"{told['preset']}, {limit}",
        f"policy        {told_policy(found.policy)}" + ("" if found.fits else ", and that does not fit"),
        f"night         {found.calls_a_night} calls (all of it would be {found.fleet.naive_calls_a_night}), "
        f"{alone:.1f} h, {beside:.1f} h beside busy lanes, of {quota.night_hours} h",
    ]
    if found.backfill_days is not None:
        days = found.fleet.history_days
        lines.append(f"backfill      {found.backfill_days:.1f} days for all of them at once, {days} days of curve each")
    lines += [_lane(lane, **numbers) for lane, numbers in told["lanes"].items()]
    most = told["most_accounts"]
    if most["once_a_week"] is not None:
        lines.append(
            f"at most       {most['everything_every_night']} accounts with everything every night, "
            f"{most['totals_every_night']} with totals every night, {most['once_a_week']} once a week"
        )
    if "since" in told:
        lines.append(f"applied       from the night of {told['since']} on")
    return lines


def _lane(lane: str, needed: int | None, a_day: int | None) -> str:
    room = "no limit" if a_day is None else f"room for {a_day} calls a day"
    what = {
        "first_screen": "to fill all accounts' totals",
        "nightly": "a night",
        "history": "to fill all accounts' curves",
    }
    return f"{lane:14}{room}" + (f"; {needed} {what[lane]}" if needed is not None else "")
