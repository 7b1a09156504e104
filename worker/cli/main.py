"""The command group `releve`, and the place where every error becomes one line and an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
from importlib.metadata import version
from typing import Any, Final

import click

from config.settings import ConfigError
from worker.errors import WorkerError
from worker.ops.logging_setup import configure_command

FAILED: Final = 1
MISUSE: Final = 2
INTERRUPTED: Final = 130

# Command, then its module and function.  Modules are imported when called: `releve --help` needs neither Celery nor a
# database driver.
_COMMANDS: Final = {
    "accounts": ("worker.cli.accounts", "accounts"),
    "backfill": ("worker.cli.backfill", "backfill"),
    "backup": ("worker.cli.backup", "backup"),
    "completeness": ("worker.cli.completeness", "completeness"),
    "consents": ("worker.cli.consents", "consents"),
    "demo": ("worker.cli.demo", "demo"),
    "doctor": ("worker.cli.doctor", "doctor"),
    "drill": ("worker.cli.drill", "drill"),
    "explain": ("worker.cli.explain", "explain"),
    "freshness": ("worker.cli.freshness", "freshness"),
    "health": ("worker.cli.health", "health"),
    "history": ("worker.cli.history", "history"),
    "incidents": ("worker.cli.incidents", "incidents"),
    "keys": ("worker.cli.keys", "keys"),
    "metrics": ("worker.cli.metrics", "metrics"),
    "migrate": ("worker.cli.migrate", "migrate"),
    "migrate-layout": ("worker.cli.migrate_layout", "migrate_layout"),
    "plan": ("worker.cli.plan", "plan"),
    "pretend-homes": ("worker.cli.pretend_homes", "pretend_homes"),
    "quarantine": ("worker.cli.quarantine", "quarantine"),
    "replay": ("worker.cli.replay", "replay"),
    "restore": ("worker.cli.restore", "restore"),
    "secrets": ("worker.cli.secrets", "secrets"),
    "show": ("worker.cli.show", "show"),
    "simulate": ("worker.cli.simulate", "simulate"),
    "status": ("worker.cli.status", "status"),
    "support-bundle": ("worker.cli.support_bundle", "support_bundle"),
    "sync": ("worker.cli.sync", "sync"),
    "tokens": ("worker.cli.tokens", "tokens"),
    "up": ("worker.cli.up", "up"),
    "verify": ("worker.cli.verify", "verify"),
    "web": ("worker.cli.web", "web"),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(__import__(module, fromlist=[name]), name)
        return command


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


def main() -> None:
    """Run the command and exit with its code."""
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
        logging.getLogger("releve").info("unforeseen", exc_info=error)
        return _fail(f"unforeseen {type(error).__name__}, a bug of ours: please report it with `releve -v …`", FAILED)
    return outcome if isinstance(outcome, int) else 0


def _fail(text: str, code: int) -> int:
    click.echo(f"releve: {' '.join(text.split())}", err=True)
    return code
