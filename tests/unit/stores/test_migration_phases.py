"""Each migration says its phase, and does nothing that workers of the version before could not bear in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from worker.stores.registry import migrations
from worker.stores.registry.migrations import MigrationPhase

EXPAND, FILL, TIGHTEN = MigrationPhase
FOLDER = Path(migrations.__file__).parent
ALLOWED = {
    EXPAND: {"create_table", "add_column", "create_index", "get_bind"},
    FILL: {"execute", "bulk_insert", "get_bind"},
}


def find_faults(source: str, phase: MigrationPhase) -> list[str]:
    """Return what a module does that its phase may not."""
    if phase is TIGHTEN:
        return []
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = [call.func.attr for call in calls if isinstance(call.func, ast.Attribute) and is_op(call.func.value)]
    return [name for name in names if name not in ALLOWED[phase]] + list(find_forced_columns(calls))


def find_forced_columns(calls: list[ast.Call]) -> Iterator[str]:
    """Yield the calls that add a column to a table with rows, which a worker of before would have to fill."""
    for call in calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "add_column":
            text = ast.unparse(call)
            if "nullable=False" in text and "server_default=" not in text:
                yield text


def is_op(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "op"


def test_each_migration_says_its_phase_and_does_no_more() -> None:
    scripts = list(ScriptDirectory(str(FOLDER)).walk_revisions())
    assert {script.revision for script in scripts} == migrations.known_steps()
    for script in scripts:
        assert isinstance(script.module.phase, MigrationPhase), script.path
        assert find_faults(Path(script.path).read_text(encoding="utf-8"), script.module.phase) == [], script.path


@pytest.mark.parametrize(
    "phase, statement, fault",
    [
        (EXPAND, 'op.add_column("accounts", Column("a", Date))', None),
        (
            MigrationPhase.EXPAND,
            'op.add_column("accounts", Column("a", Date, nullable=False, server_default=""))',
            None,
        ),
        (EXPAND, 'op.add_column("accounts", Column("a", Date, nullable=False))', "add_column"),
        (EXPAND, 'op.drop_column("accounts", "a")', "drop_column"),
        (EXPAND, 'op.execute("UPDATE accounts SET a = 1")', "execute"),
        (FILL, 'op.execute("UPDATE accounts SET a = 1")', None),
        (FILL, 'op.alter_column("accounts", "a", nullable=False)', "alter_column"),
        (FILL, 'with op.batch_alter_table("accounts") as table: pass', "batch_alter_table"),
        (TIGHTEN, 'op.drop_column("accounts", "a")', None),
    ],
)
def test_what_a_phase_may_do(phase: MigrationPhase, statement: str, fault: str | None) -> None:
    faults = find_faults(statement, phase)
    assert (faults == []) if fault is None else (len(faults) == 1 and fault in faults[0])
