"""The command group `releve`: it has the table of commands, and turns each error into one line and an exit code.

A command is imported only when it is called: `releve` alone needs neither settings nor drivers.
"""

from __future__ import annotations

import logging
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

import click
from click.exceptions import NoArgsIsHelpError, NoSuchCommand

from worker.errors import WorkerError
from worker.ops.machine import describe_machine_fault, describe_version, keep_files_private

FAILED: Final = 1
MISUSE: Final = 2
INTERRUPTED: Final = 130
# Before these commands, no wrong names of settings are printed: `doctor` reports them itself, and containers run
# `health` every few seconds.
_SAY_IT_THEMSELVES: Final = ("doctor", "health")
_HELP: Final = ["-h", "--help"]


class ListedCommand(NamedTuple):
    """The module of a command, and its line in `releve --help`.

    The line stands here so that the help needs no import of a command. The printed line must fit into 80 columns.
    """

    module: str
    line: str

    def load(self, name: str) -> click.Command:
        found = vars(import_module(self.module)).values()
        return next(one for one in found if isinstance(one, click.Command) and one.name == name)


GROUPS: Final[Mapping[str, Mapping[str, ListedCommand]]] = {
    "Inspect": {
        "status": ListedCommand("worker.cli.status", "Show the state of all accounts, or of one."),
        "explain": ListedCommand("worker.cli.explain", "Explain why a day's data is missing."),
        "show": ListedCommand("worker.cli.show", "Print the stored data of an account."),
        "incidents": ListedCommand("worker.cli.incidents", "Show incidents; open or close one."),
        "doctor": ListedCommand("worker.cli.doctor", "Check settings, servers, workers and beat."),
        "audit": ListedCommand("worker.cli.audit", "Show who did what, by page, API or command."),
        "support-bundle": ListedCommand("worker.cli.status", "Write a file about an account, for support."),
    },
    "Accounts and consents": {
        "home": ListedCommand("worker.cli.home", "Set up your own home; show its state."),
        "accounts": ListedCommand("worker.cli.accounts", "Add, list, pause, resume and remove accounts."),
        "consents": ListedCommand("worker.cli.consents", "Show consents, and what leads to them."),
        "campaigns": ListedCommand("worker.cli.campaigns", "Ask many households to consent again, by mail."),
        "invite": ListedCommand("worker.cli.consents", "Print a link with which a person consents."),
    },
    "Fetch and check data": {
        "sync": ListedCommand("worker.cli.sync", "Fetch the last days of an account, or its history."),
        "import": ListedCommand("worker.cli.import_files", "Import downloaded files."),
        "verify": ListedCommand("worker.cli.sync", "Compare stored readings and totals; repair them."),
        "replay": ListedCommand("worker.cli.sync", "Parse kept answers again, after a bug fix."),
        "quarantine": ListedCommand("worker.cli.sync", "Show supplier answers of an unknown form."),
    },
    "Costs": {
        "cost": ListedCommand("worker.cli.cost", "Print what the energy of an account costs."),
        "prices": ListedCommand("worker.cli.prices", "Set what an account pays; update the regulator's prices."),
    },
    "Outputs": {"outputs": ListedCommand("worker.cli.outputs", "Send measures to Home Assistant, MQTT and others.")},
    "Run": {
        "up": ListedCommand("worker.cli.processes", "Run worker, beat, web and Flower."),
        "web": ListedCommand("worker.cli.processes", "Serve the web pages and the API."),
        "metrics": ListedCommand("worker.cli.processes", "Serve metrics for Prometheus."),
        "health": ListedCommand("worker.cli.health", "Check a container's health."),
        "plan": ListedCommand("worker.cli.plan", "Compute whether nightly syncs fit the quota."),
        "migrate": ListedCommand("worker.cli.migrate", "Update the databases to this version."),
        "backup": ListedCommand("worker.cli.backup", "Back up the registry and the measures."),
        "restore": ListedCommand("worker.cli.backup", "Restore a backup."),
    },
    "Access and secrets": {
        "access": ListedCommand("worker.cli.access", "Operators, sessions, tokens and proxy clients."),
        "tenants": ListedCommand("worker.cli.access", "Set up tenants that share an installation."),
        "secrets": ListedCommand("worker.cli.secrets", "Create an installation's secrets and keys."),
    },
    "Try it out": {
        "demo": ListedCommand("drill.demo", "Connect three pretend homes and show a week."),
        "simulate": ListedCommand("simulator.command", "Run a simulator of the suppliers."),
        "drill": ListedCommand("drill.command", "Test fault tolerance: kill parts, then compare."),
    },
}
COMMANDS: Final[Mapping[str, ListedCommand]] = {name: one for group in GROUPS.values() for name, one in group.items()}

