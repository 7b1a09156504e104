"""The help of the command line: groups, short lines, nothing imported for them, and the likely command for a typo."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.support.commands import run_releve
from worker.cli.gas_option import REFERENCE
from worker.cli.main import COMMANDS, GROUPS, cli

LONGEST_LINE = 58  # On 80 columns, beside the longest name.
HEAVY = ("celery", "fastapi", "pydantic", "redis", "requests", "rich", "sqlalchemy")


def groups(group: click.Group, context: click.Context) -> Iterator[tuple[click.Group, click.Context]]:
    yield group, context
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from groups(command, click.Context(command, info_name=name, parent=context))


def subcommands() -> Iterator[click.Command]:
    for group, context in groups(cli, click.Context(cli, info_name="releve", obj=REFERENCE)):
        if group is not cli:
            yield from (found for name in group.list_commands(context) if (found := group.get_command(context, name)))


def test_each_command_is_listed_once_and_each_line_is_whole() -> None:
    assert len(COMMANDS) == sum(map(len, GROUPS.values()))
    reached = {*subcommands(), *(listed.load(name) for name, listed in COMMANDS.items())}
    modules = {import_module(listed.module) for listed in COMMANDS.values()}
    found = {one for module in modules for one in vars(module).values() if isinstance(one, click.Command)}
    assert found <= reached, sorted(str(one.name) for one in found - reached)
    for name, listed in COMMANDS.items():
        assert len(listed.line) <= LONGEST_LINE and listed.line.endswith("."), name


def test_d14_each_subcommand_has_a_first_line_that_is_not_cut() -> None:
    lines = {command.name: command.get_short_help_str(LONGEST_LINE) for command in subcommands()}
    assert len(lines) > 20
    assert [line for line in lines.values() if line.endswith("...") or not line.endswith(".")] == []


def test_d14_releve_alone_prints_the_grouped_help_with_the_exit_code_of_a_misuse(tmp_path: Path) -> None:
    ended = run_releve(tmp_path, {})
    assert (ended.code, ended.out) == (2, "")
    lines = ended.err.splitlines()
    assert all(f"{title}:" in lines for title in GROUPS)
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines[1:] if line.endswith("...")]
    assert run_releve(tmp_path, {}, "--help").out == ended.err
    group = run_releve(tmp_path, {}, "accounts")
    assert group.code == 2 and "  pause " in group.err and len(group.err.splitlines()) > 10


@pytest.mark.parametrize("words", [[], ["--help"]], ids=str)
def test_d14_nothing_is_imported_for_a_first_line(words: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom worker.cli.main import main\n"
        f"sys.argv = ['releve', *{words!r}]\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    env = {"PYTHONPATH": str(Path(__file__).parents[3])}
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.stderr.splitlines()[-1] == "[]", ended.stderr


@pytest.mark.parametrize(
    "words, likely",
    [
        (("stauts",), "status"),
        (("accounts", "lst"), "list"),
        (("status", "--jsn"), "--json"),
        (("consent",), "consents"),
    ],
    ids=" ".join,
)
def test_d14_a_mistyped_command_or_option_gets_the_likely_one(
    words: tuple[str, ...], likely: str, tmp_path: Path
) -> None:
    ended = run_releve(tmp_path, {}, *words)
    assert ended.code == 2
    assert "Did you mean" in ended.error_line and f"'{likely}'" in ended.error_line


def test_d32_each_group_has_an_example_and_a_choice_of_account_is_in_brackets() -> None:
    for group, context in groups(cli, click.Context(cli, info_name="releve", obj=REFERENCE)):
        assert "Example" in (group.help or ""), context.command_path
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli, obj=REFERENCE), name)
        assert command is not None
        for parameter in command.params:
            if parameter.name == "account_id" and isinstance(parameter, click.Argument):
                assert parameter.metavar == ("ACCOUNT" if parameter.required else "[ACCOUNT]"), name


@pytest.mark.parametrize("shell", ["zsh", "fish"])  # Bash is asked for its version first, and may not be there.
def test_d32_the_shell_completes_commands_as_the_reference_says(shell: str) -> None:
    root = Path(__file__).parents[3]
    page = (root / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert f"_RELEVE_COMPLETE={shell}_source releve" in page and "_RELEVE_COMPLETE=bash_source releve" in page

    def complete(instruction: str) -> str:
        words = {"COMP_WORDS": "releve quar", "COMP_CWORD": "quar" if shell == "fish" else "1"}
        env = {"_RELEVE_COMPLETE": f"{shell}_{instruction}", **words}
        return CliRunner().invoke(cli, prog_name="releve", env=env).output

    assert f"_RELEVE_COMPLETE={shell}_complete" in complete("source")
    assert "quarantine" in complete("complete") and COMMANDS["quarantine"].line in complete("complete")


def test_d32_the_program_itself_answers_the_shell(tmp_path: Path) -> None:
    words = {"_RELEVE_COMPLETE": "zsh_complete", "COMP_WORDS": "releve quar", "COMP_CWORD": "1"}
    env = {"PYTHONPATH": str(Path(__file__).parents[3]), **words}
    argv = [sys.executable, "-m", "worker"]
    assert (
        "quarantine" in subprocess.run(argv, check=False, env=env, cwd=tmp_path, capture_output=True, text=True).stdout
    )
