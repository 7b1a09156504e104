"""The command group `releve`: the table of commands, and the place where an error becomes one line and an exit code.

What a single command needs is imported when that command runs: `releve` alone needs neither settings nor drivers.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from click.exceptions import NoArgsIsHelpError, NoSuchCommand

from worker.errors import WorkerError
from worker.ops.machine import describe_machine_fault, describe_version, keep_files_private

FAILED: Final = 1
MISUSE: Final = 2
INTERRUPTED: Final = 130
_SAY_IT_THEMSELVES: Final = ("doctor", "health")  # Or nothing, as containers ask every few seconds.
_GAS_SETTING: Final = "RELEVE_GRDF_CLIENT_ID"


class ListedCommand(NamedTuple):
    """Where a command is, in a function of its name or another, and the line that `releve --help` prints of it.

    The line stands here, so that no command is imported for it; it must fit into 80 columns.
    """

    module: str
    line: str
    function: str = ""

    def load(self, name: str) -> click.Command:
        command: click.Command = getattr(import_module(self.module), self.function or name.replace("-", "_"))
        return command


GROUPS: Final[Mapping[str, Mapping[str, ListedCommand]]] = {
    "Inspect": {
        "status": ListedCommand("worker.cli.status", "Show the state of all accounts, or of one."),
        "explain": ListedCommand("worker.cli.explain", "Explain why a day's data is missing."),
        "show": ListedCommand("worker.cli.show", "Print the stored data of an account."),
        "history": ListedCommand("worker.cli.explain", "Show the corrections of a day."),
        "completeness": ListedCommand("worker.cli.explain", "Count complete and missing days of an account."),
        "freshness": ListedCommand("worker.cli.status", "Show how many accounts have yesterday's data."),
        "incidents": ListedCommand("worker.cli.incidents", "Show incidents; open or close one."),
        "doctor": ListedCommand("worker.cli.doctor", "Check settings, servers, workers and beat."),
        "audit": ListedCommand("worker.cli.audit", "Show who did what, by page, API or command."),
        "support-bundle": ListedCommand("worker.cli.status", "Write a file about an account, for support."),
    },
    "Accounts and consents": {
        "home": ListedCommand("worker.cli.home", "Set up your own home; show its state."),
        "accounts": ListedCommand("worker.cli.accounts", "Add, list, pause, resume and remove accounts."),
        "consents": ListedCommand("worker.cli.consents", "Show when consents end; check their proofs."),
        "invite": ListedCommand("worker.cli.consents", "Print a link with which a person consents."),
        "invitations": ListedCommand("worker.cli.consents", "List and revoke invitation links."),
        "requests": ListedCommand("worker.cli.consents", "Accept or refuse connection requests."),
        "rights": ListedCommand("worker.cli.consents", "Show the access rights to gas meters."),
    },
    "Fetch and check data": {
        "sync": ListedCommand("worker.cli.sync", "Fetch the last days of an account."),
        "backfill": ListedCommand("worker.cli.sync", "Fetch the missing history of an account."),
        "import": ListedCommand("worker.cli.import_files", "Import downloaded files.", "import_files"),
        "verify": ListedCommand("worker.cli.sync", "Compare stored readings and totals; repair them."),
        "replay": ListedCommand("worker.cli.sync", "Parse kept answers again, after a bug fix."),
        "quarantine": ListedCommand("worker.cli.sync", "Show supplier answers of an unknown form."),
    },
    "Outputs": {
        "outputs": ListedCommand("worker.cli.outputs", "Send measures to Home Assistant, MQTT and others."),
    },
    "Run": {
        "up": ListedCommand("worker.cli.processes", "Run worker, beat, web and Flower."),
        "web": ListedCommand("worker.cli.processes", "Serve the web pages and the API."),
        "metrics": ListedCommand("worker.cli.processes", "Serve metrics for Prometheus."),
        "health": ListedCommand("worker.cli.health", "Check a container's health."),
        "plan": ListedCommand("worker.cli.plan", "Compute whether nightly syncs fit the quota."),
        "migrate": ListedCommand("worker.cli.migrate", "Update the databases to this version."),
        "migrate-layout": ListedCommand("worker.cli.migrate", "Move the measures to another layout."),
        "backup": ListedCommand("worker.cli.backup", "Back up the registry and the measures."),
        "backup-info": ListedCommand("worker.cli.backup", "Check a backup and show what is in it."),
        "restore": ListedCommand("worker.cli.backup", "Restore a backup."),
    },
    "Access and secrets": {
        "operators": ListedCommand("worker.cli.access", "Add, list and remove operators."),
        "sessions": ListedCommand("worker.cli.access", "List and end browser sessions."),
        "tokens": ListedCommand("worker.cli.access", "Create, list and revoke API tokens."),
        "proxy-clients": ListedCommand("worker.cli.access", "Create, change, list and revoke proxy clients."),
        "grants": ListedCommand("worker.cli.grants", "List and end grants of proxy clients."),
        "tenants": ListedCommand("worker.cli.access", "Set up tenants that share an installation."),
        "keys": ListedCommand("worker.cli.secrets", "Create a key, or rotate the keys."),
        "secrets": ListedCommand("worker.cli.secrets", "Create an installation's secrets."),
    },
    "Try it out": {
        "demo": ListedCommand("drill.demo", "Connect three pretend homes and show a week."),
        "pretend-homes": ListedCommand("drill.demo", "Connect three pretend homes."),
        "simulate": ListedCommand("worker.cli.simulate_and_drill", "Run a simulator of the suppliers."),
        "drill": ListedCommand("worker.cli.simulate_and_drill", "Test fault tolerance: kill parts, then compare."),
    },
}
COMMANDS: Final[Mapping[str, ListedCommand]] = {name: one for group in GROUPS.values() for name, one in group.items()}
OF_GAS: Final = frozenset({"rights"})  # Shown where gas is set up.


class LazyGroup(click.Group):
    """The group of all commands; each is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS if _shows_gas(ctx) else COMMANDS.keys() - OF_GAS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        from worker.cli.command_audit import record_command

        listed = COMMANDS[cmd_name]
        command = listed.load(cmd_name)
        command.short_help = listed.line  # The completion of a shell shows it.
        return record_command(command, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:  # Click looks for similar names in ``commands``, which is empty here.
            raise NoSuchCommand(error.command_name, possibilities=self.list_commands(ctx), ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        listed = set(self.list_commands(ctx))
        width = max(map(len, COMMANDS))
        for title, group in GROUPS.items():
            rows = [(name.ljust(width), one.line) for name, one in group.items() if name in listed]
            with formatter.section(title):
                formatter.write_dl(rows)


def _shows_gas(context: click.Context) -> bool:
    """Return ``shows_gas``; the settings are not loaded where nothing mentions the one that counts."""
    if context.obj is None and not any(name.upper().startswith(_GAS_SETTING) for name in os.environ):
        file = Path(".env")
        if not (file.is_file() and _GAS_SETTING in file.read_text(encoding="utf-8", errors="replace").upper()):
            return False
    from worker.cli.gas_option import shows_gas

    return shows_gas(context)


def _print_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    """Print the version, for which git may be asked; click's own option would ask at each start."""
    if asked and not ctx.resilient_parsing:
        click.echo(f"releve, version {describe_version()}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log to standard error.")
def cli(verbose: bool) -> None:
    """Collect the readings of Linky meters from Enedis, and store them in CouchDB or SQL.

    Settings come from RELEVE_* variables and a .env file. To try Relève, you need no settings.

    \b
    Examples:
      releve demo
      releve accounts add --usage-point 12345678901234
      releve backfill ACCOUNT --inline
      releve show ACCOUNT --by day --from 2024-07-01
    """
    from config.unknown_settings import removed_settings, unknown_settings
    from worker.ops.logging_setup import configure_command

    configure_command(verbose=verbose)
    if click.get_current_context().invoked_subcommand not in _SAY_IT_THEMSELVES:
        for line in (*removed_settings(), *unknown_settings()):
            click.echo(f"releve: {line}", err=True)


def main() -> None:
    """Run the command and exit with its code."""
    keep_files_private()
    # SIGTERM becomes an exception, so that connections and files are closed on the way out.
    signal.signal(signal.SIGTERM, _raise_interrupt)
    sys.exit(_run())


def _raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _run() -> int:
    try:
        outcome: Any = cli.main(prog_name="releve", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except NoArgsIsHelpError as error:  # A group without a subcommand: its help, with the exit code of a misuse.
        click.echo(error.format_message(), err=True)
        return MISUSE
    except click.UsageError as error:
        hint = f" (see: {error.ctx.command_path} --help)" if error.ctx else ""
        return _fail(error.format_message() + hint, MISUSE)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted: what is stored stays; run the command again to continue", INTERRUPTED)
    except WorkerError as error:
        return _fail(str(error), FAILED)
    except BrokenPipeError:  # Whatever reads our output has closed it, like `head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        from config.settings import ConfigError

        if isinstance(error, ConfigError):
            for line in str(error).splitlines():
                _fail(line, MISUSE)
            return MISUSE
        if isinstance(error, OSError) and (fault := describe_machine_fault(error)):
            return _fail(fault, FAILED)
        logging.getLogger("releve").info("unforeseen", exc_info=error)
        return _fail(
            f"unexpected {type(error).__name__}, a bug in Relève: please report it with the output of `releve -v …`",
            FAILED,
        )
    return outcome if isinstance(outcome, int) else 0


def _fail(text: str, code: int) -> int:
    click.echo(f"releve: {' '.join(text.split())}", err=True)
    return code
