"""The CI files suit the schemas of GitHub and GitLab, run the same jobs, and publish nothing but tags.

The schemas are those that check-jsonschema contains; no network is asked.
"""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.lock_files import ROOT

GITHUB, GITLAB = ROOT / ".github" / "workflows" / "ci.yml", ROOT / ".gitlab-ci.yml"
WORKFLOW: dict[str, Any] = yaml.safe_load(GITHUB.read_text(encoding="utf-8"))
JOBS: dict[str, Any] = WORKFLOW["jobs"]
PIPELINE: dict[str, Any] = yaml.safe_load(GITLAB.read_text(encoding="utf-8"))
SCHEMAS = {GITHUB: ("vendor.github-workflows",), GITLAB: ("vendor.gitlab-ci", "--data-transform", "gitlab-ci")}
NOT_SUPPORTED_YET = "3.14"


def complaints(file: Path, schema: tuple[str, ...]) -> str:
    """Return what the schema refuses in a file; empty if it suits."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", *schema, str(file)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode in (0, 1), answer.stderr
    return answer.stdout if answer.returncode else ""


@pytest.mark.parametrize("file", SCHEMAS, ids=["github", "gitlab"])
def test_each_file_suits_its_schema_which_refuses_a_wrong_key(file: Path, tmp_path: Path) -> None:
    assert complaints(file, SCHEMAS[file]) == ""
    wrong = tmp_path / file.name
    wrong.write_text(re.sub(r"^( +)(runs-on|script): ", r"\1scripts: ", file.read_text("utf-8"), flags=re.MULTILINE))
    assert "scripts" in complaints(wrong, SCHEMAS[file])


def test_an_action_of_others_is_named_by_its_whole_commit() -> None:
    used = [step["uses"] for job in JOBS.values() for step in job["steps"] if "uses" in step]
    assert [name for name in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name)] == []


def test_only_the_job_for_tags_may_write_and_knows_secrets() -> None:
    assert WORKFLOW["permissions"] == {}
    assert JOBS["release"]["if"] == "github.ref_type == 'tag'" and JOBS["release"]["needs"] == [
        "lint",
        "python",
        "test",
    ]
    for name, job in JOBS.items():
        if name != "release":
            assert job["permissions"] == {"contents": "read"} and "secrets." not in str(job)
    assert [step["name"] for step in JOBS["release"]["steps"] if "secrets." in str(step)] == [
        "Publish what the variable PUBLISH lists, such as “package images page”"
    ]
    assert PIPELINE["release"]["rules"] == [{"if": "$CI_COMMIT_TAG"}]
    assert [name for name, job in PIPELINE.items() if "PUBLISH" in str(job)] == ["release"]


def test_no_text_of_others_becomes_part_of_a_command() -> None:
    """A branch's name in a command would be run; texts come by variables of the environment."""
    commands = [step["run"] for job in JOBS.values() for step in job["steps"]]
    assert [command for command in commands if "${{" in command] == []


def test_the_pythons_are_those_of_the_classifiers_and_the_next_which_stops_nothing() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    supported = re.findall(r"Python :: (3\.\d+)", setup["metadata"]["classifiers"])
    job = JOBS["python"]
    assert job["strategy"]["matrix"]["version"] == [*supported, NOT_SUPPORTED_YET]
    assert job["continue-on-error"] == "${{ matrix.version == '3.14' }}"
    (matrix,) = PIPELINE["python"]["parallel"]["matrix"]
    assert matrix == {"VERSION_OF_PYTHON": supported}
    assert PIPELINE[f"python {NOT_SUPPORTED_YET}"]["allow_failure"] is True
    others = re.search(r"OTHER_PYTHONS-([\d. ]+)}", (ROOT / "tests" / "other_pythons.sh").read_text(encoding="utf-8"))
    assert others and others[1].split() == supported
