"""The add-on's files are what Home Assistant's Supervisor takes, and its script starts a home.

Source of the schema: home-assistant/supervisor, supervisor/addons/validate.py (_SCHEMA_ADDON_CONFIG,
SCHEMA_ADDON_TRANSLATIONS) and options.py, read in November 2026; developers.home-assistant.io, "Add-on configuration"
and "Presenting your add-on". The Supervisor drops keys that it does not know; here they are errors.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tools.release.papers import write_app_repository
from worker.outputs.home_assistant import KIND
from worker.outputs.home_assistant_socket import OLDEST_VERSION
from worker.texts import LANGUAGES

ADDON = Path(__file__).parents[2] / "deploy" / "home-assistant"
CONFIG: dict[str, Any] = yaml.safe_load((ADDON / "config.yaml").read_text(encoding="utf-8"))
_VERSION = {"type": "string", "pattern": r"^\d+\.\d+\.\d+\w*$"}
_PORT = {"type": ["integer", "null"], "minimum": 1, "maximum": 65535}
_TEXT = {"type": "string", "minLength": 1}
_FLAG = {"type": "boolean"}
# The types of options; a question mark makes one optional.
_OPTION = (
    r"^(bool|email|url|port|device(\(.+\))?|match\(.+\)|list\(.+\)|(str|password|int|float)(\([-\d.]*,?[-\d.]*\))?)\??$"
)
SCHEMA = {
    "type": "object",
    "required": ["name", "version", "slug", "description", "arch"],
    "additionalProperties": False,
    "properties": {
        "name": _TEXT,
        "version": _VERSION,
        "slug": {"type": "string", "pattern": r"^[-_.A-Za-z0-9]+$"},
        "description": _TEXT,
        "arch": {"type": "array", "minItems": 1, "items": {"enum": ["aarch64", "amd64"]}},
        "url": {"type": "string", "format": "uri"},
        "startup": {"enum": ["initialize", "system", "services", "application", "once"]},
        "boot": {"enum": ["auto", "manual", "manual_only"]},
        "init": _FLAG,
        "stage": {"enum": ["stable", "experimental", "deprecated"]},
        "homeassistant": _VERSION,
        "homeassistant_api": _FLAG,
        "hassio_api": _FLAG,
        "webui": {"type": "string", "pattern": r"^(?:https?|\[PROTO:\w+\]):\/\/\[HOST\]:\[PORT:\d+\].*$"},
        "watchdog": {
            "type": "string",
            "pattern": r"^(?:https?|\[PROTO:\w+\]|tcp):\/\/\[HOST\]:(\[PORT:\d+\]|\d+).*$",
        },
        "ports": {
            "type": "object",
            "patternProperties": {r"^\d+(/tcp|/udp)?$": _PORT},
            "additionalProperties": False,
        },
        "ports_description": {
            "type": "object",
            "patternProperties": {r"^\d+(/tcp|/udp)?$": _TEXT},
            "additionalProperties": False,
        },
        "map": {
            "type": "array",
            "items": {
                "type": "string",
                "pattern": r"^(data|config|ssl|addons|backup|share|media|homeassistant_config|all_addon_configs"
                r"|addon_config)(?::(rw|ro))?$",
            },
        },
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "backup": {"enum": ["hot", "cold"]},
        "backup_exclude": {"type": "array", "items": _TEXT},
        "timeout": {"type": "integer", "minimum": 10, "maximum": 300},
        "options": {"type": "object"},
        "schema": {"type": "object", "additionalProperties": {"type": "string", "pattern": _OPTION}},
        "image": _TEXT,
    },
}
TRANSLATION = {
    "type": "object",
    "required": ["configuration", "network"],
    "additionalProperties": False,
    "properties": {
        "configuration": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["name", "description"],
                "additionalProperties": False,
                "properties": {"name": _TEXT, "description": _TEXT},
            },
        },
        "network": {"type": "object", "additionalProperties": _TEXT},
    },
}


def test_the_supervisor_takes_the_configuration() -> None:
    jsonschema.validate(CONFIG, SCHEMA)


def test_a_release_is_an_app_that_the_supervisor_takes_and_pulls(tmp_path: Path) -> None:
    write_app_repository(ADDON, "registry.example/us/releve-app", "the changes", tmp_path)
    app = tmp_path / "releve"
    config = yaml.safe_load((app / "config.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(config, SCHEMA)
    assert config == {**CONFIG, "image": "registry.example/us/releve-app"}
    assert yaml.safe_load((tmp_path / "repository.yaml").read_text(encoding="utf-8")) == {"name": "Relève"}
    # A Dockerfile would let the Supervisor build another image than the one that was released.
    files = {path.relative_to(app).as_posix() for path in app.rglob("*") if path.is_file()}
    own = {path.relative_to(ADDON).as_posix() for path in ADDON.rglob("*") if path.is_file()}
    assert files == own - {"Dockerfile", "run.sh"} | {"CHANGELOG.md"}
    assert (app / "CHANGELOG.md").read_text(encoding="utf-8") == "the changes"
    introduction = (app / "README.md").read_text(encoding="utf-8")
    assert introduction.startswith("# Relève") and "docker" not in introduction


def test_what_the_supervisor_refuses_is_refused_here() -> None:
    for wrong in ({"arch": []}, {"startup": "later"}, {"ports": {"web": 1}}, {"schema": {"a": "text"}}, {"x": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**CONFIG, **wrong}, SCHEMA)


def test_the_oldest_home_assistant_is_that_of_the_output_and_the_architectures_are_labelled() -> None:
    assert CONFIG["homeassistant"] == ".".join(map(str, (*OLDEST_VERSION, 0)))
    dockerfile = (ADDON / "Dockerfile").read_text(encoding="utf-8")
    assert f'io.hass.arch="{"|".join(CONFIG["arch"])}"' in dockerfile


def test_defaults_are_of_options_that_there_are_and_the_token_is_no_readable_text() -> None:
    schema = CONFIG["schema"]
    assert set(CONFIG["options"]) <= set(schema)
    assert {name for name, kind in schema.items() if not kind.endswith("?")} <= set(CONFIG["options"])
    assert schema["token"] == "password?"
    assert schema["language"] == f"list({'|'.join(LANGUAGES)})"


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_option_has_a_text_in_each_language(language: str) -> None:
    texts = yaml.safe_load((ADDON / "translations" / f"{language}.yaml").read_text(encoding="utf-8"))

    jsonschema.validate(texts, TRANSLATION)
    assert list(texts["configuration"]) == list(CONFIG["schema"])
    assert list(texts["network"]) == list(CONFIG["ports"]) == list(CONFIG["ports_description"])


@pytest.mark.parametrize(("name", "size"), [("icon.png", (128, 128)), ("logo.png", (250, 100))])
def test_pictures_have_the_sizes_that_home_assistant_shows(name: str, size: tuple[int, int]) -> None:
    content = (ADDON / name).read_bytes()
    assert content.startswith(b"\x89PNG\r\n")
    assert struct.unpack(">II", content[16:24]) == size


def start(data: Path, options: dict[str, Any], listed: str = "") -> list[str]:
    """Run the script over programs that note how they are called, and return these notes."""
    programs, notes = data / "programs", data / "notes"
    programs.mkdir(exist_ok=True)
    notes.write_text("")
    note = f'echo "$(basename "$0") $*" >> {notes}'
    (data / "listed").write_text(listed)
    scripts = {
        "releve": f"""{note}
