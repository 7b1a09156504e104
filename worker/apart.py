"""Settings for pretend houses (demo, drill): every one of them told, so that none of the user's own shines through."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from config.settings import PREFIX, Settings
from worker.clients.enedis.presets import PRESETS


def settings_apart(own: dict[str, Any], say: Callable[[str], object]) -> dict[str, str]:
    """RELEVE_* variables with ``own`` and the defaults; what of the user's environment was dropped is said."""
    preset = PRESETS[own["preset"]]
    told = {
        "calls_per_second": preset.calls_per_second,
        "calls_per_hour": preset.calls_per_hour,
        "enedis_client_id": Settings.model_fields["enedis_client_id"].default,
        "enedis_client_secret": Settings.model_fields["enedis_client_secret"].default.get_secret_value(),
        "enedis_sandbox": "false",
    } | own
    defaults = {
        name: field.default
        for name, field in Settings.model_fields.items()
        if name not in told and field.default is not None
    }
    untold = [name.upper() for name in Settings.model_fields if name not in told and name not in defaults]
    for name in (*untold, *(f"{name.upper()}_FILE" for name in Settings.model_fields)):
        if os.environ.pop(PREFIX + name, None):
            say(f"{PREFIX}{name} is not looked at here")
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in {**defaults, **told}.items()}
