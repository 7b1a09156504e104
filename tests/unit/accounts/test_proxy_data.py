"""The query of a client of the proxy: the words of the supplier's generation, and series of measures alone."""

from __future__ import annotations

from datetime import date

import pytest

from tests.support.supplier_server import USAGE_POINT
from worker.accounts.proxy_grants import DataQuery, SupplierCalls, read_query
from worker.clients.endpoints import Preset
from worker.clients.enedis.presets import PRESETS
from worker.domain.windows import DateWindow
from worker.errors import ProxyBusy

WINDOW = DateWindow(date(2024, 7, 1), date(2024, 7, 8))
ALL = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)


def asked(preset: Preset, **fixed: str) -> dict[str, str]:
    names = (preset.usage_point_parameter, preset.start_parameter, preset.end_parameter)
    return dict(zip(names, (USAGE_POINT, "2024-07-01", "2024-07-08"), strict=True)) | fixed


@ALL
def test_each_series_of_measures_is_read_with_what_the_supplier_needs(preset: Preset) -> None:
    for series, path in preset.paths.items():
        parameters = asked(preset, **preset.fixed_parameters.get(series, {}))
        assert read_query(preset, path, parameters) == DataQuery(series, USAGE_POINT, WINDOW)


@ALL
def test_what_the_supplier_tells_of_the_contract_is_not_passed_on(preset: Preset) -> None:
    for calls in preset.state_calls.values():
        for call in calls:
            for path in (call.path, call.path.replace("{meter}", USAGE_POINT)):
                assert read_query(preset, path, asked(preset)) is None


def test_a_parameter_that_the_supplier_needs_has_its_one_value() -> None:
    preset = PRESETS["enedis-2026"]
    (series,) = preset.fixed_parameters
    for wrong in ({}, {"mesuresPas": "P1D"}, {"mesuresPas": "P1M", "grandeurPhysique": "PMA"}):
        with pytest.raises(ValueError, match="mesuresPas") as caught:
            read_query(preset, preset.paths[series], asked(preset, **wrong))
        assert USAGE_POINT not in str(caught.value)


def test_so_many_calls_at_once_go_to_the_supplier_and_the_next_when_one_has_ended() -> None:
    calls = SupplierCalls(most=2)
    with calls.take():
        for _ in range(3):
            with calls.take(), pytest.raises(ProxyBusy), calls.take():
                pass
