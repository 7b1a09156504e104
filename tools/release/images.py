"""Images of Relève and of the app for Home Assistant, each one file for all architectures.

A file is an OCI archive: a tar of an OCI image layout, whose index names the image of each architecture. So the digest
is known before anything is pushed. Sources: OCI image specification 1.1, image-layout.md and image-index.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tools.release.checks import ReleaseRefused
from tools.release.package import run

_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_EMULATORS: Final = {"amd64": "qemu-x86_64", "arm64": "qemu-aarch64"}
_BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_LATER: Final = "install qemu-user-static, or build on a computer of that kind"


@dataclass(frozen=True)
class Builder:
    """A program that builds images, and the architectures for which it can."""

    program: str
    architectures: tuple[str, ...]


def find_builder(binfmt: Path = _BINFMT) -> tuple[Builder | None, list[str]]:
    """Return the program to use, if any, and a line for each thing that is lacking."""
    program = next((name for name in ("buildah", "podman", "docker") if shutil.which(name)), None)
    if program is None:
        return None, ["no images: install buildah, podman, or docker with buildx"]
    if program == "docker":
        answer = subprocess.run(["docker", "buildx", "inspect"], capture_output=True, text=True, check=False)
        if answer.returncode:
            reason = (answer.stderr.strip() or "no answer").splitlines()[-1]
            return None, [f"no images: docker buildx inspect: {reason}"]
        usable = tuple(name for name in _EMULATORS if f"linux/{name}" in answer.stdout)
    else:
        own = _MACHINES.get(platform.machine())
        usable = tuple(name for name in _EMULATORS if name == own or _emulates(binfmt / _EMULATORS[name]))
    lacking = [f"no image for {name}: {_LATER}" for name in _EMULATORS if name not in usable]
    return Builder(program, usable), lacking


def _emulates(entry: Path) -> bool:
    return entry.exists() and entry.read_text(encoding="utf-8").startswith("enabled")


def build_images(
    builder: Builder, sources: Path, version: str, commit: str, options: Sequence[str]
) -> dict[str, dict[str, Path]]:
    """Build both images and return their layouts, by image (`releve`, `releve-app`) and architecture."""
    layouts: dict[str, dict[str, Path]] = {"releve": {}, "releve-app": {}}
    for name in builder.architectures:
        own, app = (sources.parent / "layouts" / f"{image}-{name}" for image in layouts)
        arguments = [f"SOURCE_COMMIT={commit}"]
        _build(builder.program, name, f"releve:{version}-{name}", sources, own, [*options, *_arguments(arguments)])
        if builder.program == "docker":  # Its builder sees no image of the host, only layouts.
            base = f"oci-layout://{own}@{_manifest(own)['digest']}"
            more = ["--build-context", f"releve={base}", *_arguments(["RELEVE_IMAGE=releve"])]
        else:
            more = _arguments([f"RELEVE_IMAGE=localhost/releve:{version}-{name}"])
        folder = sources / "deploy" / "home-assistant"
        _build(builder.program, name, f"releve-app:{version}-{name}", folder, app, [*options, *more])
        layouts["releve"][name], layouts["releve-app"][name] = own, app
    return layouts


def _arguments(values: Sequence[str]) -> list[str]:
    return [word for value in values for word in ("--build-arg", value)]


def _build(program: str, architecture: str, tag: str, folder: Path, layout: Path, options: Sequence[str]) -> None:
    layout.parent.mkdir(exist_ok=True)
    where = ["--platform", f"linux/{architecture}"]
    if program == "docker":
        output = ["--provenance=false", "--output", f"type=oci,tar=false,dest={layout}"]
        run([program, "buildx", "build", *where, *options, *output, folder], folder)
    else:
        run([program, "build", *where, *options, "--tag", f"localhost/{tag}", folder], folder)
        run([program, "push", f"localhost/{tag}", f"oci:{layout}:{architecture}"], folder)


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def _manifest(layout: Path) -> dict[str, Any]:
    """Return the descriptor of the layout's only image, which may be in an index of its own."""
    index = json.loads((layout / "index.json").read_text(encoding="utf-8"))
    while True:
        if len(index["manifests"]) != 1:
            raise ReleaseRefused(f"{layout} has {len(index['manifests'])} images instead of one")
        (found,) = index["manifests"]
        if found["mediaType"] != _INDEX:
            return {name: found[name] for name in ("mediaType", "digest", "size")}
        index = json.loads(_blob(layout, found["digest"]).read_text(encoding="utf-8"))


def write_archive(layouts: Mapping[str, Path], name: str, file: Path) -> str:
    """Write the images of all architectures into one OCI archive, and return the digest of their index."""
    images = [
        _manifest(layout) | {"platform": {"architecture": architecture, "os": "linux"}}
        for architecture, layout in layouts.items()
    ]
    index = _to_json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": images})
    digest = hashlib.sha256(index).hexdigest()
    top = {"mediaType": _INDEX, "digest": f"sha256:{digest}", "size": len(index)}
    top |= {"annotations": {"org.opencontainers.image.ref.name": name}}
    texts = {
        "oci-layout": _to_json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _to_json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [top]}),
        f"blobs/sha256/{digest}": index,
    }
    blobs = {f"blobs/sha256/{blob.name}": blob for layout in layouts.values() for blob in layout.glob("blobs/sha256/*")}
    with tarfile.open(file, "w") as archive:
        for path, text in texts.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
        for path, blob in sorted(blobs.items()):
            entry = tarfile.TarInfo(path)
            entry.size = blob.stat().st_size
            with blob.open("rb") as content:
                archive.addfile(entry, content)
    return f"sha256:{digest}"


def _to_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
