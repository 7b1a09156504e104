"""Profile of the workers' processor time in a nightly run, by function and by package.

It uses py-spy, which is not a dependency: `pip install py-spy`.  Only samples that hold the interpreter lock count, so
waiting costs nothing here.  `self` is a function's own share, `total` its share with all it calls.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import ROOT, TODAY, BenchmarkSystem, Json, next_day, parse_options, run
from nightly import night, seed

RATE = 200
SHOWN_FUNCTIONS = 25
_FRAME = re.compile(r"(?P<function>.+) \((?P<file>.+?)(?::\d+)?\)")
_PLACES = ("site-packages/", "lib/python", f"{ROOT}/")


def profile(system: BenchmarkSystem) -> Json:
    with system.open_parts(TODAY) as parts:
        accounts = system.add_accounts(parts)
        seed(system, parts, accounts)
    return {
        name: {**night(system, today, accounts, spy.watch), **spy.report()}
        for name, today in (("unchanged", TODAY), ("one new day", next_day(TODAY)))
        for spy in [Spy(system.folder / f"{today}.stacks")]
    }


class Spy:
    """A py-spy process that samples the first worker; the others do the same work."""

    def __init__(self, output: Path) -> None:
        self._output = output

    @contextmanager
    def watch(self, pids: list[int]) -> Iterator[None]:
        command = [_py_spy(), "record", "--gil", "--format", "raw", "--rate", str(RATE), "--pid", str(pids[0])]
        log = self._output.with_suffix(".log")
        with log.open("wb") as output:
            spy = subprocess.Popen([*command, "-d", "3600", "-o", str(self._output)], stdout=output, stderr=output)
        try:
            yield
        finally:
            spy.send_signal(2)
            spy.wait(30)

    def report(self) -> Json:
        own: Counter[str] = Counter()
        total: Counter[str] = Counter()
        rooms: Counter[str] = Counter()
        for line in self._output.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            frames = [_short(frame) for frame in stack.split(";")]
            own[frames[-1]] += int(count)
            rooms[frames[-1].partition(" ")[0].split("/")[0]] += int(count)
            for frame in set(frames):
                total[frame] += int(count)
        samples = sum(own.values()) or 1
        shares = {"self": own, "total": total, "rooms": rooms}
        most = {"self": SHOWN_FUNCTIONS, "total": 110, "rooms": SHOWN_FUNCTIONS}
        return {"samples": samples} | {
            name: {function: round(count / samples, 3) for function, count in counts.most_common(most[name])}
            for name, counts in shares.items()
        }


def _short(frame: str) -> str:
    """Return a frame as ``package/file.py function``."""
    match = _FRAME.fullmatch(frame)
    if match is None:
        return frame
    file = match["file"]
    for place in _PLACES:
        file = file.rpartition(place)[2]
    return f"{file} {match['function']}"


def _py_spy() -> str:
    path = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if path is None:
        raise RuntimeError("py-spy is not here: pip install py-spy")
    return path


if __name__ == "__main__":
    args = parse_options(__doc__, accounts=200)
    sys.exit(run("profile of nightly", args, profile))
