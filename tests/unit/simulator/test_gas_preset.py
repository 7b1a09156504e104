"""The addresses, parameters and fields of the client's presets are those that the simulator has."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.grdf_caller import AUTHORIZE_PATH, PCE, TOKEN_PATH, GasCaller
from worker.clients.grdf.presets import PRESETS, PROOFS, RIGHT, RIGHT_OF_METER, RIGHTS


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_every_address_of_a_preset_is_answered(preset: Any) -> None:
    endpoints = preset.endpoints("http://testserver")
    grdf = GasCaller(base=preset.data_path)
    assert urlsplit(endpoints.token_url).path == TOKEN_PATH
    assert urlsplit(endpoints.authorize_url).path == AUTHORIZE_PATH
    assert endpoints.base_url == f"http://testserver{preset.data_path}"
    assert grdf.ask_token(grant_type="client_credentials", scope=preset.scope).status_code == 200
    right = grdf.give_right()["id"]
    days = {preset.start_parameter: "2024-10-01", preset.end_parameter: "2024-11-01"}
    for path in preset.paths.values():
        answer = grdf.call("GET", path.format(meter=PCE), params=days)
        assert (answer.status_code, json.loads(answer.text.splitlines()[0])["statut_restitution"]) == (200, None)
    for call in (call for calls in preset.state_calls.values() for call in calls):
        body = grdf.call("GET", call.path.format(meter=PCE)).json()
        assert keys_of(call.kept) <= keys_of(body)
    assert grdf.call("POST", RIGHTS, json={"id_pce": [PCE]}).status_code == 200
    assert grdf.call("PUT", RIGHT_OF_METER.format(meter="GI123456"), json={}).status_code == 400
    assert grdf.call("PUT", PROOFS.format(right=right)).status_code == 400
    assert grdf.call("PATCH", RIGHT.format(right=right), json={}).status_code == 200


def keys_of(body: Any, before: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Return the paths to all fields of an object; ``car`` has an object only in one of its two shapes."""
    if not isinstance(body, dict) or before[-1:] == ("car",):
        return {before}
    return {path for key, value in body.items() for path in keys_of(value, (*before, key))}
