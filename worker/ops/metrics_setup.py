"""Makes a process count, and gives a worker its endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from celery import signals

from config.settings import ConfigError, Settings, get_settings


def install(argv: Sequence[str]) -> None:
    """Count what tasks do from now on; where ``argv`` starts a worker, keep it where the worker's endpoint finds it.

    To be called before the first count is made, which settles where all are kept.  Safe to repeat.
    """
    if is_worker(argv):
        _prepare_endpoint()
    from worker.ops import task_metrics

    task_metrics.install()


def is_worker(argv: Sequence[str]) -> bool:
    """Whether this is ``celery … worker``; in ``-A worker`` the same word is our name."""
    program = Path(argv[0]) if argv else Path()
    if "celery" not in (program.name, program.parent.name):  # or python -m celery
        return False
    return any(word == "worker" and before not in ("-A", "--app") for before, word in pairwise(argv))


def _prepare_endpoint() -> None:
    try:
        settings = get_settings()
    except ConfigError:
        return  # whoever reads the options next says so
    if settings.metrics_port == 0:
        return
    from worker.ops.metrics_folder import open_folder

    try:
        folder = open_folder(settings.data_dir)
    except OSError as error:
        raise SystemExit(f"releve: RELEVE_DATA_DIR: no folder for metrics can be made ({error.strerror})") from None
    signals.worker_ready.connect(lambda **_: _open_endpoint(folder, settings), weak=False)


def _open_endpoint(folder: Path, settings: Settings) -> None:
    from worker.ops.metrics_endpoint import serve

    server = serve(folder, settings.metrics_host, settings.metrics_port)
    if server is not None:  # a child that outlives us must not keep the port
        signals.worker_process_init.connect(lambda **_: server.socket.close(), weak=False)
