"""Builder of the package, which adds the commit to what it builds; everything else stands in setup.cfg.

The commit is the variable SOURCE_COMMIT, or else what git says of this folder. Where neither tells one,
none is written.
"""

from __future__ import annotations

import os
import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).resolve().parent
VERSION = runpy.run_path(str(ROOT / "worker" / "ops" / "machine.py"))


def commit() -> str | None:
    """Return the commit that is built.  Raises SystemExit where SOURCE_COMMIT is no commit."""
    given = os.environ.get("SOURCE_COMMIT", "")
    if given and VERSION["as_commit"](given) is None:
        raise SystemExit("SOURCE_COMMIT must be a commit's hash of 7 to 40 digits: git rev-parse HEAD prints one")
    found: str | None = VERSION["as_commit"](given) or VERSION["find_commit"](ROOT / "worker")
    return found


def write_commit(folder: str) -> None:
    """Write the file with the commit into a folder of what is built, or remove that of an earlier build."""
    file = Path(folder, "worker", VERSION["COMMIT_FILE"])
    found = commit()
    if found is None:
        file.unlink(missing_ok=True)
    else:
        file.write_text(f"{found}\n", encoding="utf-8")


class BuildWithCommit(build_py):
    """Collector of the files of a wheel; an editable installation gets none, for it follows the checkout."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            write_commit(self.build_lib)


class SourcesWithCommit(sdist):
    """Collector of the files of an archive of the sources."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        write_commit(base_dir)


setup(cmdclass={"build_py": BuildWithCommit, "sdist": SourcesWithCommit})
