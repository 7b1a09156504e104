"""Every command is recorded in the audit trail, or says why not; what is recorded, and as what."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from config.settings import ConfigError
from worker.cli import command_audit
from worker.cli.command_audit import OWN_DATA, READS, SERVES, Command, Group, command, machine_user, note_result
from worker.cli.gas_option import REFERENCE
from worker.cli.main import cli
from worker.domain.audit_entry import AuditAction, AuditEntry
from worker.errors import UnknownAccount
from worker.stores.registry.api_tokens import UnknownToken


def commands(command: click.Command, context: click.Context, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that is no group, with its words."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    if command.invoke_without_command:
        yield path, command
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from commands(found, click.Context(found, parent=context, info_name=name), f"{path} {name}".strip())


def test_l3_every_command_is_recorded_or_says_why_not() -> None:
    found = dict(commands(cli, click.Context(cli, obj=REFERENCE)))
    reasons: dict[str, list[str]] = {}
    for path, one in found.items():
        if isinstance(one, Group):  # One that may be called alone only reads.
            continue
        assert isinstance(one, Command), f"give {path} its audit action, or the reason why it needs none"
        names = {str(parameter.name) for parameter in one.params}
        assert one.subject in {*names, ""}, path
        if isinstance(one.audit, AuditAction):
            continue
        if isinstance(one.audit, str):
            reasons.setdefault(one.audit, []).append(path)
        else:  # It asks for no parameter that the command has not, and knows a call that makes something.
            calls = [dict.fromkeys(names), *({**dict.fromkeys(names), name: True} for name in names)]
            if path == "access remove":
                calls = [{**call, "kind": "token"} for call in calls]
            assert any(one.find_action(call) for call in calls), path
    assert {READS, SERVES, OWN_DATA} < reasons.keys()
    assert [path for reason, paths in reasons.items() if reason not in (READS, SERVES, OWN_DATA) for path in paths] == [
        "secrets add"
    ]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[AuditEntry]:
    """The entries that would be written to the registry."""
    entries: list[AuditEntry] = []
    monkeypatch.setattr(command_audit, "_append_to_registry", entries.append)
    monkeypatch.setenv("SUDO_USER", "anna")
    return entries


def run(error: BaseException | None = None, result: int | None = None) -> None:
    @command(audit=AuditAction.ACCOUNT_PAUSE)
    @click.argument("account_id")
    def pause(account_id: str) -> int | None:
        if error is not None:
            raise error
        return result

    pause.main(["a1"], standalone_mode=False)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "ok"),
        (UnknownAccount("x"), UnknownAccount.code),
        (UnknownToken("x"), "UnknownToken"),
        (ConfigError("x"), "config"),
        (click.ClickException("x"), "refused"),
        (KeyboardInterrupt(), "interrupted"),
        (ZeroDivisionError(), "failed"),
    ],
)
def test_the_outcome_of_a_command_is_recorded(
    written: list[AuditEntry], error: BaseException | None, outcome: str
) -> None:
    if error is None:
        run()
    else:
        with pytest.raises((type(error), click.Abort)):  # click makes its own of Ctrl-C.
            run(error)
    (entry,) = written
    assert (entry.actor_kind, entry.actor, entry.action) == ("command", "anna", "account.pause")
    assert (entry.account_id, entry.address, entry.outcome) == ("a1", None, outcome)


def test_a_command_that_ends_with_a_code_says_so(written: list[AuditEntry]) -> None:
    run(result=1)
    assert [entry.outcome for entry in written] == ["exit_1"]


def test_a_command_that_was_not_understood_has_tried_nothing(written: list[AuditEntry]) -> None:
    with pytest.raises(click.UsageError):
        run(click.UsageError("x"))
    assert written == []


def test_a_command_that_only_shows_leaves_no_entry(written: list[AuditEntry]) -> None:
    @command(audit=lambda given: AuditAction.ACCOUNT_REPAIR if given["repair"] else None)
    @click.option("--repair", is_flag=True)
    def verify(repair: bool) -> None:
        note_result(account_id="a2")

    verify.main([], standalone_mode=False)
    assert written == []
    verify.main(["--repair"], standalone_mode=False)
    assert [(entry.action, entry.account_id) for entry in written] == [("account.repair", "a2")]


def test_the_user_is_the_one_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr("getpass.getuser", lambda: "bertrand")
    assert machine_user() == "bertrand"