case "$*" in
  "outputs list"*) cat {data}/listed;;
  up*) echo "$RELEVE_RTE_CLIENT_ID:$RELEVE_RTE_CLIENT_SECRET" > {data}/application;;
  "home add"*) sed "s/^/read /" >> {notes}; exit "${{HOME_ADD_RESULT:-0}}";;
esac""",
        "setpriv": f'{note}\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"',
        "chown": note,
    }
    for name, body in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    (data / "options.json").write_text(json.dumps(options))
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "ADDON_DATA": str(data), "SUPERVISOR_TOKEN": "of-this-start"}
    env |= {name: value for name, value in os.environ.items() if name == "HOME_ADD_RESULT"}
    subprocess.run(["/bin/sh", str(ADDON / "run.sh")], env=env, check=True, timeout=60, stdin=subprocess.DEVNULL)
    return [line for line in notes.read_text().splitlines() if not line.startswith("setpriv")]


ADDED = f"releve outputs add {KIND.name} --no-check --url ws://supervisor/core/websocket --option language=fr"


def test_the_first_start_adds_the_meter_makes_the_password_and_the_output(tmp_path: Path) -> None:
    notes = start(tmp_path, {"language": "fr", "token": "gateway-token", "new_password": False})

    assert notes == [
        f"chown -R 10001:10001 {tmp_path}/releve",
        "releve migrate",
        "releve home add --token -",
        "read gateway-token",
        "releve home password",
        "releve outputs list --json",
        ADDED,
        "releve up --no-log-files --host 0.0.0.0",
    ]
    assert not any("gateway-token" in note or "of-this-start" in note for note in notes if note.startswith("releve"))


def test_a_later_start_makes_nothing_twice(tmp_path: Path) -> None:
    start(tmp_path, {"language": "fr", "new_password": False})
    listed = json.dumps({"id": "5f0c", "kind": KIND.name})

    notes = start(tmp_path, {"language": "fr", "new_password": False}, listed)

    assert notes[1:] == ["releve migrate", "releve outputs list --json", "releve up --no-log-files --host 0.0.0.0"]
    assert "releve home password" in start(tmp_path, {"language": "fr", "new_password": True}, listed)


def test_the_application_at_rte_is_passed_on_in_the_environment(tmp_path: Path) -> None:
    notes = start(tmp_path, {"language": "fr", "rte_client_id": "our-id", "rte_client_secret": "s3cret"})
    assert (tmp_path / "application").read_text() == "our-id:s3cret\n" and "s3cret" not in str(notes)
    assert CONFIG["schema"]["rte_client_secret"] == "password?"


def test_a_wrong_token_does_not_keep_the_pages_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME_ADD_RESULT", "1")

    assert start(tmp_path, {"language": "fr", "token": "no token"})[-1] == "releve up --no-log-files --host 0.0.0.0"


def test_everything_runs_as_the_user_of_the_image(tmp_path: Path) -> None:
    start(tmp_path, {"language": "fr"})

    notes = (tmp_path / "notes").read_text().splitlines()
    drops = [note for note in notes if note.startswith("setpriv --reuid=10001 --regid=10001 --clear-groups -- releve")]
    assert len(drops) == len([note for note in notes if note.startswith("releve")])
    image = (ADDON.parents[1] / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"--uid 10001 --gid 10001", image)
