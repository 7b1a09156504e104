"""The original's side: its published library under Node.js, with a stand-in of the Cozy stack's data API."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import requests

from drill.expected_documents import Loads, Truth
from tests.support.servers import ROOT, NotInstalled
from worker.domain.series import Doctype
from worker.domain.windows import PARIS

HERE: Final = Path(__file__).parent
MODULES: Final = ROOT / ".test-servers/original/node_modules"
FLOWS: Final = ("library", "konnector")
PREFIX: Final = "home-"
_STEPS_A_CALL: Final = 7 * 48
_CIVIL_KEYS: Final = {
    Doctype.DAY: "{year}-{month:02}-{day:02}",
    Doctype.MONTH: "{year}-{month:02}",
    Doctype.YEAR: "{year}",
}


@dataclass(frozen=True)
class Rows:
    """Rows of a supplier's answers: Wh by day, W by the local end of each half-hour; a call has seven days."""

    daily: list[list[Any]]
    curves: list[list[list[Any]]]

    @classmethod
    def from_truth(cls, truth: Truth) -> Rows:
        steps = [[_end_label(start, minutes), watts] for start, minutes, watts in truth.curve]
        calls = [steps[first : first + _STEPS_A_CALL] for first in range(0, len(steps), _STEPS_A_CALL)]
        return cls([[day, wh] for day, wh in truth.daily.items()], calls)

    def for_later_run(self) -> Rows:
        """Return the rows of a later run: the konnector requests all daily values again, and one week of curve."""
        return Rows(self.daily, self.curves[-1:])


@dataclass(frozen=True)
class Stack:
    """The running stand-in of the Cozy stack."""

    url: str
    pid: int


@dataclass(frozen=True)
class SyncMeasurement:
    """Time of a sync by the clock and of its process's processor, without the start of Node.js and its library."""

    seconds: float
    cpu_seconds: float
    added: int


@contextmanager
def stack(couchdb: str, prefix: str = PREFIX) -> Iterator[Stack]:
    """Run the stand-in in front of a CouchDB-protocol server.  Raises NotInstalled."""
    env = {**os.environ, "STACK_COUCHDB": couchdb, "STACK_PREFIX": prefix}
    with subprocess.Popen([_node(), HERE / "stack.js"], env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Stack(f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid)
        finally:
            process.terminate()


def sync(flow: str, rows: Rows, stack_url: str) -> SyncMeasurement:
    """Run one sync in a process of its own, as the stack starts it.  Raises CalledProcessError when it fails.

    The library writes to the stack only with NODE_ENV production, else to a file.  Its log lines are left out.
    """
    env = {"COZY_URL": stack_url, "COZY_CREDENTIALS": "a-token", "NODE_ENV": "production", "LOG_LEVEL": "warning"}
    completed = subprocess.run(
        [_node(), HERE / "konnector.js"],
        env={**os.environ, **env, "NODE_PATH": str(MODULES)},
        input=json.dumps({"flow": flow, "daily": rows.daily, "curves": rows.curves}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return SyncMeasurement(**json.loads(completed.stdout.splitlines()[-1]))


def content(couchdb: str, prefix: str = PREFIX) -> Loads:
    """Return the stored loads in kWh by the keys that Relève uses.  Raises ValueError for two documents of one key."""
    return {doctype: _loads(couchdb, prefix, doctype) for doctype in Doctype}


def database(doctype: Doctype, prefix: str = PREFIX) -> str:
    return prefix + doctype.full_name.replace(".", "-")


def version() -> str:
    """Return the version of the library.  Raises NotInstalled."""
    package = MODULES / "cozy-konnector-libs/package.json"
    if not package.exists():
        raise NotInstalled("the original's library is not here: run benchmarks/original/install.sh")
    text: str = json.loads(package.read_text())["version"]
    return text


def _loads(couchdb: str, prefix: str, doctype: Doctype) -> dict[str, float]:
    answer = requests.get(
        f"{couchdb}/{database(doctype, prefix)}/_all_docs", params={"include_docs": "true"}, timeout=60
    )
    answer.raise_for_status()
    documents = [row["doc"] for row in answer.json()["rows"] if not row["id"].startswith("_design/")]
    key_of = _local_start if doctype not in _CIVIL_KEYS else _CIVIL_KEYS[doctype].format_map
    loads = {key_of(document): document["load"] for document in documents}
    if len(loads) != len(documents):
        raise ValueError(f"{database(doctype, prefix)} holds a value twice")
    return loads


def _local_start(document: dict[str, Any]) -> str:
    names = ("year", "month", "day", "hour", "minute")
    start = datetime(*(document[name] for name in names), tzinfo=PARIS)
    return f"{start.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def _end_label(start: str, minutes: int) -> str:
    end = datetime.fromisoformat(start) + timedelta(minutes=minutes)
    return f"{end.astimezone(PARIS):%Y-%m-%d %H:%M:%S}"


def _node() -> str:
    if (node := shutil.which("node")) is None:
        raise NotInstalled("Node.js is not here")
    return node
