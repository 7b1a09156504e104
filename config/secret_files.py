"""Secrets from files: the value of a setting from the file that ``RELEVE_<NAME>_FILE`` names.

Docker, Compose and Kubernetes provide secrets as files.  The source is not in ``config.settings``, so that
that file lists the settings and nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from pydantic_settings import PydanticBaseSettingsSource

UNREADABLE: Final[Any] = object()  # In place of a value whose file can't be read or is empty.


class SecretFileSource(PydanticBaseSettingsSource):
    """A source of settings for pydantic that reads the files; an unreadable one gives ``UNREADABLE``, for one error."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        path = os.environ.get(f"{self.config.get('env_prefix', '')}{field_name.upper()}_FILE")
        if not path:
            return None, field_name, False
        try:
            text = Path(path).read_text(encoding="utf-8").strip()
            # An empty file is an error: the setting must not fall back on a default unnoticed.
            return text or UNREADABLE, field_name, False
        except (OSError, UnicodeDecodeError):
            return UNREADABLE, field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {name: self.get_field_value(None, name)[0] for name in self.settings_cls.model_fields}
        return {name: value for name, value in values.items() if value}
