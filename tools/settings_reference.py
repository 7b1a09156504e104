"""Generate docs/reference/settings.md: ``python -m tools.settings_reference > docs/reference/settings.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr

from config.settings import PREFIX, Settings
from config.unknown_settings import REMOVED, GoneSetting

_HEAD = """# Settings

Made from `config/settings.py` by `python -m tools.settings_reference`; a test keeps this page in step.

Values come from the environment, from a `.env` file in the working folder, and for secrets from the file that
`RELEVE_<NAME>_FILE` names. An empty variable counts as unset. All faults are reported at once, one line each.
A `RELEVE_` variable that is no setting does nothing: each command and process names it at its start with the setting it
is likely meant for, and `releve doctor` fails for it.

| variable | default | what it does |
| --- | --- | --- |
"""


_GONE = """
## Renamed and removed settings

They do nothing any more: each command and process says so at its start, and `releve doctor` warns.

| variable | gone since | instead |
| --- | --- | --- |
"""


def to_markdown() -> str:
    """Return the whole page."""
    settings = "".join(_row(name, field) for name, field in Settings.model_fields.items())
    return _HEAD + settings + _GONE + "".join(_gone_row(name, gone) for name, gone in REMOVED.items())


def _gone_row(name: str, gone: GoneSetting) -> str:
    return f"| `{name}` | {gone.version} | {gone.instead} |\n"


def _row(name: str, field: Any) -> str:
    choices = f" One of {', '.join(_choices(field.annotation))}." if _choices(field.annotation) else ""
    return f"| `{PREFIX}{name.upper()}` | {_default(field.default)} | {field.description}{choices} |\n"


def _choices(annotation: Any) -> list[str]:
    return [f"`{choice}`" for choice in get_args(annotation)] if get_origin(annotation) is Literal else []


def _default(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, SecretStr):
        return f"`{value.get_secret_value()}`"  # The default is the simulator's, which opens nothing else.
    return f"`{value.as_posix() if isinstance(value, Path) else value}`"


if __name__ == "__main__":
    print(to_markdown(), end="")  # noqa: T201
