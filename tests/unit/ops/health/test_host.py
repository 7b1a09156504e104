"""Checks of this machine, its settings and its clock."""

from __future__ import annotations

import shutil
import time
from collections import namedtuple
from email.utils import formatdate
from pathlib import Path

import pytest

from config.settings import ConfigError
from tests.support.canned_server import answer, canned_server
from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.ops import host_checks as host
from worker.ops.check_results import Level


def test_settings_tell_what_is_spoken_to_whom(build_connections: BuildConnections) -> None:
    assert_result(
        host.check_settings(build_connections()),
        Level.OK,
        "enedis-2026 on a sandbox, a gateway or a simulator",
        "1000 calls an hour",
    )
    pretending = build_connections(pretend_homes=True)
    assert_result(host.check_settings(pretending), Level.OK, "enedis-2026 on a simulator")


def test_a_pretended_time_is_never_overlooked(build_connections: BuildConnections) -> None:
    connections = build_connections(pretend_now="2024-07-25T09:00+02:00")
    assert_result(host.check_settings(connections), Level.WARN, "PRETENDING", "unset RELEVE_PRETEND_NOW")


@pytest.mark.parametrize(
    "settings, level",
    [
        ({"preset": "enedis-v5", "enedis_url": None}, Level.WARN),
        ({"preset": "enedis-v5", "enedis_url": None, "enedis_sandbox": True}, Level.WARN),
        ({"preset": "enedis-v5", "enedis_url": "http://127.0.0.1:9"}, Level.OK),
        ({"preset": "enedis-2026", "enedis_url": None}, Level.OK),
    ],
    ids=["at Enedis", "in its sandbox", "at a simulator", "the new generation"],
)
def test_who_calls_v5_at_enedis_is_told_that_it_ends(
    build_connections: BuildConnections, settings: dict[str, object], level: Level
) -> None:
    words = ("the end of its API v5", "docs/how-to/move-to-2026.md") if level is Level.WARN else ()
    assert_result(host.check_settings(build_connections(**settings)), level, *words)


def test_l5_plain_http_beyond_this_machine_is_never_overlooked(build_connections: BuildConnections) -> None:
    wanted = build_connections(public_url="http://192.168.1.20:8000", plain_http=True)
    assert_result(host.check_settings(wanted), Level.WARN, "plain http is allowed", "RELEVE_PLAIN_HTTP")
    refused = build_connections(public_url="http://192.168.1.20:8000")
    assert_result(host.check_settings(refused), Level.FAIL, "http:// on another machine", "RELEVE_PLAIN_HTTP=true")
    assert_result(host.check_settings(build_connections(plain_http=True)), Level.OK)


PLAIN = {
    "redis_url": "redis://:p@203.0.113.7:6379/0",
    "broker_url": "amqp://u:p@mq1.example.org:5672/v;amqp://u:p@10.1.2.3/v",
    "registry_url": "postgresql://u:p@db.example.org/releve",
    "measures_url": "couchdb+http://u:p@couch.example.org:5984/",
}
TLS = {
    "redis_url": "rediss://:p@8.8.8.8:6379/0",
    "broker_url": "amqps://u:p@mq1.example.org:5671/v",
    "registry_url": "postgresql://u:p@db.example.org/releve?sslmode=verify-full",
    "measures_url": "couchdb+https://u:p@couch.example.org:6984/",
}


@pytest.mark.parametrize("name", PLAIN)
def test_l16_a_plain_connection_to_a_public_host_is_a_warning(build_connections: BuildConnections, name: str) -> None:
    url = PLAIN[name].replace("203.0.113.7", "8.8.8.8")
    host_named = url.rpartition("@")[0].partition("@")[2].partition(":")[0] or url.partition("@")[2].split(":")[0]
    notes = list(host.check_plain_connections(build_connections(**{**TLS, name: url})))
    assert_result(notes, Level.WARN, host_named.split("/")[0], "without TLS")
    assert "p@" not in " ".join(note.text for note in notes), "no password"


def test_l16_tls_this_machine_and_a_private_network_are_no_warning(build_connections: BuildConnections) -> None:
    assert_result(
        host.check_plain_connections(build_connections()), Level.OK, "no connection leaves this machine without TLS"
    )
    assert_result(
        host.check_plain_connections(build_connections(**TLS)),
        Level.OK,
        "no connection leaves this machine without TLS",
    )
    here = build_connections(
        redis_url="unix:///run/redis.sock",
        broker_url="sentinel://:p@127.0.0.1,localhost/0?master=m",
        registry_url="postgresql://u:p@/releve?host=/run/postgresql",
        measures_url="postgresql://u:p@[::1]:5432/releve",
    )
    assert_result(host.check_plain_connections(here), Level.OK, "no connection leaves this machine without TLS")
    private = build_connections(
        redis_url="sentinel://:p@redis-1,192.168.1.5:26380/0?master=m",
        registry_url="postgresql://u:p@/releve?host=db1:5432,db2.internal&sslmode=prefer",
        measures_url="couchdb+http://u:p@couchdb:5984/",
    )
    said = "Redis at redis-1, Redis at 192.168.1.5, PostgreSQL at db1, PostgreSQL at db2.internal, CouchDB at couchdb"
    assert_result(host.check_plain_connections(private), Level.OK, f"without TLS within a private network: {said}")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"enedis_sandbox": True},
        {"enedis_client_id": "ours"},
        {"enedis_client_secret": "secret"},
        {"enedis_url": "https://gw.ext.prod.api.enedis.fr"},
    ],
    ids=str,
)
def test_the_simulators_credentials_are_not_sent_to_enedis(
    build_connections: BuildConnections, settings: dict[str, object]
) -> None:
    with pytest.raises(ConfigError) as refusal:
        list(host.check_supplier_credentials(build_connections(**{"enedis_url": None, **settings})))
    told = str(refusal.value)
    assert told.endswith(
        "set RELEVE_ENEDIS_CLIENT_ID and RELEVE_ENEDIS_CLIENT_SECRET, or RELEVE_ENEDIS_URL to a simulator"
    )
    assert ("no home and no credentials here" in told) is ("enedis_client_id" not in settings)


