"""The audit trail of the command line: each command that changes or reveals something leaves an entry.

``record_command`` wraps a command, so that the entry is written in one place: who calls, what with, and what came of
it. A new command needs a line in ``RECORDED``, or one with the reason in ``UNRECORDED``; a test says so.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final

import click

from config.settings import ConfigError, get_settings
from worker.domain.audit_entry import DONE, ActorKind, AuditAction, AuditEntry, new_entry
from worker.domain.clock import real_clock
from worker.errors import OperatorFault, WorkerError

_NOTES: Final = "worker.cli.command_audit"  # In the command's context.


@dataclass(frozen=True)
class Recorded:
    """What a command is recorded as. ``subject``: the parameter that names what it is done to, beside an account.

    ``only_with``: the options that make a change, with what each does; without one of them the command only shows.
    ``shows_with``: the option with which it only shows.
    """

    action: AuditAction | None = None
    subject: str = ""
    only_with: Mapping[str, AuditAction] = field(default_factory=dict)
    shows_with: str = ""

    def find_action(self, parameters: Mapping[str, Any]) -> AuditAction | None:
        """Return what a call with these parameters does; None where it only shows."""
        if parameters.get(self.shows_with):
            return None
        return next((action for name, action in self.only_with.items() if parameters.get(name)), self.action)


RECORDED: Final[Mapping[str, Recorded]] = {
    "accounts add": Recorded(AuditAction.ACCOUNT_ADD),
    "accounts find": Recorded(AuditAction.ACCOUNT_FIND),
    "accounts pause": Recorded(AuditAction.ACCOUNT_PAUSE),
    "accounts remove": Recorded(AuditAction.ACCOUNT_ERASE),
    "accounts resume": Recorded(AuditAction.ACCOUNT_RESUME),
    "accounts series": Recorded(only_with=dict.fromkeys(("on", "off", "fleet"), AuditAction.ACCOUNT_SERIES)),
    "backfill": Recorded(AuditAction.ACCOUNT_BACKFILL),
    "backup": Recorded(AuditAction.BACKUP_MAKE),
    "completeness": Recorded(only_with={"rebuild": AuditAction.ACCOUNT_REBUILD}),
    "consents export": Recorded(AuditAction.EVIDENCE_EXPORT),
    "grants remove": Recorded(AuditAction.GRANT_END, subject="grant_id"),
    "home add": Recorded(AuditAction.ACCOUNT_ADD),
    "home password": Recorded(AuditAction.RECOVERY_CODE),
    "home token": Recorded(AuditAction.ACCOUNT_TOKEN),
    "import": Recorded(AuditAction.ACCOUNT_IMPORT, shows_with="dry_run"),
    "incidents": Recorded(only_with={"opening": AuditAction.INCIDENT_OPEN, "closing": AuditAction.INCIDENT_CLOSE}),
    "invitations revoke": Recorded(AuditAction.INVITATION_REVOKE, subject="invitation_id"),
    "invite": Recorded(AuditAction.INVITATION_CREATE),
    "keys rotate": Recorded(AuditAction.KEYS_ROTATE),
    "migrate": Recorded(AuditAction.SCHEMA_MIGRATE),
    "migrate-layout": Recorded(AuditAction.LAYOUT_MIGRATE),
    "operators add": Recorded(AuditAction.OPERATOR_ADD, subject="name"),
    "operators end": Recorded(AuditAction.OPERATOR_END, subject="name"),
    "operators link": Recorded(AuditAction.OPERATOR_LINK, subject="name"),
    "operators password": Recorded(AuditAction.OPERATOR_PASSWORD, subject="name"),
    "outputs add": Recorded(AuditAction.OUTPUT_ADD),
    "outputs remove": Recorded(AuditAction.OUTPUT_REMOVE, subject="output_id"),
    "outputs resend": Recorded(AuditAction.OUTPUT_RESEND, subject="output_id"),
    "plan": Recorded(only_with=dict.fromkeys(("to_apply", "to_reset"), AuditAction.POLICY_SET)),
    "proxy-clients new": Recorded(AuditAction.PROXY_CLIENT_CREATE),
    "proxy-clients revoke": Recorded(AuditAction.PROXY_CLIENT_REVOKE, subject="client_id"),
    "proxy-clients set": Recorded(AuditAction.PROXY_CLIENT_SET, subject="client_id"),
    "quarantine clear": Recorded(AuditAction.SAMPLE_CLEAR, subject="surprise_id"),
    "quarantine show": Recorded(only_with={"raw": AuditAction.SAMPLE_SHOW}, subject="surprise_id"),
    "replay": Recorded(AuditAction.ACCOUNT_REPLAY),
    "requests accept": Recorded(AuditAction.REQUEST_ACCEPT, subject="request_id"),
    "requests open-reading": Recorded(AuditAction.READING_OPEN),
    "requests refuse": Recorded(AuditAction.REQUEST_REFUSE, subject="request_id"),
    "restore": Recorded(AuditAction.BACKUP_RESTORE),  # In the registry that it has filled.
    "rights check": Recorded(AuditAction.RIGHT_CHECK),
    "rights proof": Recorded(AuditAction.RIGHT_PROOF, subject="right_id"),
    "secrets show": Recorded(AuditAction.SECRET_SHOW, subject="name"),
    "sessions end": Recorded(AuditAction.SESSION_END, subject="session_id"),
    "support-bundle": Recorded(AuditAction.SUPPORT_BUNDLE),
    "sync": Recorded(AuditAction.ACCOUNT_SYNC),
    "tenants set": Recorded(AuditAction.TENANT_SET, subject="tenant"),
    "tokens new": Recorded(AuditAction.TOKEN_CREATE),
    "tokens revoke": Recorded(AuditAction.TOKEN_REVOKE, subject="token_id"),
    "verify": Recorded(only_with={"repair": AuditAction.ACCOUNT_REPAIR}),
}
_READS: Final = "it only reads"
_SERVES: Final = "it runs a service, whose own doors record"
_OWN_DATA: Final = "it works on pretended homes of its own"
UNRECORDED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("accounts list", "accounts show", "audit", "backup-info", "consents", "doctor"), _READS),
    **dict.fromkeys(
        ("consents verify", "explain", "freshness", "health live", "health ready", "history", "invitations list"),
        _READS,
    ),
    **dict.fromkeys(("grants list", "home"), _READS),
    **dict.fromkeys(("proxy-clients list", "quarantine list", "requests list", "rights", "show", "status"), _READS),
    **dict.fromkeys(
        ("operators list", "outputs list", "outputs test", "sessions list", "tenants list", "tokens list"), _READS
    ),
    **dict.fromkeys(("metrics", "up", "web"), _SERVES),
    **dict.fromkeys(("demo", "drill", "pretend-homes", "simulate"), _OWN_DATA),
    "keys new": "it makes up a key and stores nothing",
    "secrets make": "it runs at each start, before there is a registry",
}


def record_command(command: click.Command, path: str) -> click.Command:
    """Let a command and its subcommands leave their entries; safe to repeat."""
    for name, subcommand in command.commands.items() if isinstance(command, click.Group) else ():
        record_command(subcommand, f"{path} {name}")
    recorded, callback = RECORDED.get(path), command.callback
    if recorded is not None and callback is not None and not hasattr(callback, "is_recorded"):
        command.callback = _wrap(callback, recorded)
    return command


def note_result(subject: str | None = None, *, account_id: str | None = None) -> None:
    """Note what a command has made, where its parameters don't say so."""
    context = click.get_current_context(silent=True)
    if context is not None:
        context.meta[_NOTES] = (subject, account_id)


