"""`releve health`: liveness and readiness of one part, for the probes of a container platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import click

from config.settings import get_settings
from worker.cli.command_audit import READS, Group
from worker.ops.check_results import CheckConnections, CheckResult
from worker.ops.liveness import ROLE_CHECKS, check_liveness
from worker.ops.quick_health import USUAL_ADDRESSES

_role = click.option("--role", required=True, type=click.Choice(list(ROLE_CHECKS)), help="Role of the container.")
_url = click.option("--url", help="URL of web, flower or metrics, if it differs from the default.")


@click.group(cls=Group)
def health() -> None:
    """Check whether a container is alive, and ready for work.

    If it is, the command prints nothing and exits with 0. Otherwise it prints one line for each fault, and exits with
    1.

    \b
    Example:
      releve health ready --role worker
    """


@health.command(audit=READS)
@_role
@_url
def live(role: str, url: str | None) -> int:
    """Check whether the process works.

    If the command exits with 1, restart the process.

    \b
    Example:
      releve health live --role worker
    """
    return _run_checks(check_liveness, role, url)


@health.command(audit=READS)
@_role
@_url
def ready(role: str, url: str | None) -> int:
    """Check whether the process and its servers answer.

    \b
    Example:
      releve health ready --role web --url http://127.0.0.1:8000/
    """
    from worker.ops.health_checks import check_readiness  # Imported here because it loads the client of each server.

    return _run_checks(check_readiness, role, url)


def _run_checks(checks_of: Callable[[str, CheckConnections], Iterator[CheckResult]], role: str, url: str | None) -> int:
    """Print one line for each failed check; return the exit code, 1 if a check failed."""
    with ExitStack() as stack:
        connections = CheckConnections(
            get_settings(), stack, start_embedded=False, address=url or USUAL_ADDRESSES.get(role, "")
        )
        failures = [result for result in checks_of(role, connections) if result.failed]
    for result in failures:
        click.echo(f"releve: {result.check}: {result.text}", err=True)
    return 1 if failures else 0
