"""A real worker has no session key: it makes none, and reads none where the web application has one (N7)."""

from __future__ import annotations

from pathlib import Path

from tests.support.system import QUICK_START, open_system

METER = "12345678901299"


def test_a_worker_neither_makes_nor_reads_the_session_key(tmp_path: Path) -> None:
    with open_system(tmp_path, PRETEND_NOW="2024-07-25T09:00+02:00", HISTORY_LOAD_DAYS="7") as system:
        system.start_simulator()
        system.start_worker(*QUICK_START)
        account = system.add_account(METER)
        system.wait_loaded(account)
        data = Path(system.settings["DATA_DIR"])
        assert (data / "token.keys").exists(), "the worker has made the keys that it needs"
        assert not (data / "session.key").exists()
        system.stop("worker")
        (data / "session.key").mkdir()  # Whoever reads it fails.
        log = system.start_worker(*QUICK_START)
        system.run_night(account)
        assert "session.key" not in log.read_text()
        assert list((data / "session.key").iterdir()) == []
