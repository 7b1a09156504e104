"""A pytest plugin: what the tests of each folder cost, in processor seconds of pytest's process and its children.

A child's time counts when the child has ended, for the test that waited for its end. What belongs to no test is
the row "collection, servers": imports, collection, and servers that end with the last test of the process.
"""

from __future__ import annotations

import resource
import time
from collections import Counter
from typing import Any, Final

import pytest

_SLOWEST_FILES: Final = 10


def _used_s() -> float:
    used = time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used + children.ru_utime + children.ru_stime


class ProcessorTime:
    """Measures in each process that runs tests, and adds up in the one that prints."""

    def __init__(self) -> None:
        self._before = 0.0
        self._is_last = False
        self._of_file: Counter[str] = Counter()
        self._whole = 0.0
        self._peak_mb: list[int] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, nextitem: pytest.Item | None) -> None:
        self._before = _used_s()
        self._is_last = nextitem is None

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Any:
        """Give each report the seconds since the one before it; xdist carries them to the process that prints."""
        outcome = yield
        now = _used_s()
        ends_servers = self._is_last and call.when == "teardown"
        outcome.get_result().processor_s = 0.0 if ends_servers else now - self._before
        self._before = now

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._of_file[report.nodeid.partition("::")[0]] += getattr(report, "processor_s", 0.0)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        # Session fixtures have ended by now, and their servers with them.
        totals = {"processor_s": _used_s(), "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput.update(totals)
        elif not self._peak_mb:  # No other process ran tests.
            self._add(totals)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._add(getattr(node, "workeroutput", {}))

    def _add(self, totals: dict[str, Any]) -> None:
        self._whole += totals.get("processor_s", 0.0)
        self._peak_mb.append(totals.get("peak_mb", 0))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        folders: Counter[str] = Counter()
        for file, seconds in self._of_file.items():
            folders[_folder_of(file)] += seconds
        folders["collection, servers"] = self._whole - folders.total()
        terminalreporter.section("processor seconds")
        for folder, seconds in folders.most_common():
            terminalreporter.write_line(f"{seconds:7.1f}  {folder}")
        terminalreporter.write_line(
            f"{self._whole:7.1f}  in all; memory of each process at most, in MB: {self._peak_mb}"
        )
        terminalreporter.section("files that cost most, in processor seconds")
        for file, seconds in self._of_file.most_common(_SLOWEST_FILES):
            terminalreporter.write_line(f"{seconds:7.1f}  {file}")


def _folder_of(file: str) -> str:
    """Return ``tests/unit/web`` of ``tests/unit/web/api/test_api.py``: two folders below tests/ at most."""
    return "/".join(file.split("/")[:-1][:3])
