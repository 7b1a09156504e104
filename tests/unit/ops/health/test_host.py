"""Checks of this machine and its settings."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from config.settings import ConfigError
from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.ops.health import host
from worker.ops.health.results import Level


def test_settings_tell_what_is_spoken_to_whom(build_connections: BuildConnections) -> None:
    assert_result(
        host.check_settings(build_connections()),
        Level.OK,
        "enedis-2026 on a sandbox or simulator",
        "1000 calls an hour",
    )


def test_a_pretended_time_is_never_overlooked(build_connections: BuildConnections) -> None:
    connections = build_connections(pretend_now="2024-07-25T09:00+02:00")
    assert_result(host.check_settings(connections), Level.WARN, "PRETENDING", "unset RELEVE_PRETEND_NOW")


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
    assert str(refusal.value) == (
        "set RELEVE_ENEDIS_CLIENT_ID and RELEVE_ENEDIS_CLIENT_SECRET, or RELEVE_ENEDIS_URL to a simulator"
    )


def test_credentials_of_ones_own_go_anywhere(build_connections: BuildConnections) -> None:
    own = build_connections(enedis_url=None, enedis_client_id="ours", enedis_client_secret="its secret")
    assert_result(host.check_supplier_credentials(own), Level.OK, "the application's own")
    assert_result(host.check_supplier_credentials(build_connections()), Level.OK, "the simulator's")


def test_time_zone_data_is_there(build_connections: BuildConnections) -> None:
    assert_result(host.check_time_zone(build_connections()), Level.OK, "Europe/Paris knows its clock changes")


def test_a_machine_without_time_zone_data_is_told_how_to_get_it(
    build_connections: BuildConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_data(_: object) -> None:
        raise host.ZoneInfoNotFoundError

    monkeypatch.setattr(host, "day_length", no_data)
    assert_result(host.check_time_zone(build_connections()), Level.FAIL, "pip install tzdata")


def test_a_clock_change_that_is_missing_is_found(
    build_connections: BuildConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "day_length", lambda _: host.timedelta(hours=24))
    assert_result(host.check_time_zone(build_connections()), Level.FAIL, "update tzdata")


def test_a_folder_that_is_not_there_yet_is_looked_at_where_it_will_be(
    build_connections: BuildConnections, tmp_path: Path
) -> None:
    assert_result(
        host.check_disk(build_connections(data_dir=tmp_path / "a" / "b")), Level.OK, "MiB free", "made at first use"
    )
    assert not (tmp_path / "a").exists()


def test_a_full_disk_is_a_fault(build_connections: BuildConnections, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 150 * 2**20))
    assert_result(host.check_disk(build_connections()), Level.FAIL, "only 150 MiB are free", "make room")


def test_a_place_that_is_no_folder_is_a_fault(build_connections: BuildConnections, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_result(
        host.check_disk(build_connections(data_dir=tmp_path / "file")),
        Level.FAIL,
        "set RELEVE_DATA_DIR to another folder",
    )
