"""Generate docs/reference/settings.md: ``python -m tools.settings_reference > docs/reference/settings.md``."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr

from config.settings import PREFIX, Settings
from config.unknown_settings import REMOVED

_HEAD = """# Settings

Made from `config/settings.py` by `python -m tools.settings_reference`; `make lint` checks it.

Values come from the environment or from a `.env` file in the working folder. For secrets, `RELEVE_<NAME>_FILE` can
name a file that holds the value. An empty variable counts as unset. All errors are reported at once, one line each.

An unknown `RELEVE_` variable has no effect. At its start, each command and process prints the variable's name and the
setting that you probably meant; `releve doctor` fails.

| variable | default | meaning |
| --- | --- | --- |
"""


_GONE = """
## Renamed and removed settings

These settings have no effect any more. Each command and process says so at its start, and `releve doctor` warns.

| variable | instead |
| --- | --- |
"""


def _read_meanings() -> dict[str, str]:
    """Return the text that stands below each field; read here, so that no process takes the time at its start."""
    (settings,) = ast.parse(inspect.getsource(Settings)).body
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairwise(settings.body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


_MEANINGS = _read_meanings()


def to_markdown() -> str:
    """Return the whole page."""
    settings = "".join(_row(name, field) for name, field in Settings.model_fields.items())
    return _HEAD + settings + _GONE + "".join(f"| `{name}` | {instead} |\n" for name, instead in REMOVED.items())


def _row(name: str, field: Any) -> str:
    choices = f" One of {', '.join(_choices(field.annotation))}." if _choices(field.annotation) else ""
    return f"| `{PREFIX}{name.upper()}` | {_default(field.default)} | {meaning_of(name)}{choices} |\n"


def meaning_of(name: str) -> str:
    """Return what a setting is for."""
    return Settings.model_fields[name].description or _MEANINGS[name]


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
