"""The code of release 0.2.0, which runs in separate processes beside ours.

Its archive has everything that a worker needs. It was created from the last commit of that release:

    git archive d3b557df config tasks worker ':!worker/cli' ':!worker/web' ':!worker/simulator' ':!worker/drill' |
        xz -9e >tests/golden/release_0.2.0/code.tar.xz
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.support.kept_installation import KEPT

# Does the work of that release's `releve migrate`, `accounts add` and `backfill --inline` in one process.
_SET_UP: Final = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from config.settings import get_settings
from worker.runtime.process import Runtime
from worker.stores.database import Database
from worker.stores.registry.migrations import upgrade_schema

upgrade_schema(Database(get_settings().registry_url.get_secret_value()))
with Runtime(get_settings()) as runtime:
    runtime.measures.prepare()
    added = [runtime.registry.add("enedis", meter, runtime.now(), token_needed=False)[0].id for meter in sys.argv[1:]]

    def load(account):
        inline = runtime.inline(print_line=lambda line: print(line, file=sys.stderr))
        assert list(inline.history(account)) and not inline.failures

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load, added))
print(json.dumps(dict(zip(sys.argv[1:], added))))
"""

# Does the work of that release's `releve restore`.
_RESTORE: Final = """
import sys
from pathlib import Path
from config.settings import get_settings
from worker.ops.backups.restore import restore
from worker.runtime.process import Runtime

with Runtime(get_settings()) as runtime:
    restore(runtime, Path(sys.argv[1]))
"""


def extract_code(folder: Path) -> Path:
    """Extract the code into an empty folder, and return the folder."""
    with tarfile.open(KEPT / "code.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def set_up(code: Path, environment: Mapping[str, str], meters: Sequence[str]) -> dict[str, str]:
    """Create tables, accounts and their histories, and return the accounts by meter."""
    accounts: dict[str, str] = json.loads(_run(code, environment, _SET_UP, *meters))
    return accounts


def restore_saved(code: Path, environment: Mapping[str, str], saved: Path) -> None:
    """Restore a saved registry into an empty one."""
    _run(code, environment, _RESTORE, str(saved))


def _run(code: Path, environment: Mapping[str, str], program: str, *words: str) -> str:
    env = {**os.environ, **environment, "PYTHONPATH": str(code)}
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, cwd=code, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
