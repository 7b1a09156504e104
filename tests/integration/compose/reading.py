"""Reader of docker-compose.yml: the same result as compose with .env.example, without the client."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
FILE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"
VARIABLE = re.compile(r"\$\$|\$\{([A-Z_]+)(?::-([^}]*)|:\+([^}]*))?\}")


def example() -> dict[str, str]:
    """Return the variables of .env.example and their values."""
    lines = (line for line in EXAMPLE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def substitute(value: Any, variables: dict[str, str]) -> Any:
    """Replace variables as compose does: an empty variable counts as unset, ``$$`` is one dollar."""
    if isinstance(value, dict):
        return {name: substitute(part, variables) for name, part in value.items()}
    if isinstance(value, list):
        return [substitute(part, variables) for part in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match[1] and match[3]:
            return match[3] if variables.get(match[1]) else ""
        return (variables.get(match[1]) or match[2] or "") if match[1] else "$"

    return VARIABLE.sub(replace, value)


COMPOSE = substitute(yaml.safe_load(FILE.read_text(encoding="utf-8")), example())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if service["image"].startswith("releve:"))
ONCE = sorted(name for name in OURS if SERVICES[name]["restart"] == "no")


def words(name: str) -> list[str]:
    """Return the words of a service's command."""
    command = SERVICES[name]["command"]
    return shlex.split(command) if isinstance(command, str) else list(command)


def environment(name: str) -> dict[str, str]:
    return {key: str(value) for key, value in SERVICES[name].get("environment", {}).items()}


def mounts(name: str) -> dict[str, str]:
    """Return the volume or folder by its path in the container, with ``:ro`` where it is read-only."""
    short = (volume for volume in SERVICES[name].get("volumes", []) if isinstance(volume, str))
    parts = (volume.split(":", 1) for volume in short)
    volumes = {}
    for source, rest in parts:
        target, _, mode = rest.partition(":")
        volumes[target] = f"{source}:{mode}" if mode else source
    return volumes
