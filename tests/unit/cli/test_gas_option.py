"""What the command line says of gas: all of it where gas is set up, nothing of it elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from config.settings import get_settings
from worker.cli.gas_option import REFERENCE
from worker.cli.main import cli
from worker.domain.series import of_supplier

WORDS = ("gas", "grdf", "pce")
OF_GAS = {("consents", "check"), ("consents", "proof")}
PRETENDING = {("demo",), ("simulate",)}  # They have gas wherever they run.


@pytest.fixture(autouse=True)
def fresh_settings() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each command that ``--help`` can be asked of."""
    yield path
    context = click.Context(group, obj=REFERENCE)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        elif command is not None and not command.hidden:
            yield (*path, name)


def help_of(*path: str) -> str:
    return CliRunner().invoke(cli, [*path, "--help"]).output


def test_without_gas_no_help_speaks_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELEVE_GRDF_CLIENT_ID", raising=False)
    paths = [path for path in commands(cli) if path not in (*PRETENDING, *OF_GAS)]
    said = {" ".join(path): words for path in paths if (words := words_of_gas(path))}
    assert said == {} and len(paths) > 50
    assert not any(f"  {name} " in help_of("consents") for _, name in OF_GAS)


def words_of_gas(path: tuple[str, ...]) -> list[str]:
    lines = [line for line in help_of(*path).lower().splitlines() if not line.strip().startswith("simulate ")]
    return [word for word in re.split(r"[^a-z]+", " ".join(lines)) if word in WORDS]


def test_with_gas_help_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEVE_GRDF_CLIENT_ID", "id")
    assert all(series.value in help_of("show") for series in of_supplier("grdf"))
    assert "--pce" in help_of("invite") and "--rights" in help_of("consents")
    assert all(f"  {name} " in help_of("consents") for _, name in OF_GAS)


def test_a_wrong_series_is_answered_with_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELEVE_GRDF_CLIENT_ID", raising=False)
    refused = CliRunner().invoke(cli, ["show", "a", "--series", "water"])
    assert "'contract'" in refused.output and "gas" not in refused.output
