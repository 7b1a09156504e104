"""Print the images of docker-compose.yml by digest, as lines for .env: ``python -m tools.image_digests``.

It is `make digests`.  The digests are those that the images' registry names now, asked by docker or skopeo; without an
answer nothing is printed but one line on the error stream.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

_COMPOSE: Final = Path(__file__).parents[1] / "docker-compose.yml"
_IMAGE: Final = re.compile(r"\$\{([A-Z]+_IMAGE):-([^}]+)\}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class NoDigest(Exception):
    """The digest of an image could not be had."""


def images() -> dict[str, str]:
    """Return the images by the variable that replaces each: ``{"REDIS_IMAGE": "redis:8.2"}``."""
    return dict(_IMAGE.findall(_COMPOSE.read_text(encoding="utf-8")))


def digest(image: str) -> str:
    """Return the digest that the registry names for the tag, of all platforms together.  Raises NoDigest."""
    if shutil.which("docker"):  # Without `json` buildx takes any format that begins with .Manifest for its own table.
        command = ["docker", "buildx", "imagetools", "inspect", "--format", "{{json .Manifest.Digest}}", image]
    elif shutil.which("skopeo"):
        command = ["skopeo", "inspect", "--no-tags", "--format", "{{.Digest}}", f"docker://{image}"]
    else:
        raise NoDigest("make digests asks docker (with buildx) or skopeo: install one of them")
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    text = answer.stdout.strip().strip('"')
    if answer.returncode or not _DIGEST.fullmatch(text):
        reason = (answer.stderr.strip() or text or "no answer").splitlines()[-1]
        raise NoDigest(f"{command[0]} got no digest of {image}: {reason}")
    return text


def to_lines() -> list[str]:
    """Return two lines an image, its tag as a comment and its digest.  Raises NoDigest."""
    return [f"# {image}\n{variable}={image.partition(':')[0]}@{digest(image)}" for variable, image in images().items()]


if __name__ == "__main__":
    try:
        lines = to_lines()
    except NoDigest as error:
        sys.exit(str(error))
    print("\n".join(lines))  # noqa: T201
