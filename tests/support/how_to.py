"""The pages for contributors: what they add to the code, put where they say."""

from __future__ import annotations

import ast
import json
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


def add_italian(folder: Path) -> None:
    """Do the first three steps of *Add a language* in a copy of the code; English texts stand in for Italian ones."""
    texts = folder / "worker" / "texts.py"
    code = texts.read_text(encoding="utf-8")
    for before, after in (
        ('("fr", "en")', '("fr", "en", "it")'),
        ('("en_GB")}', '("en_GB"), "it": Locale.parse("it_IT")}'),
    ):
        assert code.count(before) == 1
        code = code.replace(before, after)
    texts.write_text(code, encoding="utf-8")
    for file in (folder / "worker" / "locales").glob("*.json"):
        catalogue = json.loads(file.read_text(encoding="utf-8"))
        if "app.language.en" in catalogue:
            catalogue["app.language.it"] = dict.fromkeys(("fr", "en"), "Italiano")
        translated = {key: {**text, "it": text["en"]} for key, text in catalogue.items()}
        file.write_text(json.dumps(translated), encoding="utf-8")
    series = folder / "worker" / "domain" / "series.py"
    series.write_text(_with_third_label(series.read_text(encoding="utf-8")), encoding="utf-8")


def _with_third_label(code: str) -> str:
    """Give `_label` three parameters more, and each of its calls the English texts once more."""
    lines = code.split("\n")
    calls = [
        node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call) and ast.unparse(node.func) == "_label"
    ]
    for call in sorted(calls, key=lambda call: call.lineno, reverse=True):
        english = [ast.get_source_segment(code, text) for text in call.args[1::2]]
        last = call.args[-1]
        assert last.end_lineno is not None
        line = lines[last.end_lineno - 1].encode()  # ast counts bytes.
        added = f", {', '.join(map(str, english))}".encode()
        lines[last.end_lineno - 1] = (line[: last.end_col_offset] + added + line[last.end_col_offset :]).decode()
    code = "\n".join(lines)
    for before, after in (
        ("fr_about: str, en_about: str)", "fr_about: str, en_about: str, it: str, it_object: str, it_about: str)"),
        ('"en": en_object}', '"en": en_object, "it": it_object}'),
        ('"en": en_about}', '"en": en_about, "it": it_about}'),
        ('{"fr": fr, "en": en}', '{"fr": fr, "en": en, "it": it}'),
    ):
        assert code.count(before) == 1, before
        code = code.replace(before, after)
    return code
