"""A law over shapes: whatever comes from outside, and sixteen times at once, takes bounded memory in its process.

Each process measures its own peak. The bodies below the limits are those that take the most.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.support.large_bodies import SHAPES, filled, serve_bodies

pytestmark = [
    pytest.mark.rest,
    pytest.mark.sockets,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc"),
]
MOST_MB = 100
MOST_OF_AN_IMPORT_MB = 200
LONGEST = 8 * 1024**2
# The sizes at which these have almost as many values as an answer may have.
MOST_VALUES = {
    "one-object": 2_400_000,
    "small-objects": 1_300_000,
    "small-texts": 1_700_000,
    "many-deep-objects": 1_700_000,
    "points": 3_200_000,
    "wide-points": 6_800_000,
    "empty-lists": 290_000,
    "values": 290_000,
}
QUICK = [f"long-text-{LONGEST}", f"long-text-{LONGEST - 900_000}", f"one-object-{MOST_VALUES['one-object']}"]
SMALL = [f"{shape}-64000" for shape in SHAPES]  # What is smaller than a large answer: sixteen are in memory at once.
LARGE = [f"{shape}-{MOST_VALUES.get(shape, LONGEST - 100)}" for shape in SHAPES]


def largest(kind: str, bodies: list[str], status: int = 200) -> dict[str, int]:
    """Return by how many megabytes a process grew until it had had each of these bodies from sixteen answers."""
    with serve_bodies() as url:
        command = [sys.executable, "-m", "tests.support.large_bodies", url, kind]
        paths = [f"{body}/{status}" for body in bodies]
        done = subprocess.run([*command, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["body"] for line in told] == paths
    return {line["body"]: line["peak_mb"] for line in told if line["peak_mb"] > MOST_MB}


def test_sixteen_large_answers_of_a_supplier_take_bounded_memory() -> None:
    assert largest("enedis-2026", QUICK) == {}


def test_answers_of_all_shapes_take_bounded_memory() -> None:
    assert largest("enedis-v5", [*SMALL, "long-text-250000", "wide-characters-250000", *LARGE]) == {}


@pytest.mark.parametrize(
    "kind",
    [
        "enedis-2026/contract",
        "enedis-2026/meters",
        "grdf-adict",
        "conso-api",
        "enedis-v5/token",
        "enedis-v4/code",
        "webhook",
        "line-protocol",
    ],
)
def test_answers_to_other_questions_take_bounded_memory(kind: str) -> None:
    assert largest(kind, [*SMALL, *QUICK, f"values-{MOST_VALUES['values']}"]) == {}


@pytest.mark.parametrize("kind", ["enedis-2026", "enedis-v5/token", "conso-api"])
def test_refusals_take_bounded_memory(kind: str) -> None:
    assert largest(kind, [f"page-{LONGEST}", f"small-objects-{LONGEST}"], 500) == {}


HEAD = '{"header":{"codeFlux":"R63"},"mesures":'
FILES: dict[str, Callable[[int], bytes]] = {
    "one object": lambda size: filled(size, HEAD + "{", (f'"{n:x}":1' for n in count()), "}}"),
    "objects": lambda size: filled(size, HEAD + "[", (_object(n) for n in range(190_000)), "]}"),
    "texts": lambda size: filled(size, HEAD + "[", (f'"{n:x}"' for n in range(1_590_000)), "]}"),
    "wide characters": lambda size: filled(size, HEAD + "[", ('"\U0001f600' + "9" * 70 + '"' for _ in count()), "]}"),
    "long text": lambda size: (HEAD + '"' + "9" * (size - 60) + '"}').encode(),
    "deep": lambda size: (HEAD + "[" * 190_000 + "]" * 190_000 + "}").encode(),
    "one line": lambda size: b"9" * size * 3,
    "lines": lambda size: b"9;9\n" * (size // 2),
}
READ = """
import sys
from tests.support.large_bodies import peak_mb
from worker.domain.files import FileRefused, read_file
idle = peak_mb()
try:
    with open(sys.argv[1], "rb") as content:
        list(read_file("x", content))
except FileRefused:
    sys.stdout.write(str(round(peak_mb() - idle)))
"""


def _object(number: int) -> str:
    return "{" + ",".join(f'"{number * 8 + field:x}":1' for field in range(8)) + "}"


@pytest.mark.parametrize("shape", FILES)
def test_files_of_all_shapes_take_bounded_memory(shape: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(FILES[shape](16 * 1024**2 - 100))
    done = subprocess.run([sys.executable, "-c", READ, str(file)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < MOST_OF_AN_IMPORT_MB
