"""The pages for contributors: what they add to the code, put where they say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.support.pages import ROOT

STEP = re.compile(
    r"^In `([\w/.]+)`, (above|below) `(.+?)`:\n\n```(?:python|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
NEW_FILE = re.compile(r"^`([\w/.]+)`, a new file:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What pages say without a block of code: the file, the page's words, and what a person then writes in place of what.
STEPS_IN_WORDS = {
    "add-an-output.md": (
        ("worker/outputs/kinds.py", "import `file`", "import home_assistant", "import file, home_assistant"),
        ("worker/outputs/kinds.py", "add `file.KIND` to `KINDS`", "webhook.KIND)", "webhook.KIND, file.KIND)"),
    )
}
PACKAGES = ("worker", "config", "tasks", "simulator", "drill")


def copy_folders(folder: Path, *names: str) -> None:
    for name in names:
        # With the bytecode, which is right for copies too, but for what another process is just writing.
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc.*"))


def read_page(page: str) -> str:
    return (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")


def files_of_page(page: str) -> frozenset[str]:
    """Return the files that a page changes or makes."""
    text = read_page(page)
    in_words = [file for file, *_ in STEPS_IN_WORDS.get(page, ())]
    return frozenset([*(name for name, *_ in (*STEP.findall(text), *NEW_FILE.findall(text))), *in_words])


def follow_page(page: str, folder: Path) -> None:
    """Put what a page adds into a copy of the code, where it says."""
    text = read_page(page)
    steps, files = STEP.findall(text), NEW_FILE.findall(text)
    blocks = re.findall("^```(?:python|json)", text, re.MULTILINE)
    assert len(steps) + len(files) == len(blocks), "each says where it goes"
    for name, code in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(code, encoding="utf-8")
    for name, where, anchor, code in steps:
        lines = (folder / name).read_text(encoding="utf-8").split("\n")
        (at,) = [number for number, line in enumerate(lines) if line.strip() == anchor]
        place = at + (where == "below")
        lines[place:place] = code.removesuffix("\n").split("\n")
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
    for name, said, before, after in STEPS_IN_WORDS.get(page, ()):
        old = (folder / name).read_text(encoding="utf-8")
        assert said in " ".join(text.split()) and old.count(before) == 1
        (folder / name).write_text(old.replace(before, after), encoding="utf-8")
