"""Images of all architectures become one OCI archive, and what can't be built is said.

The programs that build are played by scripts; their images come from `layout`, as the OCI image specification has it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tools.release.checks import ReleaseRefused
from tools.release.images import Builder, build_images, find_builder, write_archive

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def blob(layout: Path, content: bytes, media_type: str) -> dict[str, Any]:
    """Write a blob into the layout and return its descriptor."""
    digest = hashlib.sha256(content).hexdigest()
    (layout / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    (layout / "blobs" / "sha256" / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def layout(folder: Path, text: str, *, in_an_index: bool = False) -> Path:
    """Write a layout with one image, which Docker puts into an index of its own."""
    found = blob(folder, json.dumps({"layers": text}).encode(), MANIFEST) | {"annotations": {"by": "the builder"}}
    if in_an_index:
        found = blob(folder, json.dumps({"manifests": [found]}).encode(), INDEX)
    (folder / "index.json").write_text(json.dumps({"manifests": [found]}))
    return folder


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for programs, the only place where programs are found."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_an_archive_names_each_architecture_and_contains_what_it_names(tmp_path: Path) -> None:
    layouts = {"amd64": layout(tmp_path / "a", "a"), "arm64": layout(tmp_path / "b", "b", in_an_index=True)}
    digest = write_archive(layouts, "releve:1.2.3", tmp_path / "x.oci.tar")
    with tarfile.open(tmp_path / "x.oci.tar") as archive:
        files = {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (top,) = json.loads(files["index.json"])["manifests"]
    assert (top["digest"], top["mediaType"]) == (digest, INDEX)
    assert top["annotations"] == {"org.opencontainers.image.ref.name": "releve:1.2.3"}
    index = json.loads(files[f"blobs/{digest.replace(':', '/')}"])
    assert [image["platform"] for image in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux"},
    ]
    for image, text in zip(index["manifests"], "ab", strict=True):
        content = files[f"blobs/{image['digest'].replace(':', '/')}"]
        assert json.loads(content) == {"layers": text} and image["size"] == len(content)
        assert image.keys() == {"mediaType", "digest", "size", "platform"}
    for path, content in files.items():
        if path.startswith("blobs/"):
            assert path == f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"


def test_the_same_images_make_the_same_archive(tmp_path: Path) -> None:
    layouts = {"amd64": layout(tmp_path / "a", "a")}
    files = [tmp_path / "1.tar", tmp_path / "2.tar"]
    assert write_archive(layouts, "releve:1", files[0]) == write_archive(layouts, "releve:1", files[1])
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_layout_with_two_images_is_refused(tmp_path: Path) -> None:
    two = json.dumps({"manifests": [{"mediaType": MANIFEST}] * 2})
    (layout(tmp_path / "a", "a") / "index.json").write_text(two)
    with pytest.raises(ReleaseRefused, match="2 images instead of one"):
        write_archive({"amd64": tmp_path / "a"}, "releve:1", tmp_path / "x.tar")


@pytest.mark.parametrize(
    ("machine", "emulated", "usable", "lacking"),
    [
        ("x86_64", "enabled", ("amd64", "arm64"), []),
        ("x86_64", "disabled", ("amd64",), ["arm64"]),
        ("aarch64", None, ("arm64",), ["amd64"]),
    ],
)
def test_the_other_architecture_needs_an_emulator(
    programs: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    emulated: str | None,
    usable: tuple[str, ...],
    lacking: list[str],
) -> None:
    program(programs, "podman", "exit 1")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    if emulated:
        (programs / "qemu-aarch64").write_text(f"{emulated}\ninterpreter /usr/bin/qemu-aarch64-static\n")
    builder, lines = find_builder(programs)
    assert builder == Builder("podman", usable)
    assert [line.split(":")[0] for line in lines] == [f"no image for {name}" for name in lacking]


def test_docker_is_asked_for_what_it_can_build(programs: Path) -> None:
    program(programs, "docker", "echo 'Platforms: linux/amd64, linux/386'")
    builder, lines = find_builder()
    assert builder == Builder("docker", ("amd64",)) and len(lines) == 1
    program(programs, "docker", "echo 'no daemon' >&2; exit 1")
    assert find_builder() == (None, ["no images: docker buildx inspect: no daemon"])


def test_without_a_program_there_is_a_line_and_no_image(programs: Path) -> None:
    assert find_builder() == (None, ["no images: install buildah, podman, or docker with buildx"])


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "deploy" / "home-assistant").mkdir(parents=True)
    return folder


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines()


def test_buildah_builds_the_app_on_the_image_of_the_same_architecture(sources: Path, programs: Path) -> None:
    program(programs, "buildah", f'echo "$*" >>{programs}/asked')
    layouts = build_images(Builder("buildah", ("amd64", "arm64")), sources, "1.2.3", "abc", ["--network=host"])
    folder, app = sources.parent / "layouts", sources / "deploy" / "home-assistant"
    assert layouts == {
        name: {kind: folder / f"{name}-{kind}" for kind in ("amd64", "arm64")} for name in ("releve", "releve-app")
    }
    assert asked(programs) == [
        line
        for kind in ("amd64", "arm64")
        for line in (
            f"build --platform linux/{kind} --network=host --build-arg SOURCE_COMMIT=abc"
            f" --tag localhost/releve:1.2.3-{kind} {sources}",
            f"push localhost/releve:1.2.3-{kind} oci:{folder}/releve-{kind}:{kind}",
            f"build --platform linux/{kind} --network=host --build-arg RELEVE_IMAGE=localhost/releve:1.2.3-{kind}"
            f" --tag localhost/releve-app:1.2.3-{kind} {app}",
            f"push localhost/releve-app:1.2.3-{kind} oci:{folder}/releve-app-{kind}:{kind}",
        )
    ]


def test_docker_builds_the_app_on_the_layout_of_the_image(sources: Path, programs: Path, tmp_path: Path) -> None:
    program(programs, "docker", f'echo "$*" >>{programs}/asked')
    made = layout(tmp_path / "layouts" / "releve-amd64", "a")
    digest = json.loads((made / "index.json").read_text())["manifests"][0]["digest"]
    build_images(Builder("docker", ("amd64",)), sources, "1.2.3", "abc", [])
    output = f"--provenance=false --output type=oci,tar=false,dest={made.parent}"
    assert asked(programs) == [
        f"buildx build --platform linux/amd64 --build-arg SOURCE_COMMIT=abc {output}/releve-amd64 {sources}",
        f"buildx build --platform linux/amd64 --build-context releve=oci-layout://{made}@{digest}"
        f" --build-arg RELEVE_IMAGE=releve {output}/releve-app-amd64 {sources}/deploy/home-assistant",
    ]


def test_a_build_that_fails_refuses_the_release_with_its_last_lines(sources: Path, programs: Path) -> None:
    program(programs, "buildah", "echo 'no such base' >&2; exit 125")
    with pytest.raises(
        ReleaseRefused, match=r"(?s)^buildah build --platform linux/amd64 … ended with 125:\nno such base"
    ):
        build_images(Builder("buildah", ("amd64",)), sources, "1.2.3", "abc", [])
