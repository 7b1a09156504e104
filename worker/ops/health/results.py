"""What a check says: notes, each fine, doubtful or at fault; and the line that comes of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Level(Enum):
    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Note:
    level: Level
    told: str  # what was found, or what to do about it


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One line of `releve doctor`."""

    check: str
    level: Level
    told: str

    @property
    def failed(self) -> bool:
        return self.level is Level.FAIL

    def as_line(self) -> str:
        return f"{self.level.value:4} {self.check:11} {self.told}"

    def to_json(self) -> dict[str, Any]:
        return {"check": self.check, "level": self.level.value.lower(), "ok": not self.failed, "told": self.told}


def ok(told: str) -> Note:
    return Note(Level.OK, told)


def warn(told: str) -> Note:
    return Note(Level.WARN, told)


def fail(told: str) -> Note:
    return Note(Level.FAIL, told)


def sum_up(check: str, notes: Iterable[Note]) -> CheckResult:
    """The worst level, and all that was said on it: what is fine is not worth a word beside a fault."""
    told = list(notes)
    worst = max((note.level for note in told), key=list(Level).index, default=Level.OK)
    return CheckResult(check, worst, "; ".join(note.told for note in told if note.level is worst))
