"""The processes of `releve up`, `releve demo` and the drill, and settings for pretend homes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from config.settings import PREFIX, SIMULATOR_SECRET, Settings, get_settings
from worker.clients.enedis.presets import PRESETS
from worker.ops.logging_setup import warn
from worker.stores.child_processes import Supervisor
from worker.stores.encryption import generate_key

# Flower serves this machine alone; its other options come from ``worker.ops.flower``.
_COMMANDS: Final = {
    "simulator": ("worker", "simulate"),
    "worker": ("celery", "-A", "worker", "worker"),
    "beat": ("celery", "-A", "worker", "beat"),
    "home-worker": ("worker.ops.home_worker",),
    "web": ("worker", "web"),
    "flower": ("celery", "-A", "worker", "flower", "--address=127.0.0.1"),
}


def start_part(supervisor: Supervisor, part: str, *options: str, env: Mapping[str, str], logs: Path) -> None:
    """Start one part of Relève, with its log file."""
    supervisor.start(part, part_command(part, *options), env=env, log_path=logs / f"{part}.log")


def part_command(part: str, *options: str) -> list[str]:
    """Return the program and the arguments of one part of Relève."""
    return [sys.executable, "-m", *_COMMANDS[part], *options]


def shown_command() -> str:
    """Return how a shell in this folder starts `releve`: by its name where the PATH leads to it, else by its path."""
    program = Path(sys.executable).with_name("releve")
    found = shutil.which("releve")
    if found and program.exists() and Path(found).samefile(program):
        return "releve"
    if not program.exists():
        return f"{sys.executable} -m worker"
    return str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)


def public_url(settings: Settings, host: str, port: int) -> str:
    """Return where browsers reach the web service: the setting, or else where it listens."""
    if "public_url" in settings.model_fields_set:
        return settings.public_url
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{name}:{port}"


def use_pretend_settings(folder: Path, preset: str, redis_url: str, simulator: str, **more: Any) -> dict[str, str]:
    """Set RELEVE_* variables for pretend homes in this process and return them: a value for each setting.

    With each setting named, none of the user's own has an effect.  Those that have no default are removed from the
    environment, with a warning for each.
    """
    values = {
        "preset": preset,
        "calls_per_second": PRESETS[preset].calls_per_second,
        "calls_per_hour": PRESETS[preset].calls_per_hour,
        "enedis_url": simulator,
        "enedis_authorize_url": simulator,
        "enedis_client_id": Settings.model_fields["enedis_client_id"].default,
        "enedis_client_secret": SIMULATOR_SECRET,
        "enedis_sandbox": "false",
        "grdf_url": simulator,
        "grdf_client_id": Settings.model_fields["enedis_client_id"].default,
        "grdf_client_secret": SIMULATOR_SECRET,
        "pretend_homes": "true",
        "data_dir": folder,
        "redis_url": redis_url,
        "broker_url": redis_url,
        "registry_url": f"sqlite:///{folder / 'registry.db'}",
        "measures_url": f"sqlite:///{folder / 'measures.db'}",
        "token_keys": generate_key(),
        **more,
    }
    defaults = {name: field.default for name, field in Settings.model_fields.items() if field.default is not None}
    env = {f"{PREFIX}{name.upper()}": str(value) for name, value in {**defaults, **values}.items()}
    named = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    # Without a variable the setting would be read from its …_FILE, so that those go as well.
    for name in (*(name for name in named if name not in env), *(f"{name}_FILE" for name in named)):
        if os.environ.pop(name, None):
            warn(f"{name} is not supervised here")
    # The settings are read once a process: set the environment first, then drop what was read before.
    os.environ.update(env)
    get_settings.cache_clear()
    return env