# The commands of 0.2.0 and their replacements; the first match counts.
# The key "completeness --rebuild" matches each call of `completeness` that has --rebuild, wherever the option stands.
# In that call the replacement's last word (--rebuild-days) replaces the option, and its other words (verify) replace
# the command.
# If a replacement ends with "=", its last word is an option, whose value is the first argument of the call.
ALIASES: Final[Mapping[str, str]] = {
    "history": "explain --corrections",
    "completeness --rebuild": "verify --rebuild-days",
    "completeness": "explain --days",
    "freshness": "status --freshness",
    "home token": "home add --known-only",
    "accounts find": "accounts list --meter=",
    "consents export": "consents show",
    "invitations revoke": "consents revoke",
    "invitations list": "consents --invitations",
    "invitations": "consents --invitations",
    "requests accept": "consents accept",
    "requests refuse": "consents refuse",
    "requests open-reading": "consents unblock",
    "requests list": "consents --requests",
    "requests": "consents --requests",
    "rights check": "consents check",
    "rights proof": "consents proof",
    "rights": "consents --rights",
    "backfill": "sync --history",
    "quarantine list": "quarantine",
    "quarantine show": "quarantine",
    "quarantine clear": "quarantine --remove",
    "migrate-layout --to": "migrate --layout",
    "migrate-layout": "migrate --layout=",
    "backup-info": "backup --show=",
    "operators add": "access add-operator",
    "operators list": "access list --kind operator",
    "operators end": "access remove operator",
    "operators link": "access link",
    "operators password": "access password",
    "operators": "access",
    "sessions list --kind": "access list --kind session --of",
    "sessions list": "access list --kind session",
    "sessions end --kind": "access remove session --of",
    "sessions end": "access remove session",
    "sessions": "access",
    "tokens new": "access add-token",
    "tokens list": "access list --kind token",
    "tokens revoke": "access remove token",
    "tokens": "access",
    "proxy-clients new": "access add-client",
    "proxy-clients set": "access set-client",
    "proxy-clients list": "access list --kind client",
    "proxy-clients revoke": "access remove client",
    "proxy-clients": "access",
    "grants list": "access list --kind grant",
    "grants remove": "access remove grant",
    "grants": "access",
    "tenants list": "tenants",
    "tenants set": "tenants",
    "keys new": "secrets add --key",
    "keys rotate": "secrets rotate",
    "keys": "secrets",
    "secrets make": "secrets add",
    "pretend-homes": "demo --homes-only",
}

# How many arguments an old command needed, if its replacement needs fewer.
_NEEDED: Final = {"history": 2, "invitations": 1, "requests": 1, "quarantine show": 1, "tenants set": 1}


