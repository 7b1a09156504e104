"""The ``releve`` command inside this process, without the second that starting Python takes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from config.settings import PREFIX, get_settings
from worker.cli.main import main


@dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[Any]:
        """The list printed by ``--json``: one object per line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error_line(self) -> str:
        """The only line of the error, apart from the announcement of a pretended time."""
        lines = [line for line in self.err.splitlines() if "PRETENDING" not in line]
        assert len(lines) == 1, self.err
        assert lines[0].startswith("releve: ")
        assert "Traceback" not in lines[0] and "a bug in Relève" not in lines[0]
        return lines[0]


def run_releve(folder: Path, env: Mapping[str, str], *words: str) -> CommandResult:
    """Run ``releve WORD …`` in ``folder`` with the RELEVE_* variables of ``env`` and no others."""
    out, err = StringIO(), StringIO()
    sigterm_handler, umask = signal.getsignal(signal.SIGTERM), os.umask(0o022)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            patch.delenv(name)
        for name, value in env.items():
            patch.setenv(name, value)
        patch.setattr("sys.argv", ["releve", *words])
        patch.chdir(folder)  # The developer's own .env must not be read.
        get_settings.cache_clear()
        try:
            with pytest.raises(SystemExit) as exit_error:
                main()
        finally:
            signal.signal(signal.SIGTERM, sigterm_handler)
            os.umask(umask)
            get_settings.cache_clear()
    return CommandResult(int(exit_error.value.code or 0), out.getvalue(), err.getvalue())
