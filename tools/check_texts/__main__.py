"""Print all faults of this project, one a line, and end with 1 if there is one."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tools.check_texts import catalogues, code, documents, pages, references, releases, screens, words
from tools.check_texts.project import Fault, Project
from tools.doc_words import ROOT

Check = Callable[[Project], Iterator[Fault]]
CHECKS: list[Check] = [
    check
    for part in (words, screens, catalogues, pages, references, documents, releases, code)
    for check in part.CHECKS
]


def find_faults(project: Project, checks: Iterable[Check] = CHECKS) -> list[Fault]:
    """Return all faults by file and line; a file that a check needs and that is not there is one."""
    faults = set[Fault]()
    for check in checks:
        try:
            faults |= set(check(project))
        except FileNotFoundError as error:
            path = str(error.filename).removeprefix(f"{project.root}/")
            faults.add(Fault(path, 1, f"is not there, and {check.__module__}.{check.__name__} reads it"))
    return sorted(faults)


def main(root: Path = ROOT) -> int:
    project = Project(root)
    faults = find_faults(project)
    for fault in faults:
        sys.stdout.write(f"{fault}\n")
    read = f"{len(project.pages)} pages, {len(project.modules)} modules, {len(project.catalogues)} catalogues"
    sys.stdout.write(f"{len(faults) or 'no'} fault{'' if len(faults) == 1 else 's'} in {read}\n")
    return bool(faults)


if __name__ == "__main__":
    gc.disable()  # Syntax trees are many objects and no garbage.
    sys.exit(main())
