"""L12: who may switch the simulator; no page of another site may."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import requests
from starlette.testclient import TestClient

from simulator import command as simulate_module
from simulator.application import create_app
from simulator.switches import SimulatorOptions
from tests.support.commands import run_releve
from tests.support.simulators import serve_in_background
from tests.support.waiting import DEADLINE_S

JSON = "application/json"
SWITCH = b'{"unsubscribed_apis": []}'
TOKEN = "an-admin-token"


def post(host: str, kind: str | None, token: str | None = None, **headers: str) -> int:
    """Return the status of a switch that names this host."""
    client = TestClient(create_app(SimulatorOptions(admin_token=token)), f"http://{host}")
    content_type = {} if kind is None else {"Content-Type": kind}
    return client.post("/__sim__/switches", content=SWITCH, headers={**content_type, **headers}).status_code


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8765", "localhost:8765", "[::1]:8765", "127.8.9.1"])
def test_l12_this_machine_switches_it_with_json(host: str) -> None:
    assert post(host, JSON) == post(host, f"{JSON}; charset=utf-8") == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "10.0.0.3"])
def test_l12_another_name_of_this_machine_does_not(host: str) -> None:
    assert post(host, JSON) == 403
    client = TestClient(create_app(SimulatorOptions()), f"http://{host}")
    assert client.get("/__sim__/report").status_code == client.delete("/__sim__/tokens").status_code == 403
    assert client.get("/__sim__/gas/rights").status_code == 403
    assert client.get("/__sim__/health").status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None])
def test_l12_what_a_page_of_another_site_may_send_is_refused(kind: str | None) -> None:
    assert post("127.0.0.1", kind) == 415


def test_l12_with_a_token_nothing_goes_without_it() -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert post("simulator:8765", JSON, TOKEN, **bearer) == 200
    assert post("127.0.0.1", JSON, TOKEN) == post("127.0.0.1", JSON, TOKEN, Authorization="Bearer other") == 401
    assert post("127.0.0.1", "text/plain", TOKEN, **bearer) == 415
    client = TestClient(create_app(SimulatorOptions(admin_token=TOKEN)), "http://127.0.0.1")
    assert client.get("/__sim__/truth/12345678901234").status_code == 401
    assert client.get("/__sim__/health").status_code == 200
    assert TOKEN not in repr(SimulatorOptions(admin_token=TOKEN))


@pytest.mark.sockets
def test_l12_a_real_browser_s_simple_request_changes_nothing() -> None:
    with serve_in_background(SimulatorOptions()) as url:
        simple = {"Content-Type": "text/plain", "Origin": "https://evil.example"}
        refused = requests.post(f"{url}/__sim__/switches", data=SWITCH, headers=simple, timeout=DEADLINE_S)
        preflight = requests.options(
            f"{url}/__sim__/switches", headers={"Origin": "https://evil.example"}, timeout=DEADLINE_S
        )
    assert refused.status_code == 415
    assert "access-control-allow-origin" not in preflight.headers


def start(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str, **env: str) -> tuple[int, str, str, str | None]:
    """Return exit code, output, errors, and the token with which it would have been served."""
    served: list[SimulatorOptions] = []
    monkeypatch.setattr(simulate_module, "serve", lambda options, *_: served.append(options))
    ended = run_releve(folder, {f"RELEVE_{name}": value for name, value in env.items()}, "simulate", *words)
    return ended.code, ended.out, ended.err, served[0].admin_token if served else None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.3", "simulator"])
def test_l12_off_loopback_there_is_always_a_token_printed_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str
) -> None:
    code, out, err, token = start(monkeypatch, tmp_path, "--host", host)
    assert token and len(token) >= 32 and (code, err) == (0, "")
    assert out == f"/__sim__/ opens with: Authorization: Bearer {token}\n"
    assert start(monkeypatch, tmp_path, "--host", host)[3] != token
    assert start(monkeypatch, tmp_path, "--host", host, "--admin-token", TOKEN)[1:] == ("", "", TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_loopback_there_is_none_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str) -> None:
    assert start(monkeypatch, tmp_path, "--host", host) == (0, "", "", None)


PRODUCTION: dict[str, Mapping[str, str]] = {
    "RELEVE_ENEDIS_CLIENT_ID": {"ENEDIS_CLIENT_ID": "our-application"},
    "RELEVE_GRDF_CLIENT_ID": {"GRDF_CLIENT_ID": "our-application", "ENEDIS_URL": "http://127.0.0.1:9"},
    "RELEVE_ENEDIS_URL": {"ENEDIS_URL": "https://gw.ext.prod.api.enedis.fr."},
    "RELEVE_ENEDIS_AUTHORIZE_URL": {
        "ENEDIS_AUTHORIZE_URL": "https://mon-compte-particulier.enedis.fr",
        "ENEDIS_URL": "http://127.0.0.1:9",
    },
}


@pytest.mark.parametrize("name", PRODUCTION)
def test_l12_it_does_not_start_beside_production(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    code, _, err, token = start(monkeypatch, tmp_path, **PRODUCTION[name])
    assert (code, token) == (2, None)
    assert err.startswith(f"releve: {name} is for the supplier itself and can't be combined with a simulator")


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"ENEDIS_URL": "http://127.0.0.1:8765", "ENEDIS_CLIENT_ID": "our-application"},
        {"PRETEND_NOW": "2024-07-25T09:00+02:00"},
    ],
)
def test_beside_other_settings_it_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, env: dict[str, str]) -> None:
    assert start(monkeypatch, tmp_path, **env)[0] == 0