def test_credentials_of_ones_own_go_anywhere(build_connections: BuildConnections) -> None:
    own = build_connections(enedis_url=None, enedis_client_id="ours", enedis_client_secret="its secret")
    assert_result(host.check_supplier_credentials(own), Level.OK, "the application's own")
    assert_result(host.check_supplier_credentials(build_connections()), Level.OK, "the simulator's")


def test_time_zone_data_must_be_there_and_right(
    build_connections: BuildConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_data(_: object) -> None:
        raise host.ZoneInfoNotFoundError

    connections = build_connections()
    assert_result(host.check_time_zone(connections), Level.OK, "Europe/Paris knows its clock changes")
    monkeypatch.setattr(host, "day_length", lambda _: host.timedelta(hours=24))
    assert_result(host.check_time_zone(connections), Level.FAIL, "update tzdata")
    monkeypatch.setattr(host, "day_length", no_data)
    assert_result(host.check_time_zone(connections), Level.FAIL, "pip install tzdata")


def test_a_folder_that_is_not_there_yet_is_looked_at_where_it_will_be(
    build_connections: BuildConnections, tmp_path: Path
) -> None:
    assert_result(
        host.check_disk(build_connections(data_dir=tmp_path / "a" / "b")), Level.OK, "MiB free", "created at first use"
    )
    assert not (tmp_path / "a").exists()


def test_l19_a_folder_that_others_may_look_into_is_named(build_connections: BuildConnections, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    assert_result(
        host.check_disk(build_connections()), Level.WARN, f"other users can read {tmp_path}: run `chmod 700` on it"
    )
    tmp_path.chmod(0o700)
    assert_result(host.check_disk(build_connections()), Level.OK)


def test_a_full_disk_and_a_place_that_is_no_folder_are_faults(
    build_connections: BuildConnections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_a_file = build_connections(data_dir=tmp_path / "file")
    (tmp_path / "file").touch()
    assert_result(host.check_disk(in_a_file), Level.FAIL, "set RELEVE_DATA_DIR to another folder")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 150 * 2**20))
    assert_result(host.check_disk(build_connections()), Level.FAIL, "only 150 MiB are free", "make room")


@pytest.mark.parametrize(
    "ahead_s, level, words",
    [
        (4.0, Level.OK, ""),
        (-4.0, Level.OK, ""),
        (7.4, Level.WARN, "this machine's clock is 7 s behind Redis: set both by NTP"),
        (-30, Level.WARN, "30 s ahead of Redis"),
        (61, Level.FAIL, "61 s behind Redis"),
        (-3600, Level.FAIL, "3600 s ahead of Redis"),
    ],
)
def test_a_difference_is_told_by_its_size(ahead_s: float, level: Level, words: str) -> None:
    assert_result(host.judge_clock("Redis", ahead_s), level, words)


@pytest.mark.sockets
@pytest.mark.parametrize("shift_s, level", [(0, Level.OK), (-20, Level.WARN), (600, Level.FAIL)])
def test_the_dates_of_couchdb_and_the_supplier_are_compared(
    build_connections: BuildConnections, shift_s: int, level: Level
) -> None:
    dated = answer(401, {}, Date=formatdate(time.time() + shift_s, usegmt=True))
    now = answer(404, "", Date=formatdate(time.time(), usegmt=True))
    with canned_server(dated) as couch, canned_server(now) as supplier:
        connections = build_connections(measures_url=f"couchdb+{couch.url}", enedis_url=supplier.url)
        notes = list(host.check_clock(connections))
    words = "CouchDB" if shift_s else "agrees with CouchDB, the supplier"
    assert_result(notes, level, words)


@pytest.mark.sockets
def test_a_date_that_is_none_and_servers_that_are_away_are_passed_over(build_connections: BuildConnections) -> None:
    with canned_server(answer(200, {}, Date="yesterday")) as couch:
        connections = build_connections(measures_url=f"couchdb+{couch.url}")
        words = ("not compared with the supplier", "did not answer")
        assert_result(host.check_clock(connections), Level.WARN, *words)
