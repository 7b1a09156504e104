from __future__ import annotations

import pytest

from worker.clients.endpoints import Preset
from worker.clients.enedis.presets import PRESETS, SUBSCRIBED_SERVICES
from worker.domain.series import Granularity, Series, of_supplier


@pytest.mark.parametrize("name", PRESETS)
def test_only_the_real_hosts_are_production(name: str) -> None:
    preset = PRESETS[name]
    assert preset.name == name
    assert preset.endpoints().production
    assert not preset.endpoints(sandbox=True).production
    assert not preset.endpoints("http://127.0.0.1:8000/enedis/").production
    assert preset.endpoints("http://127.0.0.1:8000", "https://mon-compte-particulier.enedis.fr").production
    assert preset.endpoints("https://ext.prod.api.enedis.fr", "http://localhost").production
    assert not preset.endpoints("https://gw.hml.api.enedis.fr").production
    assert not preset.endpoints("https://enedis.fr.example.org").production


@pytest.mark.parametrize("name", PRESETS)
def test_an_override_moves_the_consent_page_along(name: str) -> None:
    path = "/dataconnect/v2/oauth2/authorize" if name == "enedis-2026" else "/dataconnect/v1/oauth2/authorize"
    preset = PRESETS[name]
    assert preset.endpoints("http://localhost:8000/sim/").authorize_url == f"http://localhost:8000/sim{path}"
    assert (
        preset.endpoints("http://localhost:8000", "http://localhost:9000").authorize_url
        == f"http://localhost:9000{path}"
    )
    assert (
        preset.endpoints(authorize_url="https://proxy.example/authorize").authorize_url
        == "https://proxy.example/authorize"
    )
    assert preset.endpoints("http://localhost:8000/sim/").token_url == "http://localhost:8000/sim" + preset.token_path


@pytest.mark.parametrize(
    "address",
    [
        "gw.prd.api.enedis.fr",
        "ftp://gw.prd.api.enedis.fr",
        "https://",
        "https://me:hunter2@host",
        "https://host?key=hunter2",
        "http://gw.prd.api.enedis.fr",
        "http://8.8.8.8",
        "https://[half",
    ],
)
def test_an_address_that_would_not_do_is_refused_with_the_reason(address: str) -> None:
    with pytest.raises(ValueError, match="address") as caught:
        PRESETS["enedis-v5"].endpoints(address)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "simulator", "10.1.2.3", "host.docker.internal"])
def test_plain_http_goes_to_machines_of_our_own(host: str) -> None:
    assert PRESETS["enedis-v5"].endpoints(f"http://{host}:8000").base_url == f"http://{host}:8000"


def test_calls_are_counted_together_until_2026_and_by_api_from_then_on() -> None:
    older, newest = PRESETS["enedis-v5"], PRESETS["enedis-2026"]
    assert older.quota_names == ("data",)
    assert newest.quota_names == (
        "mesure_synchrone_auto",
        "situation_contrat_auto",
        "synth_contrat_auto",
        "comptage_auto",
    )
    assert {newest.quota_of(path) for path in newest.paths.values()} == {"mesure_synchrone_auto"}
    assert newest.quota_of(SUBSCRIBED_SERVICES) == "subscribed_services"
    assert (older.calls_per_hour, newest.calls_per_hour) == (10_000, 1_000)


def test_only_the_newest_generation_has_registers_and_all_have_the_rest() -> None:
    registers = {series for series in Series if series.description.granularity is Granularity.REGISTER}
    offered = {name: {series for series in Series if preset.offers(series)} for name, preset in PRESETS.items()}
    assert offered == {
        "enedis-v4": set(of_supplier("enedis")) - registers,
        "enedis-v5": set(of_supplier("enedis")) - registers,
        "enedis-2026": set(of_supplier("enedis")),
    }


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_no_two_series_of_a_generation_have_the_same_path(preset: Preset) -> None:
    paths = [*preset.paths.values(), *(call.path for calls in preset.state_calls.values() for call in calls)]
    assert len(set(paths)) == len(paths)
    assert not preset.paths.keys() & preset.state_calls.keys()
    assert {preset.quota_of(path) for path in paths} == set(preset.quota_names)
    for calls in preset.state_calls.values():
        assert calls[0].required and len({call.name for call in calls}) == len(calls)
