"""Every command is recorded in the audit trail, or says why not; what is recorded, and as what."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from config.settings import ConfigError
from worker.cli import command_audit
from worker.cli.command_audit import RECORDED, UNRECORDED, machine_user, note_result, record_command
from worker.cli.gas_option import REFERENCE
from worker.cli.main import LazyGroup, cli
from worker.domain.audit_entry import AuditEntry
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
    found = dict(commands(cli, click.Context(cli, obj=REFERENCE)))  # With the commands of gas.
    known = RECORDED.keys() | UNRECORDED.keys()
    assert sorted(found.keys() - known) == [], "add them to RECORDED in worker/cli/command_audit.py, or to UNRECORDED"
    assert sorted(known - found.keys()) == [], "take them out of worker/cli/command_audit.py, or put the commands back"
    assert RECORDED.keys().isdisjoint(UNRECORDED)
    for path, recorded in RECORDED.items():
        command = found[path]
        assert hasattr(command.callback, "is_recorded"), path
        parameters = {parameter.name for parameter in command.params}
        assert {*recorded.only_with, *filter(None, [recorded.subject])} <= parameters, path
        assert recorded.action or recorded.only_with, path
    assert not [path for path in UNRECORDED if hasattr(found[path].callback, "is_recorded")]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[AuditEntry]:
    """The entries that would be written to the registry."""
    entries: list[AuditEntry] = []
    monkeypatch.setattr(command_audit, "_append_to_registry", entries.append)
    monkeypatch.setenv("SUDO_USER", "anna")
    return entries


def run(error: BaseException | None = None, result: int | None = None) -> None:
    @click.command()
    @click.argument("account_id")
    def pause(account_id: str) -> int | None:
        if error is not None:
            raise error
        return result

    record_command(record_command(pause, "accounts pause"), "accounts pause")  # Twice is as once.
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
    @click.command()
    @click.option("--repair", is_flag=True)
    def verify(repair: bool) -> None:
        note_result(account_id="a2")

    record_command(verify, "verify")
    verify.main([], standalone_mode=False)
    assert written == []
    verify.main(["--repair"], standalone_mode=False)
    assert [(entry.action, entry.account_id) for entry in written] == [("account.repair", "a2")]


def test_the_user_is_the_one_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr("getpass.getuser", lambda: "bertrand")
    assert machine_user() == "bertrand"


def test_a_command_of_the_real_group_is_wrapped() -> None:
    assert isinstance(cli, LazyGroup)
    tokens = cli.get_command(click.Context(cli), "tokens")
    assert isinstance(tokens, click.Group) and hasattr(tokens.commands["new"].callback, "is_recorded")
