"""The command group `releve`, and the place where every error becomes one line and an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Final

import click

from config.settings import ConfigError
from config.unknown_settings import removed_settings, unknown_settings
from worker.cli.audit_trail import record_command
from worker.cli.gas_option import shows_gas
from worker.errors import WorkerError
from worker.ops.logging_setup import configure_command
from worker.ops.machine import describe_machine_fault, keep_files_private

FAILED: Final = 1
MISUSE: Final = 2
INTERRUPTED: Final = 130

_HELPERS: Final = {
    "account_find",
    "account_series",
    "audit_trail",
    "common",
    "demo_gas",
    "demo_homes",
    "gas_option",
    "main",
    "own_meters",
    "progress",
    "supervise",
    "totals_check",
    "window_commands",
}

_SAY_IT_THEMSELVES: Final = ("doctor", "health")  # Or nothing, as containers ask every few seconds.
_OF_GAS: Final = {"rights"}  # Shown where gas is set up.


class LazyGroup(click.Group):
    """A group with a command for each file of this package but the helpers, in a function of the file's name.

    A file is imported when it is called: `releve --help` needs neither Celery nor a database driver.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        modules = (module.name for module in iter_modules([str(Path(__file__).parent)]))
        left_out = _HELPERS if shows_gas(ctx) else _HELPERS | _OF_GAS
        return sorted(name.replace("_", "-") for name in modules if name not in left_out)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"worker.cli.{name}"), name)
        return record_command(command, cmd_name)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("releve"), prog_name="releve")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens, on the error stream.")
def cli(verbose: bool) -> None:
    """Keep the measures of Linky meters in CouchDB in step with Enedis.

    Settings come from RELEVE_* variables and a .env file; without any, embedded defaults serve.

    \b
    Examples:
      releve demo                       three pretend homes, from consent to totals
      releve accounts add --usage-point 12345678901234
      releve backfill ACCOUNT --inline
      releve show ACCOUNT --by day --from 2024-07-01
    """
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
    except click.UsageError as error:
        hint = f" (see: {error.ctx.command_path} --help)" if error.ctx else ""
        return _fail(error.format_message() + hint, MISUSE)
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; what was stored is kept, and the same command goes on from there", INTERRUPTED)
    except ConfigError as error:
        for line in str(error).splitlines():
            _fail(line, MISUSE)
        return MISUSE
    except WorkerError as error:
        return _fail(str(error), FAILED)
    except BrokenPipeError:  # Whatever reads our output has closed it, like `head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if isinstance(error, OSError) and (fault := describe_machine_fault(error)):
            return _fail(fault, FAILED)
        logging.getLogger("releve").info("unforeseen", exc_info=error)
        return _fail(f"unforeseen {type(error).__name__}, a bug of ours: please report it with `releve -v …`", FAILED)
    return outcome if isinstance(outcome, int) else 0


def _fail(text: str, code: int) -> int:
    click.echo(f"releve: {' '.join(text.split())}", err=True)
    return code
