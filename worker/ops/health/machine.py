"""This machine and what it was told: settings, credentials, Python, time zones, room on the disk."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Final
from zoneinfo import ZoneInfoNotFoundError

from worker.domain.measures.readings import day_length
from worker.ops.health.connections import Visit
from worker.ops.health.results import Note, fail, ok, warn
from worker.ops.startup import SIMULATORS_OWN, check_credentials
from worker.runtime import calls_per_hour, endpoints_from

_LONGEST_DAY: Final = datetime(2024, 10, 27, tzinfo=UTC).date()
_LEAST_FREE_MIB: Final = 200


def settings(visit: Visit) -> Iterator[Note]:
    told = visit.settings
    where = "the supplier's own hosts" if told.speaks_to_production else "a sandbox or simulator"
    per_hour = calls_per_hour(told, endpoints_from(told)) or "no limit of"
    yield ok(f"{told.preset} on {where}, {per_hour} calls an hour")
    if told.pretend_now:
        yield warn(
            f"PRETENDING that now is {told.pretend_now.isoformat()}: unset RELEVE_PRETEND_NOW to live in the present"
        )


def credentials(visit: Visit) -> Iterator[Note]:
    """Raises ConfigError."""
    check_credentials(visit.settings)
    own = visit.settings.enedis_client_id != SIMULATORS_OWN["enedis_client_id"]
    yield ok("the application's own" if own else "the simulator's, which a simulator takes")


def python(visit: Visit) -> Iterator[Note]:
    yield ok(f"Python {sys.version.split()[0]}, Relève {version('releve')}")


def time_zone(visit: Visit) -> Iterator[Note]:
    try:
        length = day_length(_LONGEST_DAY)
    except ZoneInfoNotFoundError:
        yield fail("no time zone data: pip install tzdata")
        return
    if length != timedelta(hours=25):
        yield fail("the time zone data is wrong for Europe/Paris: update tzdata")
    yield ok("Europe/Paris knows its clock changes")


def disk(visit: Visit) -> Iterator[Note]:
    folder = visit.settings.data_dir.absolute()
    place = next(path for path in (folder, *folder.parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        yield fail(
            f"{place} can't be written to by this user: change its owner, or set RELEVE_DATA_DIR to another folder"
        )
        return
    free = shutil.disk_usage(place).free // 2**20
    if free < _LEAST_FREE_MIB:
        yield fail(f"only {free} MiB are free where {folder} is: make room")
    yield ok(f"{free} MiB free in {folder}" + ("" if folder == place else ", which is made at first use"))
