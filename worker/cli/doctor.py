"""`releve doctor`: checks of settings, keys, clocks, servers, workers and beat, each fault with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from config.settings import ConfigError, get_settings
from worker.cli.command_audit import READS, command
from worker.cli.parameters import json_option, print_result
from worker.ops.check_results import CheckConnections, CheckResult, fail
from worker.ops.health_checks import run_checks


@command(audit=READS)
@json_option
def doctor(as_json: bool) -> int:
    """Check settings, clocks, keys, servers, workers and beat; print a line for each, with the remedy for a fault.

    The command changes nothing. The exit code is 1 if a line begins with FAIL. A line with warn can wait.

    \b
    Example:
      releve doctor
    """
    failed = False
    for result in _check_all():  # Each result is printed at once: a check takes seconds if a server doesn't answer.
        print_result(result.to_json(), result.as_line(), as_json=as_json)
        failed |= result.failed
    return 1 if failed else 0


def _check_all() -> Iterator[CheckResult]:
    try:
        settings = get_settings()
    except ConfigError as error:
        yield from (fail("told", "settings", text=line) for line in str(error).splitlines())
        return
    with ExitStack() as stack:
        yield from run_checks(CheckConnections(settings, stack, start_embedded=False))
