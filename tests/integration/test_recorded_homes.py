"""Recorded homes through a simulator process and the command line: only what was measured is stored.

``test_real_recordings`` has more homes, ``tests/unit/simulator/homes/test_recordings`` the exports. Skipped where the
recordings are absent; they are never copied into the project.
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.system import NO_QUOTA, System, open_system
from worker.cli.totals_check import Loads, Truth
from worker.domain.measures.readings import PARIS, Period

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SECRET = "releve-simulator-secret"
DEEPEST = 745

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not here")


@dataclass(frozen=True)
class Home:
    """A recorded home; ``hourly`` has first and last label of its 60-minute steps, from the README of the files."""

    meter: str
    morning_after: str
    curve: str | None = None
    daily: str | None = None
    hourly: tuple[str, str] | None = None


A = Home(
    "99000000000012",
    "2024-07-25T09:00+02:00",
    "household_a.load_curve.csv.gz",
    "household_a.daily.csv.gz",
    ("2022-11-12 09:00", "2023-03-18 14:00"),
)
SCEAUX = Home(
    "99000000000099",
    "2010-11-27T09:00+01:00",
    "uci_sceaux_hourly.load_curve.csv.gz",
    "uci_sceaux.daily.csv.gz",
    ("2006", "2011"),
)


def rows(name: str) -> list[tuple[str, float]]:
    """Return label and value of each row that has a value, in the source's order."""
    with gzip.open(SHARED / name, "rt", encoding="utf-8", newline="") as file:
        return [(label, float(value)) for label, value in list(csv.reader(file))[1:] if value]


def true_curve(home: Home) -> Iterator[list[Any]]:
    """Yield ``[start in UTC, minutes, W]``; the second of two equal naive labels is the later pass of that hour."""
    label_counts: Counter[str] = Counter()
    for label, watts in rows(home.curve) if home.curve else ():
        end = datetime.fromisoformat(label)
        if end.tzinfo is None:
            end = end.replace(tzinfo=PARIS, fold=min(label_counts[label], 1))
            label_counts[label] += 1
        local = f"{end.astimezone(PARIS):%Y-%m-%d %H:%M}"
        minutes = 60 if home.hourly and home.hourly[0] <= local <= home.hourly[1] else 30
        yield [(end.astimezone(UTC) - timedelta(minutes=minutes)).isoformat(), minutes, watts]


def recorded(home: Home, curve_days: int, daily_days: int = 1095) -> Truth:
    """Return the part of the recording that an account asks for on the morning after its last day."""
    today = datetime.fromisoformat(home.morning_after).date()
    first, first_of_curve = today - timedelta(days=daily_days), today - timedelta(days=curve_days)
    daily = {
        day: wh for day, wh in (rows(home.daily) if home.daily else ()) if first <= date.fromisoformat(day) < today
    }
    curve = [step for step in true_curve(home) if first_of_curve <= local_day(step[0]) < today]
    return Truth(daily, curve)


def local_day(start: str) -> date:
    return datetime.fromisoformat(start).astimezone(PARIS).date()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[System]:
    """Yield a system without a worker; the recordings lie in its folder under the names of their meters."""
    folder = tmp_path_factory.mktemp("recorded")
    data = folder / "recordings"
    data.mkdir()
    for home in (A, SCEAUX):
        for kind, name in (("load_curve", home.curve), ("daily", home.daily)):
            if name:
                (data / f"{home.meter}.{kind}.csv.gz").symlink_to(SHARED / name)
    with open_system(folder, PRETEND_NOW=A.morning_after, ENEDIS_CLIENT_SECRET=SECRET, **NO_QUOTA) as system:
        system.start_simulator("--data", str(data))
        yield system


def sync(system: System, home: Home, days: int, **settings: str) -> Loads:
    """Run a backfill on the morning after the home's last recorded day, and return all that is stored of it."""
    system.simulator("POST", "clock", {"now": home.morning_after})
    system.redis.flushall()
    system.change_settings(PRETEND_NOW=home.morning_after, HISTORY_LOAD_DAYS=str(days), **settings)
    token = ["--token-file", str(system.grant_consent(home.meter))] if settings.get("PRESET") == "enedis-v4" else []
    account = system.add_account(home.meter, *token)
    system.releve("backfill", account, "--inline")
    return system.content(account)


def half_hours_of(content: Loads, day: str) -> int:
    return sum(local_day(key).isoformat() == day for key in content[Period.MINUTE])


def test_household_a_is_stored_as_recorded_and_its_curve_adds_up_to_its_days(system: System) -> None:
    content = sync(system, A, DEEPEST)
    assert content == recorded(A, DEEPEST).expected_loads()
    assert len(content[Period.MINUTE]) == 27_665  # One row of the recording has no value.
    assert (len(content[Period.DAY]), min(content[Period.DAY])) == (197, "2024-01-10")
    by_day: Counter[str] = Counter()
    for key, load in content[Period.MINUTE].items():
        by_day[local_day(key).isoformat()] += round(load * 1_000_000)
    for day, load in content[Period.DAY].items():
        assert by_day[day] == round(load * 1_000_000), day
    assert [half_hours_of(content, day) for day in ("2023-10-29", "2024-03-31", "2024-03-30")] == [50, 46, 48]
    assert half_hours_of(content, "2023-01-11") == 1  # The gap stays a gap: that day has its last hour only.


def test_a_recording_whose_clock_never_jumps_is_stored_but_for_the_hours_that_never_were(system: System) -> None:
    content = sync(system, SCEAUX, DEEPEST)
    expected = recorded(SCEAUX, DEEPEST).expected_loads()
    changes = {"2009-03-29", "2009-10-25", "2010-03-28", "2010-10-31"}
    assert without(content, changes) == without(expected, changes)
    for day in changes:
        assert half_hours_of(content, day) in (23, 24)


def without(content: Loads, days: set[str]) -> Mapping[Period, Mapping[str, float]]:
    return {
        period: {
            key: load
            for key, load in documents.items()
            if period not in (Period.MINUTE, Period.HOUR) or local_day(key).isoformat() not in days
        }
        for period, documents in content.items()
    }


@pytest.mark.parametrize("preset", ["enedis-v4", "enedis-v5", "enedis-2026"])
def test_every_generation_tells_the_same_of_the_same_home(system: System, preset: str) -> None:
    """Over the autumn clock change."""
    home = Home(A.meter, "2023-11-02T09:00+01:00", A.curve, A.daily, A.hourly)
    content = sync(system, home, 21, PRESET=preset)
    assert content == recorded(home, 21).expected_loads()
    assert half_hours_of(content, "2023-10-29") == 50