def find_alias(words: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the key of the alias that a call begins with, and the words that replace the call; None without alias."""
    for old, target in ALIASES.items():
        first, _, option = old.partition(" --")
        number = first.count(" ") + 1
        arguments = [*words[number:]]
        if [*words[:number]] != first.split() or (option and f"--{option}" not in _names(arguments)):
            continue
        new = target
        if option:
            new, _, last = target.rpartition(" ")
            arguments = [
                f"{last}{word[len(option) + 2 :]}" if name == f"--{option}" else word
                for name, word in zip(_names(arguments), arguments, strict=True)
            ]
        elif target.endswith("="):
            new, _, last = target.rpartition(" ")
            arguments = _give_value(last, arguments)
        return old, [*new.split(), *arguments]
    return None


def _names(arguments: Sequence[str]) -> list[str]:
    """Return the arguments, with ``--option=value`` shortened to ``--option``."""
    return [word.partition("=")[0] for word in arguments]


def _give_value(option: str, arguments: list[str]) -> list[str]:
    """Put ``option``, like ``--meter=``, directly before the first argument, which becomes the option's value.

    If there is no argument, append the option without ``=``, unless help is asked for.
    """
    for place, word in enumerate(arguments):
        if word == "-" or not word.startswith("-"):
            return [*arguments[:place], option + word, *arguments[place + 1 :]]
    return arguments if {*_HELP}.intersection(arguments) else [*arguments, option.removesuffix("=")]


class LazyGroup(click.Group):
    """The group of all commands; each command is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        listed = COMMANDS[cmd_name]
        command = listed.load(cmd_name)
        command.short_help = listed.line  # Shown by shell completion.
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if alias := find_alias(args):
            behind = args[len(alias[0].split()) :]
            old, args = alias
            if "--json" not in args and not ctx.resilient_parsing:
                new = ALIASES[old].removesuffix("=")
                click.echo(
                    f"releve: `releve {old}` is now `releve {new}`: the old words end with this release", err=True
                )
            missing = _NEEDED.get(old, 0) - sum(not word.startswith("-") for word in behind)
            if missing > 0 and not ctx.resilient_parsing and not {*_HELP}.intersection(behind):
                raise click.UsageError(f"`releve {old}` needs {missing} more: a command or an argument", ctx)
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:  # Click looks for similar names in ``commands``, which is empty here.
            raise NoSuchCommand(error.command_name, possibilities=self.list_commands(ctx), ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), one.line) for name, one in group.items()])


def _print_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    """Print the version. Click's own option would look up the version at each start, and the look-up may run git."""
    if asked and not ctx.resilient_parsing:
        click.echo(f"releve, version {describe_version()}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": _HELP})
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
      releve sync ACCOUNT --history --inline
      releve show ACCOUNT --by day --from 2024-07-01
    """
    from config.unknown_settings import removed_settings, unknown_settings
    from worker.ops.logging_setup import configure_command

    configure_command(verbose=verbose)
    if click.get_current_context().invoked_subcommand not in _SAY_IT_THEMSELVES:
        for line in (*removed_settings(), *unknown_settings()):
            click.echo(f"releve: {line}", err=True)


def main() -> None:
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
    except click.ClickException as error:
        return _explain_misuse(error)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted: what is stored stays; run the command again to continue", INTERRUPTED)
    except SystemExit as exit_:
        if exit_.code != FAILED:
            raise
        # Click ends in this way after a broken pipe. If it was our output, its reader, like `head`, has enough lines.
        return 0 if _is_output_closed() else _explain(BrokenPipeError())
    except Exception as error:  # noqa: BLE001 - Each error is reported in a line; an unexpected error is also logged.
        return _explain(error)
    return outcome if isinstance(outcome, int) else 0


def _is_output_closed() -> bool:
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # Even with 0, a pipe without a reader is reported.
    return bool(poll.poll(0))


def _explain_misuse(error: click.ClickException) -> int:
    if isinstance(error, NoArgsIsHelpError):  # A group was called without a subcommand, so its help is printed.
        click.echo(error.format_message(), err=True)
        return MISUSE
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f" (see: {context.command_path} --help)" if context else ""
    return _fail(error.format_message() + hint, error.exit_code)


def _explain(error: Exception) -> int:
    from config.settings import ConfigError

    if isinstance(error, WorkerError):
        return _fail(str(error), FAILED)
    if isinstance(error, ConfigError):
        for line in str(error).splitlines():
            _fail(line, MISUSE)
        return MISUSE
    if isinstance(error, OSError) and (fault := describe_machine_fault(error)):
        return _fail(fault, FAILED)
    logging.getLogger("releve").info("unforeseen", exc_info=error)
    unexpected = f"unexpected {type(error).__name__}, a bug in Relève"
    return _fail(f"{unexpected}: please report it with the output of `releve -v …`", FAILED)


def _fail(text: str, code: int) -> int:
    click.echo(f"releve: {' '.join(text.split())}", err=True)
    return code
