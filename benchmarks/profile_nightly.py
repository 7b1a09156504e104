"""Where the processor time of a nightly run goes, in the workers, by function and by room.

Uses py-spy, which is no dependency: `pip install py-spy`.  Only samples that hold the interpreter count, so waiting
costs nothing here.  `self` is a function's own share, `total` its share with all it calls.
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

from common import ROOT, TODAY, House, Json, next_day, options, run
from nightly import night, seed

RATE = 200
TOLD = 25
_FRAME = re.compile(r"(?P<function>.+) \((?P<file>.+?)(?::\d+)?\)")
_PLACES = ("site-packages/", "lib/python", f"{ROOT}/")


def profile(house: House) -> Json:
    with house.inside(TODAY) as runtime:
        accounts = house.add_accounts(runtime)
        seed(house, runtime, accounts)
    return {
        name: {**night(house, today, accounts, spy.watch), **spy.told()}
        for name, today in (("unchanged", TODAY), ("one new day", next_day(TODAY)))
        for spy in [Spy(house.folder / f"{today}.stacks")]
    }


class Spy:
    """Samples the first worker; the others do the same work."""

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

    def told(self) -> Json:
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
        return {"samples": samples} | {
            name: {
                what: round(count / samples, 3) for what, count in counts.most_common(TOLD if name != "total" else 110)
            }
            for name, counts in shares.items()
        }


def _short(frame: str) -> str:
    """``package/file.py function``."""
    match = _FRAME.fullmatch(frame)
    if match is None:
        return frame
    file = match["file"]
    for place in _PLACES:
        file = file.rpartition(place)[2]
    return f"{file} {match['function']}"


def _py_spy() -> str:
    found = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if found is None:
        raise RuntimeError("py-spy is not here: pip install py-spy")
    return found


if __name__ == "__main__":
    args = options(__doc__, accounts=200)
    sys.exit(run("profile of nightly", args, profile))
