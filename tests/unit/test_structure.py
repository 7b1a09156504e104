"""The rooms, floors and names of the code: what docs/explanation/architecture.md says of them is so."""

from __future__ import annotations

import ast
import configparser
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.support.pages import ROOT
from tools.reach import modules_of
from worker.domain.measures.series import Series

PACKAGES = ("config", "tasks", "worker")
HALL = {"__init__", "__main__", "app", "errors", "logs", "metrics", "texts"}
ROOMS = {
    "accounts",
    "cli",
    "clients",
    "domain",
    "drill",
    "ops",
    "outputs",
    "quota",
    "runtime",
    "simulator",
    "stores",
    "sync",
    "web",
}
MOST_MODULES = 20
MOST_LAYERS = 8
MOST_MODULES_OF_A_WINDOW = 60
SUPPLIER_FILES = {"__init__", "client", "presets", "answers", "errors", "consent"}
# Pictures and participles that once named modules here.
WORDS_WE_DO_NOT_USE = {
    "apart",
    "canary",
    "crew",
    "desk",
    "doom",
    "doomed",
    "doors",
    "doubts",
    "earshot",
    "fitting",
    "held",
    "house",
    "journal",
    "mood",
    "noted",
    "onlooker",
    "pulse",
    "sightings",
    "standing",
    "strongbox",
    "told",
    "truth",
    "turnstile",
    "vault",
    "vaults",
    "walk",
    "witness",
    "world",
}
# Interfaces stand at four places: what is asked of a supplier, a measure store, what records a window's end, an output.
PROTOCOLS = {
    "worker/clients/session.py": {"Permits"},
    "worker/clients/supplier.py": {"SupplierClient"},
    "worker/clients/tokens.py": {"RotatingTokenStore", "TokenStore"},
    "worker/outputs/base.py": {"Output"},
    "worker/stores/measures/base.py": {"MeasureStore"},
    "worker/sync/window.py": {"Recorder"},
}


@cache
def modules() -> list[tuple[str, ast.Module]]:
    """Return the path of each module, relative to the project, and its syntax tree."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    return [(file.relative_to(ROOT).as_posix(), ast.parse(file.read_text(encoding="utf-8"))) for file in files]


def stems(folder: Path) -> set[str]:
    return {file.stem for file in folder.glob("*.py")}


def test_four_modules_and_thirteen_packages_stand_at_the_top_of_worker() -> None:
    packages = {file.parent.name for file in (ROOT / "worker").glob("*/__init__.py")}
    assert (stems(ROOT / "worker"), packages) == (HALL, ROOMS)


def test_no_package_is_wider_than_twenty_modules() -> None:
    folders = {(ROOT / path).parent for path, _ in modules()}
    wide = {
        folder.relative_to(ROOT).as_posix(): len(stems(folder) - {"__init__"})
        for folder in folders
        # In the command line a file is a command; migrations grow by one a change.
        if folder.name not in ("cli", "versions") and len(stems(folder) - {"__init__"}) > MOST_MODULES
    }
    assert wide == {}


def test_the_floors_are_few_and_a_top_module_stands_on_each() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    layers = config["importlinter:contract:floors"]["layers"].split("\n")[1:]
    assert len(layers) <= MOST_LAYERS
    on_floors = {part.strip() for layer in layers for part in layer.replace(":", "|").split("|")}
    ours = {f"worker.{name}" for name in (*ROOMS, *HALL) if not name.startswith("__")}
    # The simulator pretends to be the supplier: a contract of its own says what it may import.
    assert on_floors == {"tasks", *ours} - {"worker.simulator"}


def test_no_two_public_classes_share_a_name() -> None:
    names = Counter(
        node.name
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert sorted(name for name, number in names.items() if number > 1) == []


def test_no_module_is_named_by_a_word_that_we_do_not_use() -> None:
    paths = [path for path, _ in modules() if "/versions/" not in path]
    words = {(path, word) for path in paths for word in Path(path).stem.split("_")}
    assert sorted(path for path, word in words if word in WORDS_WE_DO_NOT_USE) == []


def test_suppliers_have_the_same_files() -> None:
    suppliers = [file.parent for file in (ROOT / "worker" / "clients").glob("*/__init__.py")]
    assert suppliers and {folder.name: stems(folder) for folder in suppliers} == {
        folder.name: SUPPLIER_FILES for folder in suppliers
    }


def test_interfaces_stand_at_four_places() -> None:
    protocols: dict[str, set[str]] = {}
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any(
                ast.unparse(base).partition("[")[0] == "Protocol" for base in node.bases
            ):
                protocols.setdefault(path, set()).add(node.name)
    assert {path: names - PROTOCOLS.get(path, set()) for path, names in protocols.items()} == {
        path: set() for path in protocols
    }


def test_a_window_loads_its_own_part_alone() -> None:
    assert len(modules_of("tasks.pipeline")) < MOST_MODULES_OF_A_WINDOW


@pytest.mark.parametrize("folder", sorted({"domain", "clients", "stores", "sync", "accounts", "ops", "cli", "web"}))
def test_unit_tests_lie_where_their_modules_lie(folder: str) -> None:
    tested = {
        file.parent.relative_to(ROOT / "tests" / "unit") for file in (ROOT / "tests/unit" / folder).rglob("test_*.py")
    }
    assert tested and [path for path in tested if not (ROOT / "worker" / path / "__init__.py").is_file()] == []


# Where a series may be named: its description, what reads and asks for it, and the simulator, which has homes with all.
NAMES_SERIES = ("worker/domain/measures/series.py", "worker/domain/parsing/", "worker/simulator/")


def _named_series(path: Path) -> list[str]:
    """Return the members of ``Series`` and ``Doctype`` that a module names, with their lines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    named = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr.isupper())
    return [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value.id}.{node.attr}"
        for node in named
        if isinstance(node.value, ast.Name) and node.value.id in ("Series", "Doctype")
    ]


def test_nothing_decides_by_the_name_of_a_series() -> None:
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    places = [(path, str(path.relative_to(ROOT))) for path in files]
    asking = [path for path, name in places if not name.startswith(NAMES_SERIES) and path.name != "presets.py"]
    assert [line for path in asking for line in _named_series(path)] == []
    # A description is asked for what it says, never for the text of the name.
    texts = {f'"{series.value}"' for series in Series} - {'"daily"', '"contract"', '"registers"'}
    decides = re.compile(rf"(?:==|!=|\bin\b|case)\s*[(\[{{]?\s*(?:{'|'.join(map(re.escape, sorted(texts)))})")
    assert [name for path, name in places if decides.search(path.read_text(encoding="utf-8"))] == []


def test_the_heart_fits_on_a_page() -> None:
    lines = sum(len((ROOT / name).read_text().splitlines()) for name in ("tasks/nightly.py", "worker/sync/due.py"))
    assert lines <= 300
