"""This machine and its settings."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from config.settings import ConfigError
from tests.unit.ops.health.conftest import Premises, assert_told
from worker.ops.health import host
from worker.ops.health.results import Level


def test_settings_tell_what_is_spoken_to_whom(premises: Premises) -> None:
    assert_told(host.settings(premises()), Level.OK, "enedis-2026 on a sandbox or simulator", "1000 calls an hour")


def test_a_pretended_time_is_never_overlooked(premises: Premises) -> None:
    visit = premises(pretend_now="2024-07-25T09:00+02:00")
    assert_told(host.settings(visit), Level.WARN, "PRETENDING", "unset RELEVE_PRETEND_NOW")


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"enedis_sandbox": True},
        {"enedis_client_id": "ours"},
        {"enedis_client_secret": "secret"},
        {"enedis_url": "https://gw.ext.prod.api.enedis.fr"},
    ],
    ids=str,
)
def test_the_simulators_credentials_are_not_sent_to_enedis(premises: Premises, told: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refusal:
        list(host.credentials(premises(**{"enedis_url": None, **told})))
    assert str(refusal.value) == (
        "set RELEVE_ENEDIS_CLIENT_ID and RELEVE_ENEDIS_CLIENT_SECRET, or RELEVE_ENEDIS_URL to a simulator"
    )


def test_credentials_of_ones_own_go_anywhere(premises: Premises) -> None:
    own = premises(enedis_url=None, enedis_client_id="ours", enedis_client_secret="its secret")
    assert_told(host.credentials(own), Level.OK, "the application's own")
    assert_told(host.credentials(premises()), Level.OK, "the simulator's")


def test_time_zone_data_is_there(premises: Premises) -> None:
    assert_told(host.time_zone(premises()), Level.OK, "Europe/Paris knows its clock changes")


def test_a_machine_without_time_zone_data_is_told_how_to_get_it(
    premises: Premises, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_data(_: object) -> None:
        raise host.ZoneInfoNotFoundError

    monkeypatch.setattr(host, "day_length", no_data)
    assert_told(host.time_zone(premises()), Level.FAIL, "pip install tzdata")


def test_a_clock_change_that_is_missing_is_found(premises: Premises, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "day_length", lambda _: host.timedelta(hours=24))
    assert_told(host.time_zone(premises()), Level.FAIL, "update tzdata")


def test_a_folder_that_is_not_there_yet_is_looked_at_where_it_will_be(premises: Premises, tmp_path: Path) -> None:
    assert_told(host.disk(premises(data_dir=tmp_path / "a" / "b")), Level.OK, "MiB free", "made at first use")
    assert not (tmp_path / "a").exists()


def test_a_full_disk_is_a_fault(premises: Premises, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 150 * 2**20))
    assert_told(host.disk(premises()), Level.FAIL, "only 150 MiB are free", "make room")


def test_a_place_that_is_no_folder_is_a_fault(premises: Premises, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_told(host.disk(premises(data_dir=tmp_path / "file")), Level.FAIL, "set RELEVE_DATA_DIR to another folder")
