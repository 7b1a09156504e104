"""Measure stores from the settings leave no connection open."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from config.settings import Settings
from tests.support.sqlite_connections import assert_all_closed, recorded_connections
from worker.domain.measures.readings import Period
from worker.runtime.stores import build_measures, holds_any
from worker.stores.measures.base import Layout


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("guarded", [False, True])
def test_the_measure_stores_are_closed_with_what_opened_them(tmp_path: Path, layout: Layout, guarded: bool) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, layout=layout.value)
    with recorded_connections() as connections:
        with ExitStack() as opened:
            measures = build_measures(settings, opened, guarded=guarded)
            for period in Period:
                assert measures[period].read("acc", "0", "~") == []
        assert_all_closed(connections)


@pytest.mark.parametrize("layout", list(Layout))
def test_a_look_at_a_layout_leaves_no_connection(tmp_path: Path, layout: Layout) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)
    with recorded_connections() as connections:
        assert not holds_any(settings, layout)
        assert_all_closed(connections)
