"""L19: what Relève writes is for its own user's eyes alone, whatever the umask it was started with."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.system import BIN, QUICK_START, open_system, until


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """Start processes as most systems do: what they write is for everybody's eyes."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> dict[str, str]:
    """Return the modes of what others may look into, of a folder and all in it."""
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}
    return {str(path.relative_to(folder)): oct(mode) for path, mode in modes.items() if mode & 0o077}


def test_l19_a_command_with_the_embedded_redis_leaves_private_files(tmp_path: Path) -> None:
    data = tmp_path / "data"
    env = {name: value for name, value in os.environ.items() if not name.startswith("RELEVE_")}
    command = [BIN / "releve", "accounts", "add", "--usage-point", "60000000000001"]
    env |= {"RELEVE_DATA_DIR": str(data), "RELEVE_ENEDIS_URL": "http://127.0.0.1:9"}
    subprocess.run(command, env=env, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    names = {path.name for path in data.rglob("*")}
    assert {"registry.db", "redis"} <= names and any(".aof" in name for name in names), names
    assert open_to_others(data) == {}


def test_l19_the_processes_of_celery_leave_private_files(tmp_path: Path) -> None:
    schedule = tmp_path / "data" / "beat"
    with open_system(tmp_path, RECONCILE_EVERY_S="1") as system:
        system.start_worker(*QUICK_START, "--statedb", str(tmp_path / "data" / "state"))
        system.start_beat()
        until(lambda: system.redis.hget("releve:heartbeat", "beat"), "beat's first message")
        assert open_to_others(tmp_path / "data") == {}
        system.stop("beat")
        system.stop("worker")
    assert schedule.parent.is_dir() and open_to_others(tmp_path / "data") == {}
