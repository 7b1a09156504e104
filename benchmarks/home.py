"""Benchmark of an idle home: `releve up` on a small computer, with one meter whose history is loaded.

    python benchmarks/home.py --minutes 60

It prints one JSON object: the memory of each process (PSS, in MB of 10^6 bytes) after the first minute and at the end,
and the processor seconds of each over the time between.  Nothing outside this machine is called: nothing is due.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import jwt
import requests
from sqlalchemy import update

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # `python benchmarks/home.py` has only this folder on its path.

from benchmarks import processes  # noqa: E402
from config.settings import PREFIX, get_settings  # noqa: E402
from tests.support.parts import Parts  # noqa: E402
from worker.stores.child_processes import Supervisor, answers, free_port  # noqa: E402
from worker.stores.registry.tables import SERIES_OUTCOMES  # noqa: E402

_METER: Final = "30001610071843"  # A pretend one.
_PARTS: Final = {"part_supervisor": "supervisor", "guard.py": "guard", "home_worker": "worker and beat"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="how long it is watched (60)")
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="releve-bench-") as folder:
        print(json.dumps(_measure(Path(folder), minutes), indent=2))
    return 0


def _measure(folder: Path, minutes: float) -> dict[str, Any]:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]  # The user's own settings must not apply.
    port = free_port()
    # A gateway that nobody is at: were anything asked, the account would show it.
    environment = {"HOME": "true", "GATEWAY_URL": f"http://127.0.0.1:{free_port()}", "DATA_DIR": str(folder)}
    os.environ.update({f"{PREFIX}{name}": value for name, value in environment.items()})
    account_id = _add_account()
    web = f"http://127.0.0.1:{port}"
    with Supervisor() as supervisor:
        command = [sys.executable, "-m", "worker", "up", "--port", str(port)]
        pid = supervisor.start("up", command, log_path=folder / "up.log")
        supervisor.wait_until_ready("up", lambda: answers(web))
        status = [requests.get(web + path, timeout=30).status_code for path in ("/", f"/accounts/{account_id}")]
        time.sleep(60)
        before, began = _look(pid), time.monotonic()
        time.sleep(minutes * 60)
        after, seconds = _look(pid), time.monotonic() - began
    cpu = {name: round(after[name]["cpu_s"] - before[name]["cpu_s"], 2) for name in after}
    return {
        "minutes": round(seconds / 60, 1),
        "pages": status,
        "pss_mb": {name: after[name]["pss_mb"] for name in after},
        "pss_mb_all": round(sum(one["pss_mb"] for one in after.values()), 1),
        "pss_mb_all_after_a_minute": round(sum(one["pss_mb"] for one in before.values()), 1),
        "cpu_s": cpu,
        "cpu_s_all": round(sum(cpu.values()), 2),
        "cpu_percent_of_one_core": round(100 * sum(cpu.values()) / seconds, 3),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
    }


def _add_account() -> str:
    """Add a meter of which everything is loaded and nothing is due before the next night."""
    now = datetime.now(UTC)
    claims = {"sub": [_METER], "iat": int(now.timestamp()), "exp": int((now + timedelta(days=1093)).timestamp())}
    token = jwt.encode(claims, "a key that nobody else needs to know", algorithm="HS256")
    with Parts(get_settings()) as parts:
        account_id = parts.consent.assertion.add(token, "cli:benchmark")[0].id
        yesterday = parts.sync.history.today() - timedelta(days=1)
        done = {"asked_at": now, "history_due_at": None, "last_day": yesterday, "last_complete": yesterday}
        # Five years, the longest of all histories.
        done |= {"days": f"{yesterday - timedelta(days=1825)} 1826c", "ever_stored": True, "updated_at": now}
        with parts.stores.registry.database.writing() as connection:
            connection.execute(update(SERIES_OUTCOMES).values(**done))
        return account_id


def _look(root: int) -> dict[str, dict[str, float]]:
    """Return memory and processor time of the processes below ``root``, by what they are."""
    return {_name(pid): {"pss_mb": processes.pss_mb(pid), "cpu_s": processes.own_cpu_s(pid)} for pid in _below(root)}


def _below(root: int) -> list[int]:
    return list(processes.with_all_below([root]))


def _name(pid: int) -> str:
    command = processes.command_of(pid)
    known = next((name for word, name in _PARTS.items() if word in command.split("{")[0]), "")
    return known or ("web" if " web " in command else "Redis" if "server" in command else command[:40])


if __name__ == "__main__":
    sys.exit(main())
