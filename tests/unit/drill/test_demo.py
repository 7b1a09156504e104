"""What the demo prints can be typed and clicked as it stands, and Ctrl-C is answered (D10, D30)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from drill import demo as demo_module
from drill.demo import Demo, demo, write_environment
from drill.parts import shown_command

WEB = "http://127.0.0.1:55143"
LINK = f"{WEB}/invitation#invite_{'x' * 60}"
FOLDER = Path("/tmp/releve-demo-vrfkdxvn")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return `releve` of a virtual environment that is not on the PATH, in a folder where the shell is."""
    path = tmp_path / "checkout" / ".venv" / "bin" / "releve"
    path.parent.mkdir(parents=True)
    path.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(path.with_name("python3")))
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.chdir(tmp_path / "checkout")
    return path


def test_the_command_is_shown_as_this_shell_finds_it(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown_command() == ".venv/bin/releve"
    monkeypatch.chdir("/usr")
    assert shown_command() == str(program)
    monkeypatch.setenv("PATH", str(program.parent))
    assert shown_command() == "releve"


def test_another_installation_on_the_path_is_not_meant(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = program.parents[2] / "other" / "releve"
    other.parent.mkdir()
    other.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(other.parent))
    assert shown_command() == ".venv/bin/releve"
    program.unlink()
    assert shown_command() == f"{program.with_name('python3')} -m worker"


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def running_demo(console: Console, patch: pytest.MonkeyPatch) -> Demo:
    """Return a demo whose processes are none, and in whose terminal Ctrl-C is pressed at once."""
    inviter = SimpleNamespace(invite_account=lambda account_id, by: (None, LINK))
    access = SimpleNamespace(operators=SimpleNamespace(add=lambda name: name))
    for builder, part in {"sync": None, "consent": None, "inviter": inviter, "web": access}.items():
        patch.setattr(demo_module, f"build_{builder}", lambda *_, part=part: part)
    supervisor: Any = SimpleNamespace(wait=interrupt)
    stores: Any = None
    return Demo(FOLDER, stores, supervisor, "enedis-2026", "http://127.0.0.1:55511", WEB, console)


def test_d10_d30_the_lines_can_be_typed_and_no_address_is_cut(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_module, "free_port", lambda: 55512)
    monkeypatch.setattr(demo_module, "start_part", lambda *args, **options: None)
    monkeypatch.setattr(demo_module, "new_operator_link", lambda *args: f"{WEB}/operator/link#{'y' * 50}")
    out = StringIO()
    with pytest.raises(KeyboardInterrupt):
        running_demo(Console(file=out, width=80), monkeypatch).wait_for_interrupt()
    lines = out.getvalue().splitlines()
    line = f"set -a; . {FOLDER}/demo.env; set +a; .venv/bin/releve status"
    assert f"in another terminal, in this folder: {line}" in lines
    assert any("`.venv/bin/releve access link demo`" in line for line in lines)
    assert [line for line in lines if line.endswith(LINK)] and all(" " in line for line in lines)


def test_d19_a_command_in_another_terminal_prints_its_result_and_no_log(tmp_path: Path) -> None:
    file = tmp_path / "demo.env"
    write_environment(file, {"RELEVE_PRESET": "enedis-2026", "RELEVE_LOG_LEVEL": "INFO"})
    assert file.read_text(encoding="utf-8") == "RELEVE_PRESET='enedis-2026'\nRELEVE_LOG_LEVEL=''\n"


@pytest.mark.parametrize("moment", ["run", "wait_for_interrupt"])
def test_d30_ctrl_c_says_what_it_does_meanwhile(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = ([SimpleNamespace(ok=True)] * 3, SimpleNamespace(ok=True))
    steps = {"run": lambda: results, "show": lambda *_: None, "wait_for_interrupt": lambda: None, moment: interrupt}

    @contextmanager
    def start(*_: Any) -> Iterator[Any]:
        yield SimpleNamespace(**steps)
        click.echo("all has ended")

    monkeypatch.setattr(demo_module, "_start", start)
    result = CliRunner().invoke(demo, [], standalone_mode=False)
    lines = result.output.splitlines()
    assert lines == ["stopping the processes and removing the demo's data, about ten seconds", "all has ended"]
    assert result.return_value == {"run": 130, "wait_for_interrupt": 0}[moment]
