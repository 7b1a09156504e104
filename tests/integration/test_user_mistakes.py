"""D21, D22: a user's mistake is one line that says what to do, and never "a bug in Relève"."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import run_releve
from tests.support.installation import Installation
from tests.support.system import BIN
from tests.support.waiting import DEADLINE_S


@pytest.fixture
def a_file(tmp_path: Path) -> Path:
    """Return the path of a file that is no folder."""
    file = tmp_path / "file"
    file.touch()
    return file


@pytest.mark.parametrize("words", [("status",), ("accounts", "list"), ("backup", "out"), ("secrets", "rotate")])
@pytest.mark.parametrize("below", ["", "below", "far/below"])
def test_d21_a_file_in_the_place_of_the_data_folder_is_named(
    tmp_path: Path, a_file: Path, words: tuple[str, ...], below: str
) -> None:
    ended = run_releve(tmp_path, {"RELEVE_DATA_DIR": str(a_file / below)}, *words)
    assert ended.error_line == f"releve: RELEVE_DATA_DIR: {a_file} is a file: name a folder"
    assert ended.code == 2


def test_d21_so_is_one_in_the_path_of_the_ledger(tmp_path: Path, a_file: Path) -> None:
    env = {"RELEVE_DATA_DIR": str(tmp_path), "RELEVE_LEDGER_FILE": str(a_file / "ledger.ndjson")}
    assert f"RELEVE_LEDGER_FILE: {a_file} is a file" in run_releve(tmp_path, env, "status").error_line


def test_d21_the_doctor_says_it_and_lives(tmp_path: Path, a_file: Path) -> None:
    ended = run_releve(tmp_path, {"RELEVE_DATA_DIR": str(a_file / "below")}, "doctor")
    assert ended.out == f"FAIL settings    RELEVE_DATA_DIR: {a_file} is a file: name a folder\n"
    assert (ended.code, ended.err) == (1, "")


@pytest.mark.parametrize("words", [("status",), ("secrets", "add", "/proc/none/secrets")])
def test_d21_where_no_folder_can_be_made_the_system_says_why(tmp_path: Path, words: tuple[str, ...]) -> None:
    ended = run_releve(tmp_path, {"RELEVE_DATA_DIR": "/proc/none"}, *words)
    assert "/proc/none" in ended.error_line and "No such file or directory" in ended.error_line
    assert ended.code in (1, 2)


@pytest.mark.parametrize("command", ["web", "up", "simulate", "metrics"])
def test_d21_a_port_that_is_none_is_refused(tmp_path: Path, command: str) -> None:
    ended = run_releve(tmp_path, {"RELEVE_DATA_DIR": str(tmp_path)}, command, "--port", "99999")
    assert "99999 is not in the range" in ended.error_line
    assert ended.code == 2


@pytest.mark.parametrize("env", [{}, {"RELEVE_GATEWAY_URL": "http://127.0.0.1:9"}])
def test_up_in_a_folder_without_a_home_says_how_to_begin_one_or_a_service(tmp_path: Path, env: dict[str, str]) -> None:
    ended = run_releve(tmp_path, env, "up")
    for words in ("`cd`", "`releve home add`", "RELEVE_ENEDIS_CLIENT_ID and RELEVE_ENEDIS_CLIENT_SECRET"):
        assert words in ended.error_line
    assert ended.code == 2 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("status",), ("tenants",)])
def test_d22_every_command_names_a_mistyped_setting(installation: Installation, words: tuple[str, ...]) -> None:
    ended = installation.run(*words, cals_per_hour="5")
    assert ended.error_line == "releve: RELEVE_CALS_PER_HOUR is not a setting: did you mean RELEVE_CALLS_PER_HOUR?"
    assert ended.code == 0


def test_d22_the_doctor_fails_for_it(installation: Installation) -> None:
    ended = installation.run("doctor", cals_per_hour="5")
    assert "FAIL settings    RELEVE_CALS_PER_HOUR is not a setting: did you mean RELEVE_CALLS_PER_HOUR?" in ended.out
    assert (ended.code, ended.err) == (1, "")


@pytest.mark.parametrize(
    "words",
    [("worker",), *(pytest.param((name,), marks=pytest.mark.rest) for name in ("beat", "flower"))],
    ids=" ".join,
)
def test_d22_so_does_every_process_of_celery(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Each ends at once, for nobody listens where its broker should be."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RELEVE_")}
    mistyped = {
        "RELEVE_CALS_PER_HOUR": "5",
        "RELEVE_DATA_DIR": str(tmp_path / "data"),
        "RELEVE_REDIS_URL": "redis://127.0.0.1:1/0",
    }
    command = [str(BIN / "celery"), "-A", "worker", *words]
    if words == ("flower",):
        mistyped["RELEVE_FLOWER_PASSWORD"] = ""
        command += ["--port=-1"]
    completed = subprocess.run(
        command, env={**env, **mistyped}, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert (
        "RELEVE_CALS_PER_HOUR is not a setting: did you mean RELEVE_CALLS_PER_HOUR?"
        in completed.stdout + completed.stderr
    )
