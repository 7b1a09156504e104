"""The file is the command: each command has a file of its name in worker/cli, and every other file is a helper."""

from __future__ import annotations

from importlib import import_module

import click
import pytest

from tests.support.pages import ROOT
from worker.cli.main import _COMMANDS

FILES = {file.stem for file in (ROOT / "worker" / "cli").glob("*.py")}
HELPERS = {
    "__init__",
    "common",
    "demo_homes",
    "main",
    "progress",
    "supervise",
    "totals_check",
    "window_commands",
}


@pytest.mark.parametrize("command", _COMMANDS)
def test_each_command_is_in_the_file_of_its_name(command: str) -> None:
    module, name = _COMMANDS[command]
    assert name == command.replace("-", "_")
    assert module == f"worker.cli.{name}"
    loaded = getattr(import_module(module), name)
    assert isinstance(loaded, click.Command)
    assert loaded.name == command


def test_every_other_file_is_a_helper() -> None:
    assert FILES - {command.replace("-", "_") for command in _COMMANDS} == HELPERS
