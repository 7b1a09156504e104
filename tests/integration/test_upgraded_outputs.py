"""Outputs that were set up at commit 9262099f and have everything: what this version sends them.

``tests.golden.keep_outputs`` has kept the home with that commit's code, and what that code sent in the same stages.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest
from redis import Redis
from sqlalchemy import update

from tests.golden import keep_outputs
from tests.golden.keep_outputs import CLOCK_DAY, CORRECTIONS, DATABASES, KEPT, Receivers, deliver, supplied, sync
from tests.support.home_assistant_server import StoredRow
from tests.support.installation import Installation
from tests.support.line_parser import Point, parse_lines
from tests.support.mosquitto import Mosquitto
from worker.domain.windows import ONE_DAY, local_midnight
from worker.stores.database import place_of
from worker.stores.registry.tables import OUTPUTS

NOTHING = {"created": 0, "updated": 0, "removed": 0}
SERVERS_OF_SERIES = ("influxdb 1", "influxdb 2")
WRITES = re.compile(r"/(api/v2/)?write\?")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)|\b\d{10,19}\b")
CORRECTED_DAY = (local_midnight(CLOCK_DAY), local_midnight(CLOCK_DAY + ONE_DAY))

Sent = Mapping[str, Any]


@dataclass
class Upgraded:
    """The kept installation after ``releve migrate``, with receivers that have what theirs had."""

    installation: Installation
    receivers: Receivers
    recordings: Path
    kept: Mapping[str, Sent]

    def take(self) -> Sent:
        return self.receivers.take()


@pytest.fixture
def upgraded(redis_url: str, mosquitto_broker: Mosquitto, tmp_path: Path) -> Iterator[Upgraded]:
    with Redis.from_url(redis_url) as redis:
        redis.flushdb()
    for name in DATABASES:
        with closing(sqlite3.connect(tmp_path / f"{name}.db")) as database:
            database.executescript((KEPT / f"{name}.sql").read_text(encoding="utf-8"))
        (tmp_path / f"{name}.db").chmod(0o600)
    kept = json.loads((KEPT / "sent.json").read_text(encoding="utf-8"))
    shutil.copytree(KEPT / "recordings", tmp_path / "recordings")
    installation = keep_outputs.installation_of(tmp_path, redis_url)
    installation.releve("migrate")
    with keep_outputs.receivers(mosquitto_broker) as receivers:
        name_receivers(installation, receivers)
        fill_home_assistant(receivers, kept["first"]["home-assistant"])
        yield Upgraded(installation, receivers, tmp_path / "recordings", kept)


def name_receivers(installation: Installation, receivers: Receivers) -> None:
    """Give each kept output the address that its receiver has in this run; all else of its options stays."""
    addresses = {(kind, tuple(sorted(options))): url for kind, url, _, options in receivers.outputs().values()}
    with installation.open() as parts:
        table = parts.stores.registry.outputs
        for state in table.list_outputs():
            options = table.load_options(state.id)
            url = addresses.pop((state.kind, tuple(sorted(options["more"]))))
            sealed = table._sealer.seal(json.dumps({**options, "url": url}), place_of(OUTPUTS.c.sealed, state.id))
            parts.stores.registry.database.change(update(OUTPUTS).where(OUTPUTS.c.id == state.id).values(sealed=sealed))
    assert not addresses


def fill_home_assistant(receivers: Receivers, messages: Iterable[Mapping[str, Any]]) -> None:
    server = receivers.home_assistant
    for message in messages:
        identifier = message["metadata"]["statistic_id"]
        server.metadata[identifier] = message["metadata"]
        for row in message["stats"]:
            start = datetime.fromisoformat(row["start"]).astimezone(UTC)
            server.rows[identifier][start] = StoredRow(row.get("state"), row.get("sum"))


def has_all_of(new: Any, old: Any) -> bool:
    """Return whether all that was sent before is in it as it was; only fields may have been added."""
    if isinstance(old, Mapping):
        return isinstance(new, Mapping) and all(name in new and has_all_of(new[name], old[name]) for name in old)
    if isinstance(old, list):
        return isinstance(new, list) and len(new) == len(old) and all(map(has_all_of, new, old))
    return bool(new == old)


def points_of(requests: Iterable[Any]) -> dict[Any, Point]:
    bodies = ("".join(f"{line}\n" for line in lines) for _, path, lines in requests if WRITES.match(path))
    return {point.key: point for body in bodies for point in parse_lines(body.encode())}


def to_moment(text: str) -> datetime:
    """Return a moment of a command to a server of time series, which may be a number of any precision."""
    if not text.isdigit():
        return datetime.fromisoformat(text)
    return datetime.fromtimestamp(int(text[:10]), UTC) + timedelta(seconds=float(f"0.{text[10:] or 0}"))


def assert_series_are_sent_alone(new: list[Any], old: list[Any], before: Mapping[Any, Point], *, curve: bool) -> None:
    """Assert that the points of before are sent; that of a changed curve day its others may be deleted and sent."""
    points, earlier = points_of(new), points_of(old)
    for key, point in earlier.items():
        assert has_all_of(points[key].fields, point.fields), key
    for key in points.keys() - earlier.keys():
        point = points[key]
        assert curve and point.measurement in ("releve_step", "releve_hour"), point
        assert CORRECTED_DAY[0].timestamp() <= point.time < CORRECTED_DAY[1].timestamp()
        assert has_all_of(point.fields, before[key].fields)
    for _, path, lines in new:
        if not WRITES.match(path):
            moments = [to_moment(text) for text in MOMENT.findall(unquote_plus(path) + "\n".join(lines))]
            assert curve and moments and CORRECTED_DAY[0] <= min(moments) <= max(moments) <= CORRECTED_DAY[1]


def last_messages(messages: Iterable[list[str]]) -> dict[str, Any]:
    return {topic: payload if payload == "online" else json.loads(payload) for topic, payload in messages}


def test_what_is_kept_was_sent_nothing_at_a_restart_and_by_an_unchanged_sync() -> None:
    kept = json.loads((KEPT / "sent.json").read_text(encoding="utf-8"))
    assert [any(kept[stage].values()) for stage in ("first", "restart", "unchanged")] == [True, False, False]
    for stage in CORRECTIONS:
        assert all(kept[stage].values())


def test_an_upgrade_and_an_unchanged_sync_send_nothing_and_verify_finds_nothing_at_fault(upgraded: Upgraded) -> None:
    with supplied(upgraded.installation, upgraded.recordings, 1) as now:
        assert deliver(now) == 0
        assert upgraded.take() == upgraded.kept["restart"]
        assert sync(now, "sync") == NOTHING
        assert deliver(now) == 0
        assert upgraded.receivers.home_assistant.messages == []  # It isn't even asked what it has.
        assert upgraded.take() == upgraded.kept["unchanged"]
        verified = now.query("verify", "--all")
        assert (verified["accounts"], verified["faults"]) == (2, [])
        assert deliver(now) == 0 and upgraded.take() == upgraded.kept["unchanged"]


def test_the_whole_history_asked_again_after_an_upgrade_sends_nothing(upgraded: Upgraded) -> None:
    """A lost Redis has forgotten what of the history was loaded."""
    with supplied(upgraded.installation, upgraded.recordings, 1) as now:
        assert sync(now, "backfill") == NOTHING
        assert deliver(now) == 0
        assert upgraded.take() == upgraded.kept["unchanged"]


def test_corrections_after_an_upgrade_send_what_they_change_alone(upgraded: Upgraded) -> None:
    before = points_of(upgraded.kept["first"]["influxdb 2"])
    for hours, stage in enumerate(CORRECTIONS, start=2):
        keep_outputs.correct_recordings(upgraded.recordings, stage)
        with supplied(upgraded.installation, upgraded.recordings, hours) as now:
            assert sync(now, "sync")["updated"] > 0
            assert deliver(now) > 0
            new, old = upgraded.take(), upgraded.kept[stage]
            assert now.query("verify", "--all")["faults"] == []
        assert new["home-assistant"] == old["home-assistant"]
        assert has_all_of(
            *(sorted(without_id(sent["webhook"]), key=lambda body: body["series"]) for sent in (new, old))
        )
        for server in SERVERS_OF_SERIES:
            assert_series_are_sent_alone(new[server], old[server], before, curve=stage == "half-hour")
            before |= points_of(old[server])
        messages, earlier = last_messages(new["mqtt"]), last_messages(old["mqtt"])
        assert has_all_of(messages, earlier)
        (account,) = {body["account"] for body in old["webhook"]}
        assert all(account in topic for topic in messages)


def without_id(bodies: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the bodies without the id of the state, which is made of the time at which it was written."""
    return [{name: value for name, value in body.items() if name != "id"} for body in bodies]
