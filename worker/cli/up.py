"""`releve up`: worker, beat, web and Flower on one machine, with real credentials."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Final

import click

from config.settings import ConfigError, Settings, get_settings
from worker.cli.common import PORT, refusing_taken_port
from worker.cli.operators import warn_without_operators
from worker.ops.logging_setup import warn
from worker.ops.startup import (
    DEFAULT_PORT as FLOWER_PORT,
)
from worker.ops.startup import (
    USER,
    check_credentials,
    find_plain_http,
    password,
    password_source,
)
from worker.ops.supervisor import PartPlan, part_command, public_url
from worker.runtime.sync_parts import Runtime, announce_pretend_time
from worker.stores.process_guard import GRACE_S
from worker.stores.redis.embedded import open_lock, try_flock
from worker.stores.sockets import listen
from worker.web.client_addresses import trusted_proxies
from worker.web.server import DEFAULT_HOST, DEFAULT_PORT

_LOOPBACK: Final = "127.0.0.1"
_POLL_S: Final = 0.1


@click.command()
@click.option("--host", default=DEFAULT_HOST, show_default=True, help="Address of the web service.")
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="Port of the web service.")
@click.option(
    "--flower-port",
    type=PORT,
    default=None,
    show_default=f"{FLOWER_PORT}; none for a home",
    help=f"Port on {_LOOPBACK} of Flower, which shows the tasks. 0: no Flower.",
)
def up(host: str, port: int, flower_port: int | None) -> None:
    """Run worker, beat, web and Flower until Ctrl-C, with an embedded Redis unless RELEVE_REDIS_URL is set.

    Commands in other terminals (`releve accounts add`, `releve status`) use the same data.

    \b
    Examples:
      RELEVE_ENEDIS_CLIENT_ID=… RELEVE_ENEDIS_CLIENT_SECRET=… releve up
      releve up   # for one home, after `releve home add`
    """
    settings = get_settings()
    announce_pretend_time(settings, warn)
    check_credentials(settings)
    address = public_url(settings, host, port)
    if warning := find_plain_http(settings, address, host):
        warn(warning)
    trusted_proxies(address)
    if flower_port is None:
        flower_port = 0 if settings.is_home else FLOWER_PORT
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with open_lock(settings.data_dir / "up.lock") as lock:
        ports_free_by = _take_folder(lock, settings.data_dir)
        with refusing_taken_port(host, port):
            _check_port(host, port, ports_free_by)
        if flower_port:
            _check_flower(settings, flower_port, ports_free_by)
        with Runtime(settings) as runtime:  # Opening it migrates the registry and checks the settings.
            warn_without_operators(runtime)
        os.set_inheritable(lock, True)  # The supervisor, which is this process still, holds it from now on.
        # Without a Redis of the settings each part joins the embedded one, which ends with the last of them.
        _plan_parts(settings, address, host, port, flower_port).replace_process({"RELEVE_PUBLIC_URL": address})


def _take_folder(lock: int, data_dir: Path) -> float:
    """Lock the data folder for this process; return when the parts of an earlier run that was killed have ended.

    Raises ClickException where another process holds the lock. The system releases it with the holder's end, however
    that came.
    """
    number = os.pread(lock, 20, 0).decode()
    if not try_flock(lock, fcntl.LOCK_EX):
        raise click.ClickException(
            f"`releve up` already runs in {data_dir} (process {number}): stop it first, or set RELEVE_DATA_DIR to "
            "another folder"
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return time.monotonic() + (GRACE_S + 1 if number else 0)


def _check_port(host: str, port: int, free_by: float) -> None:
    """Raise OSError where the port is still in use at this moment of the monotonic clock."""
    while True:
        try:
            listen(host, port).close()
            return
        except OSError:
            if time.monotonic() >= free_by:
                raise
            time.sleep(_POLL_S)


def _check_flower(settings: Settings, flower_port: int, port_free_by: float) -> None:
    """Raise ConfigError for what would end Flower right after its start, and the other processes with it."""
    password(settings)
    try:
        _check_port(_LOOPBACK, flower_port, port_free_by)
    except OSError as error:
        raise ConfigError(
            f"port {flower_port} for Flower: {error.strerror}; choose another with --flower-port, or give 0 for no "
            "Flower"
        ) from None


def _plan_parts(settings: Settings, address: str, host: str, port: int, flower_port: int) -> PartPlan:
    """Return what to run: for a home one worker thread that has beat beside it, else a worker and beat."""
    logs, lines = settings.data_dir / "logs", []
    if settings.is_home:
        parts, running = {"worker": part_command("home-worker")}, "worker and web"
    else:
        parts, running = {"worker": part_command("worker"), "beat": part_command("beat")}, "worker, beat and web"
    parts["web"] = part_command("web", "--host", host, "--port", str(port))
    if flower_port:
        parts["flower"] = part_command("flower", f"--port={flower_port}")
        source = password_source(settings)
        lines.append(f"tasks in Flower at http://{_LOOPBACK}:{flower_port}, user {USER}, password {source}")
    lines += [
        f"{running} are running; logs in {logs}; Ctrl-C ends them",
        f"pages and API at {address}, listening on {host}:{port}",
    ]
    return PartPlan(parts=parts, logs=str(logs), grace_s=settings.supplier_timeout_s + 10, lines=lines)
