"""What pydantic-settings finds out about each field, kept: a new Settings then takes 1 ms instead of 7."""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings.sources.base import PydanticBaseEnvSettingsSource
from pydantic_settings.sources.providers.env import EnvSettingsSource


def keep_field_facts() -> None:
    """Find them out once a process, from now on; there is one class of settings."""
    extract, is_complex = PydanticBaseEnvSettingsSource._extract_field_info, EnvSettingsSource._field_is_complex
    extracted: dict[tuple[type, int, str], Any] = {}
    kinds: dict[int, Any] = {}

    def kept_info(source: PydanticBaseEnvSettingsSource, field: FieldInfo, name: str) -> Any:
        key = type(source), id(field), name
        if key not in extracted:
            extracted[key] = extract(source, field, name)
        return extracted[key]

    def kept_kind(source: EnvSettingsSource, field: FieldInfo) -> Any:
        if id(field) not in kinds:
            kinds[id(field)] = is_complex(source, field)
        return kinds[id(field)]

    PydanticBaseEnvSettingsSource._extract_field_info = kept_info  # type: ignore[method-assign]
    EnvSettingsSource._field_is_complex = kept_kind  # type: ignore[method-assign]
