"""`make digests` prints what the registry names and never a digest of its own making (L14)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.image_digests import NoDigest, digest, images, to_lines
from tools.lock_files import ROOT

DIGEST = "sha256:" + "ab" * 32


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is the only place where programs are found."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_every_image_of_the_compose_file_can_be_named_by_digest() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    ours = {"releve:${RELEVE_VERSION:-latest}"}
    assert set(re.findall(r"^ +image: (.+)$", compose, re.MULTILINE)) - ours == {
        f"${{{variable}:-{image}}}" for variable, image in images().items() if variable != "BASE_IMAGE"
    }
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    base = re.search(r"^ARG BASE=(\S+)$", dockerfile, re.MULTILINE)
    assert base and images()["BASE_IMAGE"] == base[1]
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) == ["${BASE}"] * 2
    assert "# syntax=" not in dockerfile, "it would fetch one more image by tag"


def test_no_digest_stands_in_the_files() -> None:
    """One that was written down here would be of a day long ago, or invented."""
    for name in ("Dockerfile", "docker-compose.yml", ".env.example"):
        assert not re.search(r"sha256:[0-9a-f]{8}", (ROOT / name).read_text(encoding="utf-8"))


def test_the_lines_are_what_docker_says_with_the_tag_beside(programs: Path) -> None:
    program(programs, "docker", f'echo "$*" >>"{programs}/asked"; echo \'"{DIGEST}"\'')
    lines = to_lines()
    assert f"# redis:8.2\nREDIS_IMAGE=redis@{DIGEST}" in lines
    assert f"# prom/prometheus:v3.5.0\nPROMETHEUS_IMAGE=prom/prometheus@{DIGEST}" in lines
    asked = (programs / "asked").read_text(encoding="utf-8").splitlines()
    assert asked == [
        f"buildx imagetools inspect --format {{{{json .Manifest.Digest}}}} {image}" for image in images().values()
    ]


@pytest.mark.parametrize(
    ("image", "asked"),
    [("redis:8.2", "docker://redis:8.2"), ("prom/x:v1", "docker://prom/x:v1")],
)
def test_without_docker_skopeo_is_asked(programs: Path, image: str, asked: str) -> None:
    program(programs, "skopeo", f'[ "$5" = {asked} ] && echo {DIGEST}')
    assert digest(image) == DIGEST


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo first >&2; echo 'no such host' >&2; exit 1", "docker got no digest of redis:8.2: no such host"),
        ("echo latest", "docker got no digest of redis:8.2: latest"),
        ("true", "docker got no digest of redis:8.2: no answer"),
        (f"echo {DIGEST}; exit 1", f"docker got no digest of redis:8.2: {DIGEST}"),
    ],
)
def test_without_an_answer_there_is_one_line_and_no_digest(programs: Path, script: str, reason: str) -> None:
    program(programs, "docker", script)
    with pytest.raises(NoDigest) as caught:
        digest("redis:8.2")
    assert str(caught.value) == reason


def test_without_a_program_the_line_says_what_to_install(programs: Path) -> None:
    with pytest.raises(NoDigest, match=r"docker .* or skopeo: install one of them"):
        digest("redis:8.2")
