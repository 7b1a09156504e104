"""Measure stores from the settings leave no connection open."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from config.settings import ConfigError, Settings
from tests.support.sqlite_connections import assert_all_closed, recorded_connections
from worker.domain.measures.readings import Period
from worker.runtime.stores import build_measures
from worker.stores.measures.base import ALL_KEYS


@pytest.mark.parametrize("guarded", [False, True])
def test_the_measure_store_is_closed_with_what_opened_it(tmp_path: Path, guarded: bool) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)
    with recorded_connections() as connections:
        with ExitStack() as opened:
            measures = build_measures(settings, opened, guarded=guarded)
            assert not any(measures.read("acc", dict.fromkeys(Period, ALL_KEYS)).values())
        assert_all_closed(connections)


def test_packs_in_sql_are_an_error_of_the_settings(tmp_path: Path) -> None:
    with ExitStack() as opened, pytest.raises(ConfigError, match="RELEVE_LAYOUT=packed needs CouchDB"):
        build_measures(Settings(_env_file=None, data_dir=tmp_path, layout="packed"), opened)
