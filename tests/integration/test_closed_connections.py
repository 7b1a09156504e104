"""Commands close the connections to their databases, also where they end with an error."""

from __future__ import annotations

from tests.support.installation import Installation
from tests.support.sqlite_connections import assert_all_closed, recorded_connections

METER = "60000000000001"
COMMANDS = (
    "migrate",
    "doctor",
    "secrets rotate",
    "plan --apply",
    "access list",
    "metrics --once",
    "status",
    "status --freshness",
    "verify --all",
    "backup saved.tar.gz",
    "restore saved.tar.gz",
)


def test_no_command_leaves_a_connection_open(installation: Installation) -> None:
    installation.releve("accounts", "add", "--usage-point", METER)
    for command in COMMANDS:
        with recorded_connections() as connections:
            result = installation.run(*command.split())
            assert result.code != 2, result.err
            assert_all_closed(connections)
