"""The report of a simulated week as JSON."""

from __future__ import annotations

from typing import Any

from benchmarks.fleet_seed import megabytes
from benchmarks.simulated.homes import Home
from benchmarks.simulated.laws import ages_by_day, broken_laws, busy_hours, count_missed
from benchmarks.simulated.week import Week
from worker.domain.fleet.incidents import to_json
from worker.domain.fleet.lanes import QuotaLane

Json = dict[str, Any]


def report_week(week: Week) -> Json:
    supplier, plan, counts = week.supplier, week.plan, week.workers.counts
    use, busy = [sum(hour.values()) for hour in supplier.by_hour], busy_hours(week)
    return {
        "plan": {
            "policy": {"daily_every": plan.policy.daily_every, "curve_every": plan.policy.curve_every},
            "fits": plan.fits,
            "calls_a_night": plan.calls_a_night,
            "carried_a_night": plan.quota.night_limit,
        },
        "supplier_saw": {
            "calls": supplier.peaks.calls,
            "answers": {str(status): count for status, count in sorted(supplier.statuses.items())},
            "refused_over_the_hour": supplier.over_the_limit["hour"],
            "refused_over_the_second": supplier.over_the_limit["second"],
            "max_in_any_second": supplier.peaks.max_in_any_second,
            "max_in_any_hour": supplier.peaks.max_in_any_hour,
        },
        "use": {
            "busy_hours": len(busy),
            "least_share_in_a_busy_hour": round(min(busy.values()), 4) if busy else None,
            "share_of_all_hours": round(sum(use) / (week.options.per_hour * len(use)), 4),
            "by_hour": use,
            "by_lane": {lane.value: [hour[lane] for hour in supplier.by_hour] for lane in QuotaLane},
        },
        "look_backs": {
            "asked": {series.value: ages.look_backs for series, ages in week.ages.items()},
            "doubled": sum(ages.doubled for ages in week.ages.values()),
            "missed": count_missed(week),
            "days_between_two": {series.value: ages.days_lost for series, ages in week.ages.items()},
        },
        "age_in_days": {series.value: ages_by_day(week, series) for series in week.ages},
        "first_screen_s": _first_screens(week),
        "windows_of_history_left": sum(
            len(home.windows_left) for home in (*week.homes.new_homes, *week.homes.waiting_homes)
        ),
        "troubles": {
            "incidents": [dict(to_json(incident)) for incident in week.incidents.list_past()],
            "hours": sorted(week.troubled_hours),
            "canaries": counts["canaries"],
            "held": counts["held"],
            "put_off": counts["given up for now"],
            "permits_given_back": counts["given back"],
            "accounts_judged": week.null_tables.refused_accounts,
            "windows_without_tries": week.count_exhausted_windows(),
        },
        "permits_asked_for": counts["asked"],
        "peak_rss_mb": week.peak_rss_mb,
        "redis_mb": {"begin": megabytes(week.redis_bytes[0]), "peak": megabytes(max(week.redis_bytes))}
        | {"end": megabytes(week.redis_bytes[-1])},
        "seconds": week.seconds,
        "broken_laws": list(broken_laws(week)),
    }


def _first_screens(week: Week) -> Json:
    """Return the seconds from a consent to three years of daily values, in quiet hours and in all."""
    ready = [home for home in week.homes.new_homes if home.ready_us]
    hours = {home: (home.arrived_us - week.clock.begin_us) // 3_600_000_000 for home in ready}
    quiet = [home for home in ready if hours[home] not in week.troubled_hours]
    return {
        "homes": len(week.homes.new_homes),
        "ready": len(ready),
        "in_quiet_hours": _percentiles(quiet),
        "all": _percentiles(ready),
    }


def _percentiles(homes: list[Home]) -> Json:
    waits = sorted((home.ready_us - home.arrived_us) / 1e6 for home in homes)
    if not waits:
        return {}
    return {f"p{rank}": round(waits[(len(waits) - 1) * rank // 100], 1) for rank in (50, 99, 100)}
