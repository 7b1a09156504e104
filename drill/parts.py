"""Relève's processes for pretend homes, for demo and drill: their settings and start, and the command for a shell."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from config.settings import PREFIX, SIMULATOR_SECRET, Settings, get_settings
from worker.clients.enedis.presets import PRESETS
from worker.ops.logging_setup import warn
from worker.ops.supervisor import part_command
from worker.stores.child_processes import Supervisor
from worker.stores.encryption import generate_key


def use_pretend_settings(folder: Path, preset: str, redis_url: str, simulator: str, **more: Any) -> dict[str, str]:
    """Set RELEVE_* variables for pretend homes in this process and return them: a value for each setting.

    Because each setting has a value, none of the user's own has an effect. Settings without a default are removed from
    the environment, with a warning for each.
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
    # Without a variable the setting would be read from its …_FILE, so those are removed too.
    for name in (*(name for name in named if name not in env), *(f"{name}_FILE" for name in named)):
        if os.environ.pop(name, None):
            warn(f"{name} is not supervised here")
    # The settings are read once per process: set the environment first, then drop the settings read before.
    os.environ.update(env)
    get_settings.cache_clear()
    return env


def start_part(supervisor: Supervisor, part: str, *options: str, env: Mapping[str, str], logs: Path) -> None:
    """Start one part of Relève, with its log file."""
    supervisor.start(part, part_command(part, *options), env=env, log_path=logs / f"{part}.log")


def process_exists(pid: int) -> bool:
    """Return whether the process exists; a zombie counts."""
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def shown_command() -> str:
    """Return how a shell in this folder starts `releve`: by its name if it is on the PATH, else by its path."""
    program = Path(sys.executable).with_name("releve")
    found = shutil.which("releve")
    if found and program.exists() and Path(found).samefile(program):
        return "releve"
    if not program.exists():
        return f"{sys.executable} -m worker"
    return str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)
