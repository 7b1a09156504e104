"""Commands that write an entry to the audit trail: who ran the command, on what, and the outcome.

Each command declares as ``audit`` which action it records, or why it records none.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Final

import click

from config.settings import ConfigError, get_settings
from worker.domain.audit_entry import DONE, Actor, ActorKind, AuditAction, AuditEntry, new_entry
from worker.domain.clock import real_clock
from worker.errors import OperatorFault, WorkerError

READS: Final = "it only reads"
SERVES: Final = "it runs a service, whose own doors record"
OWN_DATA: Final = "it works on pretended homes of its own"
_NOTES: Final = "worker.cli.command_audit"  # The key of a command's notes in click's ``Context.meta``.
# A ``Finder`` takes a call's parameters and returns the action to record; None if the call only reads. An ``Audit`` is
# the action that a command always records, a finder, or a text that says why the command records nothing.
Finder = Callable[[Mapping[str, Any]], AuditAction | None]
Audit = AuditAction | Finder | str


def with_options(otherwise: AuditAction | None = None, **actions: AuditAction | None) -> Finder:
    """Return a finder for a command whose options decide which action is recorded.

    The finder returns the action of the first option in ``actions`` that the call sets, else ``otherwise``.
    """
    return lambda given: next((action for name, action in actions.items() if given[name]), otherwise)


class Command(click.Command):
    """A command that records the action of ``audit`` in the audit trail.

    ``subject``: the name of the parameter that says what the command acts on.
    """

    def __init__(self, *args: Any, audit: Audit, subject: str = "", **options: Any) -> None:
        super().__init__(*args, **options)
        self.audit, self.subject = audit, subject

    def find_action(self, parameters: Mapping[str, Any]) -> AuditAction | None:
        """Return the action of a call with these parameters; None if the call is not recorded."""
        if isinstance(self.audit, AuditAction):
            return self.audit
        return None if isinstance(self.audit, str) else self.audit(parameters)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and write an entry to the audit trail if this call has an action to record."""
        action = self.find_action(ctx.params)
        if action is None:
            return super().invoke(ctx)
        outcome = "interrupted"
        try:
            result = super().invoke(ctx)
            outcome = f"exit_{result}" if isinstance(result, int) and result else DONE
            return result
        except click.UsageError:
            outcome = ""  # The call was not understood and nothing was tried, so no entry is written.
            raise
        except BrokenPipeError as error:  # The reader of our output has gone, perhaps before the work was done.
            raise click.Abort from error
        except Exception as error:
            outcome = _outcome_of(error)
            raise
        finally:
            if outcome:
                _append(_to_entry(ctx, action, outcome, self.subject))


class Group(click.Group):
    """A group whose commands each have an ``audit``; a call of the group without a subcommand records nothing."""

    command_class = Command


def command(name: str | None = None, *, audit: Audit, **options: Any) -> Callable[[Callable[..., Any]], Command]:
    """Return a decorator that makes a function a command outside any group."""
    return click.command(name, cls=Command, audit=audit, **options)


def only_looks() -> bool:
    """Return whether the running command records no action, which means that it changes nothing."""
    context = click.get_current_context()
    return not isinstance(context.command, Command) or context.command.find_action(context.params) is None


def note_result(subject: str | None = None, *, account_id: str | None = None) -> None:
    """Set subject and account of the running command's audit entry; needed if no parameter of the command has them."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_NOTES] = (subject, account_id)


def machine_user() -> str:
    """Return the name of the user who runs this process; under sudo, the name of the user who called sudo."""
    return os.environ.get("SUDO_USER") or shell_user_name()


def shell_user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container may run under a user id without a name.
        return f"uid {os.getuid()}"


def _outcome_of(error: Exception) -> str:
    match error:
        case click.exceptions.Exit():
            return f"exit_{error.exit_code}" if error.exit_code else DONE
        case click.Abort():
            return "interrupted"
        case click.ClickException():
            return "refused"
        case ConfigError():
            return "config"
        case WorkerError():
            return type(error).__name__ if error.code == WorkerError.code else error.code
    return "failed"


def _to_entry(context: click.Context, action: AuditAction, outcome: str, subject_name: str) -> AuditEntry:
    subject, account_id = context.meta.get(_NOTES, (None, None))
    return new_entry(
        real_clock(),
        Actor(ActorKind.COMMAND, machine_user()),
        action,
        outcome,
        tenant=context.params.get("tenant"),
        account_id=account_id or context.params.get("account_id"),
        subject=subject or context.params.get(subject_name),
    )


def _append(entry: AuditEntry) -> None:
    """Write an audit entry. If that fails, print a line, unless the command itself has failed and printed a line."""
    try:
        _append_to_registry(entry)
    except (WorkerError, ConfigError) as error:
        if entry.outcome == DONE:
            first_line = str(error).partition("\n")[0]
            click.echo(f"releve: this is not recorded in the audit trail: {first_line}", err=True)


def _append_to_registry(entry: AuditEntry) -> None:
    # Imported here so that commands start without loading a database driver.
    from worker.ops.check_results import missing_sqlite_file
    from worker.runtime.stores import open_registry

    settings = get_settings()
    if missing_sqlite_file(settings.registry()):
        raise OperatorFault("no registry was found")
    with ExitStack() as stack:
        open_registry(settings, stack).audit.append(entry)
