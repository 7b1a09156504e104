"""The command group `releve`, and the place where every error becomes one line and an exit code.

What a single command needs is imported when that command runs: `releve` alone needs neither settings nor drivers.

The commands by group, each with the line that `releve --help` prints of it.

The lines stand here, so that no command is imported for them. A test holds that each command has one, and that none is
too long for 80 columns.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click
from click.exceptions import NoArgsIsHelpError, NoSuchCommand

from worker.errors import WorkerError
from worker.ops.machine import describe_machine_fault, describe_version, keep_files_private

GROUPS: Final[Mapping[str, Mapping[str, str]]] = {
    "Inspect": {
        "status": "Show the state of all accounts, or of one.",
        "explain": "Explain why a day's data is missing.",
        "show": "Print the stored data of an account.",
        "history": "Show the corrections of a day.",
        "completeness": "Count complete and missing days of an account.",
        "freshness": "Show how many accounts have yesterday's data.",
        "incidents": "Show incidents; open or close one.",
        "doctor": "Check settings, servers, workers and beat.",
        "audit": "Show who did what, by page, API or command.",
        "support-bundle": "Write a file about an account, for support.",
    },
    "Accounts and consents": {
        "home": "Set up your own home; show its state.",
        "accounts": "Add, list, pause, resume and remove accounts.",
        "consents": "Show when consents end; check their proofs.",
        "invite": "Print a link with which a person consents.",
        "invitations": "List and revoke invitation links.",
        "requests": "Accept or refuse connection requests.",
        "rights": "Show the access rights to gas meters.",
    },
    "Fetch and check data": {
        "sync": "Fetch the last days of an account.",
        "backfill": "Fetch the missing history of an account.",
        "import": "Import downloaded files.",
        "verify": "Compare stored readings and totals; repair them.",
        "replay": "Parse kept answers again, after a bug fix.",
        "quarantine": "Show supplier answers of an unknown form.",
    },
    "Outputs": {
        "outputs": "Send measures to Home Assistant, MQTT and others.",
    },
    "Run": {
        "up": "Run worker, beat, web and Flower.",
        "web": "Serve the web pages and the API.",
        "metrics": "Serve metrics for Prometheus.",
        "health": "Check a container's health.",
        "plan": "Compute whether nightly syncs fit the quota.",
        "migrate": "Update the databases to this version.",
        "migrate-layout": "Move the measures to another layout.",
        "backup": "Back up the registry and the measures.",
        "backup-info": "Check a backup and show what is in it.",
        "restore": "Restore a backup.",
    },
    "Access and secrets": {
        "operators": "Add, list and remove operators.",
        "sessions": "List and end browser sessions.",
        "tokens": "Create, list and revoke API tokens.",
        "proxy-clients": "Create, list and revoke proxy clients.",
        "tenants": "Set up tenants that share an installation.",
        "keys": "Create a key, or rotate the keys.",
        "secrets": "Create an installation's secrets.",
    },
    "Try it out": {
        "demo": "Connect three pretend homes and show a week.",
        "pretend-homes": "Connect three pretend homes.",
        "simulate": "Run a simulator of the suppliers.",
        "drill": "Test fault tolerance: kill parts, then compare.",
    },
}
COMMANDS: Final[Mapping[str, str]] = {name: line for group in GROUPS.values() for name, line in group.items()}
OF_GAS: Final = frozenset({"rights"})  # Shown where gas is set up.


FAILED: Final = 1
MISUSE: Final = 2
INTERRUPTED: Final = 130
_SAY_IT_THEMSELVES: Final = ("doctor", "health")  # Or nothing, as containers ask every few seconds.
_GAS_SETTING: Final = "RELEVE_GRDF_CLIENT_ID"
PLACES: Final = {
    "account_series": ("worker.cli.accounts", "account_series"),
    "accounts": ("worker.cli.accounts", "accounts"),
    "audit": ("worker.cli.audit", "audit"),
    "backfill": ("worker.cli.sync", "backfill"),
    "backup": ("worker.cli.backup", "backup"),
    "backup_info": ("worker.cli.backup", "backup_info"),
    "completeness": ("worker.cli.explain", "completeness"),
    "consents": ("worker.cli.consents", "consents"),
    "demo": ("drill.demo", "demo"),
    "doctor": ("worker.cli.doctor", "doctor"),
    "drill": ("worker.cli.trial", "drill"),
    "explain": ("worker.cli.explain", "explain"),
    "freshness": ("worker.cli.status", "freshness"),
    "health": ("worker.cli.health", "health"),
    "history": ("worker.cli.explain", "history"),
    "home": ("worker.cli.home", "home"),
    "import_files": ("worker.cli.import_files", "import_files"),
    "incidents": ("worker.cli.incidents", "incidents"),
    "invitations": ("worker.cli.consents", "invitations"),
    "invite": ("worker.cli.consents", "invite"),
    "keys": ("worker.cli.secrets", "keys"),
    "main": ("worker.cli.main", "main"),
    "metrics": ("worker.cli.processes", "metrics"),
    "migrate": ("worker.cli.migrate", "migrate"),
    "migrate_layout": ("worker.cli.migrate", "migrate_layout"),
    "operators": ("worker.cli.access", "operators"),
    "outputs": ("worker.cli.outputs", "outputs"),
    "plan": ("worker.cli.plan", "plan"),
    "pretend_homes": ("drill.demo", "pretend_homes"),
    "proxy_clients": ("worker.cli.access", "proxy_clients"),
    "quarantine": ("worker.cli.sync", "quarantine"),
    "replay": ("worker.cli.sync", "replay"),
    "requests": ("worker.cli.consents", "requests"),
    "restore": ("worker.cli.backup", "restore"),
    "rights": ("worker.cli.consents", "rights"),
    "secrets": ("worker.cli.secrets", "secrets"),
    "sessions": ("worker.cli.access", "sessions"),
    "show": ("worker.cli.show", "show"),
    "simulate": ("worker.cli.trial", "simulate"),
    "status": ("worker.cli.status", "status"),
    "support_bundle": ("worker.cli.status", "support_bundle"),
    "sync": ("worker.cli.sync", "sync"),
    "tenants": ("worker.cli.access", "tenants"),
    "tokens": ("worker.cli.access", "tokens"),
    "up": ("worker.cli.processes", "up"),
    "verify": ("worker.cli.sync", "verify"),
    "web": ("worker.cli.processes", "web"),
}
_MODULES: Final = {"import": "import_files"}  # A word of Python is no name there.


class LazyGroup(click.Group):
    """The group of all commands; each is in a module and a function of its name, and imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS if _shows_gas(ctx) else COMMANDS.keys() - OF_GAS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        from worker.cli.audit_trail import record_command

        name = _MODULES.get(cmd_name, cmd_name.replace("-", "_"))
        command: click.Command = getattr(import_module(PLACES[name][0]), PLACES[name][1])
        command.short_help = COMMANDS[cmd_name]  # The completion of a shell shows it.
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
            rows = [(name.ljust(width), line) for name, line in group.items() if name in listed]
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
