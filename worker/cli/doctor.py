"""releve doctor: every connection and setting looked at, each fault with its mend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import click

from config.settings import ConfigError, get_settings
from worker.cli.common import json_option, print_json
from worker.ops.health.checks import examine
from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import CheckResult, Level


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """Check settings, clocks, keys, every server, workers and beat: one line each, a fault with its mend.

    Looks and mends nothing. The exit code is 1 where a line begins with FAIL; one with warn can wait.

    \b
    Example:
      releve doctor
    """
    findings = []
    for finding in _findings():
        findings.append(finding)
        if not as_json:  # one by one, for some take seconds where nobody answers
            click.echo(finding.as_line())
    if as_json:
        print_json([finding.to_json() for finding in findings])
    return 1 if any(finding.failed for finding in findings) else 0


def _findings() -> Iterator[CheckResult]:
    try:
        settings = get_settings()
    except ConfigError as error:
        yield from (CheckResult("settings", Level.FAIL, line) for line in str(error).splitlines())
        return
    with ExitStack() as opened:
        yield from examine(CheckConnections(settings, opened))