def machine_user() -> str:
    """Return the name of the machine's user, the one behind sudo where there is one."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # A container may run under a number that has no name.
        return f"uid {os.getuid()}"


def _wrap(callback: Callable[..., Any], recorded: Recorded) -> Callable[..., Any]:
    @wraps(callback)
    def run(*args: Any, **parameters: Any) -> Any:
        action = recorded.find_action(parameters)
        if action is None:
            return callback(*args, **parameters)
        outcome = "interrupted"
        try:
            result = callback(*args, **parameters)
            outcome = f"exit_{result}" if isinstance(result, int) and result else DONE
            return result
        except click.UsageError:
            outcome = ""  # It was not understood, so nothing was tried.
            raise
        except Exception as error:
            outcome = _outcome_of(error)
            raise
        finally:
            if outcome:
                _append(_to_entry(action, outcome, recorded, parameters))

    run.is_recorded = True  # type: ignore[attr-defined]
    return run


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


def _to_entry(action: AuditAction, outcome: str, recorded: Recorded, parameters: Mapping[str, Any]) -> AuditEntry:
    subject, account_id = click.get_current_context().meta.get(_NOTES, (None, None))
    return new_entry(
        real_clock(),
        ActorKind.COMMAND,
        machine_user(),
        action,
        outcome,
        tenant=parameters.get("tenant"),
        account_id=account_id or parameters.get("account_id"),
        subject=subject or parameters.get(recorded.subject),
    )


def _append(entry: AuditEntry) -> None:
    """Write an entry. Where that fails, a line says so; a command that has failed itself has said enough."""
    try:
        _append_to_registry(entry)
    except (WorkerError, ConfigError) as error:
        if entry.outcome == DONE:
            first_line = str(error).partition("\n")[0]
            click.echo(f"releve: this is not recorded in the audit trail: {first_line}", err=True)


def _append_to_registry(entry: AuditEntry) -> None:
    # Imported late: most commands need no database driver before they begin.
    from worker.ops.check_results import missing_sqlite_file
    from worker.runtime.stores import open_database
    from worker.stores.registry.audit import AuditTable

    settings = get_settings()
    if missing_sqlite_file(settings.registry()):
        raise OperatorFault("no registry was found")
    with ExitStack() as stack:
        AuditTable(open_database(settings, stack)).append(entry)
