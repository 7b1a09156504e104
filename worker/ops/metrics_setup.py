"""Set-up of metrics in a process: counting of tasks, and the endpoint of a worker."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from celery import signals

from config.settings import ConfigError, Settings, get_settings


def install(argv: Sequence[str]) -> None:
    """Count what tasks do from now on, and prepare the endpoint where ``argv`` starts a worker.

    Must run before the first count is made, because that count decides where all counts are kept.  Safe to repeat.
    """
    if is_worker(argv):
        _prepare_endpoint()
    from worker.ops import task_metrics

    task_metrics.install()


def is_worker(argv: Sequence[str]) -> bool:
    """Return whether the command is ``celery … worker``; in ``-A worker`` the same word names our application."""
    program = Path(argv[0]) if argv else Path()
    # The path of `python -m celery` is …/celery/__main__.py.
    if "celery" not in (program.name, program.parent.name):
        return False
    return any(word == "worker" and option not in ("-A", "--app") for option, word in pairwise(argv))


def _prepare_endpoint() -> None:
    try:
        settings = get_settings()
    except ConfigError:
        return  # The code that reads the settings next reports the error.
    if settings.metrics_port == 0:
        return
    from worker.ops.metrics_folder import open_folder

    try:
        folder = open_folder(settings.data_dir)
    except OSError as error:
        raise SystemExit(f"releve: RELEVE_DATA_DIR: no folder for metrics can be made ({error.strerror})") from None
    signals.worker_ready.connect(lambda **_: _open_endpoint(folder, settings), weak=False)


def _open_endpoint(folder: Path, settings: Settings) -> None:
    from worker.ops.metrics_endpoint import serve_metrics

    server = serve_metrics(folder, settings.metrics_host, settings.metrics_port)
    if server is not None:
        # A child process that outlives its worker would otherwise keep the port.
        signals.worker_process_init.connect(lambda **_: server.socket.close(), weak=False)
