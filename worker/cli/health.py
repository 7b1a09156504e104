"""releve health: what a container platform asks every few seconds; quick, and silent where all is well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import click

from config.settings import get_settings
from worker.ops.health import checks
from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import CheckResult

_role = click.option(
    "--role", required=True, type=click.Choice(list(checks.OF_ROLES)), help="What the container is there for."
)
_url = click.option("--url", help="Where web, flower or metrics answers, if not at its usual place on this machine.")


@click.group()
def health() -> None:
    """Tell a container platform whether a part is alive, and ready for work.

    Silent and exit code 0 where it is; else one line a fault, and 1.
    """


@health.command()
@_role
@_url
def live(role: str, url: str | None) -> int:
    """Whether the part itself is at work; where not, start it anew.

    \b
    Example:
      releve health live --role worker
    """
    return _tell(checks.live, role, url)


@health.command()
@_role
@_url
def ready(role: str, url: str | None) -> int:
    """Whether it can do its work now: the servers that it needs answer, and it does itself.

    \b
    Example:
      releve health ready --role web --url http://127.0.0.1:8000/
    """
    return _tell(checks.ready, role, url)


def _tell(ask: Callable[[str, CheckConnections], Iterator[CheckResult]], role: str, url: str | None) -> int:
    with ExitStack() as opened:
        visit = CheckConnections(get_settings(), opened, start_embedded=False, address=url)
        failed = [finding for finding in ask(role, visit) if finding.failed]
    for finding in failed:
        click.echo(f"releve: {finding.check}: {finding.told}", err=True)
    return 1 if failed else 0
