"""A check, the notes that it yields (ok, warning or failure), and the result line that summarizes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from config.settings import ConfigError, Settings
from worker.errors import WorkerError
from worker.ops.health.connections import CheckConnections
from worker.ops.machine import describe_machine_fault


class Level(Enum):
    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class CheckNote:
    """One statement of a check: what it found, or what to do about it."""

    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of a check: one line of `releve doctor`."""

    check: str
    level: Level
    text: str

    @property
    def failed(self) -> bool:
        return self.level is Level.FAIL

    def as_line(self) -> str:
        return f"{self.level.value:4} {self.check:11} {self.text}"

    def to_json(self) -> dict[str, Any]:
        return {"check": self.check, "level": self.level.value.lower(), "ok": not self.failed, "told": self.text}


def ok(text: str) -> CheckNote:
    return CheckNote(Level.OK, text)


def warn(text: str) -> CheckNote:
    return CheckNote(Level.WARN, text)


def fail(text: str) -> CheckNote:
    return CheckNote(Level.FAIL, text)


def summarize(check: str, notes: Iterable[CheckNote]) -> CheckResult:
    """Return the worst level and the texts of that level; texts of a better level are left out."""
    all_notes = list(notes)
    worst = max((note.level for note in all_notes), key=list(Level).index, default=Level.OK)
    return CheckResult(check, worst, "; ".join(note.text for note in all_notes if note.level is worst))


CheckFunction = Callable[[CheckConnections], Iterable[CheckNote]]


@dataclass(frozen=True, slots=True)
class Check:
    """Definition of a check.

    ``description``: the text on the reference page, docs/reference/doctor.md.
    ``needs``: names of the checks that must not fail, or this one is skipped.
    ``applies``: whether there is anything to check with these settings; else nothing is printed of it.
    """

    run: CheckFunction
    description: str
    needs: tuple[str, ...] = ()
    applies: Callable[[Settings], bool] = lambda settings: True


def run_check(name: str, check: Check, connections: CheckConnections) -> CheckResult:
    try:
        return summarize(name, check.run(connections))
    except (ConfigError, WorkerError) as error:
        return CheckResult(name, Level.FAIL, " ".join(str(error).split()))
    except OSError as error:
        if (fault := describe_machine_fault(error)) is None:
            raise
        return CheckResult(name, Level.FAIL, fault)
