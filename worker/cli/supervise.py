"""Worker, beat, web and Flower as child processes of one command, for `releve up`, `releve demo` and the drill."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import requests

from config.settings import PREFIX, Settings
from worker.clients.enedis.presets import PRESETS
from worker.errors import SupplierUnavailable
from worker.stores.redis.embedded import Supervisor

_TIMEOUT_S: Final = 30.0
_START_S: Final = 30.0
_POLL_S: Final = 0.1


def start_worker_and_beat(supervisor: Supervisor, env: Mapping[str, str], logs: Path) -> None:
    """Start a worker and beat, each with its log file."""
    for name in ("worker", "beat"):
        argv = [sys.executable, "-m", "celery", "-A", "worker", name]
        supervisor.start(name, argv, env=env, log_path=logs / f"{name}.log")


def start_web(supervisor: Supervisor, env: Mapping[str, str], logs: Path, host: str, port: int) -> None:
    """Start the web service, with its log file."""
    argv = [sys.executable, "-m", "worker", "web", "--host", host, "--port", str(port)]
    supervisor.start("web", argv, env=env, log_path=logs / "web.log")


def start_flower(supervisor: Supervisor, env: Mapping[str, str], logs: Path, port: int) -> None:
    """Start Flower for this machine alone, with its log file; its other options come from ``worker.ops.flower``."""
    argv = [sys.executable, "-m", "celery", "-A", "worker", "flower", "--address=127.0.0.1", f"--port={port}"]
    supervisor.start("flower", argv, env=env, log_path=logs / "flower.log")


def public_url(settings: Settings, host: str, port: int) -> str:
    """Return where browsers reach the web service: the setting, or else where it listens."""
    if "public_url" in settings.model_fields_set:
        return settings.public_url
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{name}:{port}"


def wait_for(name: str, address: str) -> None:
    """Wait until ``address`` answers.  Raises SupplierUnavailable where it doesn't in time."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            if requests.get(address, timeout=_TIMEOUT_S).ok:
                return
        except requests.ConnectionError:
            time.sleep(_POLL_S)
    raise SupplierUnavailable(f"{name} did not start")


def last_log_line(path: Path) -> str:
    """Return the last line that a process logged, which often says why it ended."""
    if not path.exists():
        return "it left no log"
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "its log is empty")


def isolated_environment(values: dict[str, Any], warn: Callable[[str], object]) -> dict[str, str]:
    """Return RELEVE_* variables for pretend homes: these values, and a default for every other setting.

    With each setting named, none of the user's own has an effect.  Those that have no default are removed from the
    environment, and ``warn`` gets a line for each.
    """
    preset = PRESETS[values["preset"]]
    settings = {
        "calls_per_second": preset.calls_per_second,
        "calls_per_hour": preset.calls_per_hour,
        "enedis_client_id": Settings.model_fields["enedis_client_id"].default,
        "enedis_client_secret": Settings.model_fields["enedis_client_secret"].default.get_secret_value(),
        "enedis_sandbox": "false",
    } | values
    defaults = {
        name: field.default
        for name, field in Settings.model_fields.items()
        if name not in settings and field.default is not None
    }
    unset = [name.upper() for name in Settings.model_fields if name not in settings and name not in defaults]
    # Without a variable the setting would be read from its …_FILE, so that those go as well.
    for name in (*unset, *(f"{name.upper()}_FILE" for name in Settings.model_fields)):
        if os.environ.pop(PREFIX + name, None):
            warn(f"{PREFIX}{name} is not looked at here")
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in {**defaults, **settings}.items()}
