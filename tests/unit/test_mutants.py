"""The drawing of mutants: by its seed, each a small fault that Python can run."""

from __future__ import annotations

import ast
from pathlib import Path

from tools.mutants import Neighbours
from tools.mutations import KINDS, draw, find_mutants

SOURCE = '''\
"""A module."""
from typing import TYPE_CHECKING

__all__ = ["mean"]
MOST = 500 - 1
if TYPE_CHECKING:
    from collections.abc import Sequence


@cache(1 + 1)
def mean(values: "Sequence[Literal[1 + 1]]", least: int = 1 + 1) -> "int | not None":
    """Return 1 + 1; 'hé' is two bytes."""
    found: Literal[1 + 1] = []
    log.info("mean of %s", 1 + 1 if not values else "hé" or "")
    for value in values:
        if "é" and not (value is None or value < least):
            found.append(value)
    if not found:
        raise ValueError(f"{1 + 1 if not found else 0} values")
    return sum(found) // (len(found) + 1)
'''.encode()


def test_only_what_a_function_does_is_changed_and_each_change_is_another_program() -> None:
    mutants = find_mutants("f.py", SOURCE)
    programs = {ast.unparse(ast.parse(mutant.mutated)) for mutant in mutants} | {ast.unparse(ast.parse(SOURCE))}
    assert len(programs) == len(mutants) + 1
    assert [f"{mutant.line} {mutant.kind}" for mutant in mutants] == [
        "16 and/or",
        "16 dropped not",
        "16 and/or",
        "16 comparison",
        "16 comparison",
        "17 dropped statement",
        "18 dropped not",
        "19 dropped statement",
        "20 return None",
        "20 +/-",
        "20 off by one",
        "20 off by one",
    ]
    assert {mutant.kind for mutant in mutants} == {*KINDS}
    (raised,) = [mutant for mutant in mutants if mutant.line == 19]
    assert raised.mutated == SOURCE.replace(b"""raise ValueError(f"{1 + 1 if not found else 0} values")""", b"pass")


def test_the_same_seed_draws_the_same_mutants_of_as_many_files(tmp_path: Path) -> None:
    for name in "abcdefgh":
        (tmp_path / "worker/sync").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"worker/sync/{name}.py").write_bytes(SOURCE)
    (tmp_path / "worker/quota.py").write_bytes(SOURCE)
    places = ["worker/sync", "worker/quota"]
    drawn = draw(tmp_path, "9c274426", 8, places)
    assert drawn == draw(tmp_path, "9c274426", 8, places) != draw(tmp_path, "12", 8, places)
    assert [mutant.kind for mutant in drawn] == [*KINDS, KINDS[0]]
    assert len({mutant.file for mutant in drawn}) == 8 and len(draw(tmp_path, "1", 99, places)) == 9


def test_the_nearest_tests_are_those_of_the_name_then_those_that_import_it_then_those_of_its_users(
    tmp_path: Path,
) -> None:
    texts = {
        "worker/sync/window.py": "",
        "worker/runtime.py": "import worker.sync.window",
        "tests/unit/conftest.py": "",
        "tests/unit/sync/conftest.py": "from worker.runtime import Parts",
        "tests/unit/sync/test_due.py": "",
        "tests/unit/test_window.py": "",
        "tests/unit/test_other.py": "from worker.sync import window",
        "tests/unit/test_nothing.py": "from worker import errors",
        "tests/integration/test_window.py": "",
    }
    for file, text in texts.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    neighbours = Neighbours(tmp_path, texts)
    near = ["tests/unit/test_window.py", "tests/unit/test_other.py", "tests/unit/sync/test_due.py"]
    assert neighbours.tests_of("worker/sync/window.py", 9) == near
    assert neighbours.tests_of("worker/sync/window.py", 2) == near[:2]
