"""The SBOM holds what is installed, each package at its version, and nothing else (L14).

The tool is that of `make sbom` and of the image.  It stands apart from what it lists; `make test-rest` installs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path
from shutil import copytree

import pytest
from packaging.utils import canonicalize_name

from tests.support.missing import skip
from tools.lock_files import FOLDER, ROOT, read_lock

pytestmark = pytest.mark.rest

TOOL = Path(sys.prefix, "tools", "bin", "cyclonedx-py")
LIST = "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}

Packages = set[tuple[str, str]]


def listed(folder: Path, python: str, *options: str) -> Packages:
    """Return the names and versions in the SBOM of an environment."""
    if not TOOL.exists():
        skip("cyclonedx-py is not here: make test-rest installs it")
    file = folder / "sbom.cdx.json"
    command = [TOOL, "environment", "--output-reproducible", "--output-file", file, *options, python]
    subprocess.run(command, cwd=folder, env=ENVIRONMENT, check=True)
    sbom = json.loads(file.read_text(encoding="utf-8"))
    assert sbom["bomFormat"] == "CycloneDX"
    return {(canonicalize_name(part["name"]), part["version"]) for part in sbom["components"]}


def installed(folder: Path, python: str) -> Packages:
    """Return what Python itself says of an environment."""
    answer = subprocess.run(
        [python, "-c", LIST], cwd=folder, env=ENVIRONMENT, check=True, capture_output=True, text=True
    )
    pairs = (line.split() for line in answer.stdout.splitlines())
    return {(canonicalize_name(name), version) for name, version in pairs}


def locked() -> Packages:
    packages = read_lock(FOLDER / "run.lock")
    return {(canonicalize_name(package.name), package.version) for package in packages if package.installed_here}


def test_the_sbom_of_this_environment_is_what_is_installed_here(tmp_path: Path) -> None:
    packages = listed(tmp_path, sys.executable, "--no-validate")
    assert packages == installed(tmp_path, sys.executable)
    assert locked() <= packages, "what is locked isn't what is installed: make test-rest installs it"
    assert "releve" in {name for name, _ in packages}


def test_the_sbom_of_an_image_is_the_lock_of_what_runs(tmp_path: Path) -> None:
    """Metadata alone makes the image's environment: the packages that run, and neither pip nor the tool itself."""
    venv.create(tmp_path / "image", with_pip=False, symlinks=True)
    packages = next((tmp_path / "image").glob("lib/python*/site-packages"))
    for name, _ in locked():
        files = distribution(name).files or []
        metadata = next(Path(str(file.locate())).parent for file in files if file.name == "METADATA")
        copytree(metadata, packages / metadata.name)
    assert listed(tmp_path, str(tmp_path / "image" / "bin" / "python")) == locked()


def test_the_image_keeps_the_sbom_of_the_very_folder_that_it_runs() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    made = next(line for line in lines if "cyclonedx-py environment" in line)
    assert made.split()[-3:] == ["-o", "/usr/share/releve/sbom.cdx.json", "/opt/releve/bin/python"]
    assert {
        "COPY --from=build /opt/releve /opt/releve",
        "COPY --from=build /usr/share/releve /usr/share/releve",
    } <= set(lines)
    runs = "\n".join(lines).rpartition("\nFROM ")[2]
    assert "PATH=/opt/releve/bin:$PATH" in runs and "pip" not in runs
