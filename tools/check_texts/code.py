"""The names and places of the code: what docs/explanation/architecture.md says of them is so."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.check_texts.project import PACKAGES, Fault, Module, Project
from worker.domain.series import Series

_SUPPLIER_FILES = {"__init__", "client", "presets", "consent"}  # The last only where a person consents.
# Pictures and participles that once named modules here.
_WORDS_WE_DO_NOT_USE = {
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
# Interfaces stand at few places: what is asked of a supplier, a measure store, what records a window's end, an output,
# and the keys of a registry.
_PROTOCOLS = {
    "worker/stores/encryption.py": {"RegistryKeys"},
    "worker/accounts/notice_channels.py": {"Channel"},
    "worker/clients/supplier_session.py": {"Permits", "TokenProvider"},
    "worker/clients/supplier.py": {"SupplierClient"},
    "worker/clients/tokens.py": {"RotatingTokenStore", "TokenStore"},
    "worker/outputs/output.py": {"Output"},
    "worker/stores/measures/measure_store.py": {"MeasureStore"},
    "worker/sync/window.py": {"Recorder"},
}
_MAKES_STORES = ("worker/stores/", "worker/runtime/")
_STORES = re.compile(
    r"worker\.stores\.(?:\w+\.)*(?:Database|Registry|Overview|\w+Table|connect|open_measures|LedgerFile|KnownLedger"
    r"|(?:Sql|Couch|Packed|Instrumented)Store)|redis\.Redis(?:\.from_url)?"
)
_TESTED = ("domain", "clients", "stores", "sync", "accounts", "ops", "cli", "web")
# Where a series may be named: its description, what reads and asks for it, and the simulator, which has homes with all.
_NAMES_SERIES = ("worker/domain/series.py", "worker/domain/parsing/", "simulator/")
_SERIES = sorted({f'"{series.value}"' for series in Series} - {'"daily"', '"contract"', '"registers"'})
_DECIDES = re.compile(rf"(?:==|!=|\bin\b|case)\s*[(\[{{]?\s*(?:{'|'.join(map(re.escape, _SERIES))})")
# Error classes that say nothing of the cause: a subclass is raised in their place.
FAMILIES = {"WorkerError", "TransientError", "SupplierUnavailable", "AccountError", "DataError", "MalformedAnswer"}
_PARTS_OF = {  # Packages that belong to another one's public interface.
    "celery": {"amqp", "billiard", "kombu"},
    "pydantic": {"pydantic-core"},
    "requests-oauthlib": {"oauthlib"},
    "starlette": {"anyio"},
}


def layers(project: Project) -> Iterator[Fault]:
    config = configparser.ConfigParser()
    config.read_string(project.read("setup.cfg"))
    rows = config["importlinter:contract:floors"]["layers"].split("\n")[1:]
    on_a_layer = {part.strip() for row in rows for part in row.replace(":", "|").split("|")}
    parts = {PurePosixPath(module.path).with_suffix("").parts for module in project.modules}
    ours = {f"worker.{path[1]}" for path in parts if path[0] == "worker" and not path[1].startswith("__")}
    expected = {"tasks", *ours}
    for name in sorted(on_a_layer ^ expected):
        what = "stands on no layer: add it" if name in expected else "stands on a layer and is not there"
        yield project.page("setup.cfg").fault("[importlinter:contract:floors]", f"{name} {what}")


def import_cycles(project: Project) -> Iterator[Fault]:
    """Find files that import each other, even inside a function or only for types; one circle at a time."""
    files = {_dotted_name(module.path): module.path for module in project.modules}
    lines: dict[str, dict[str, int]] = {module.path: {} for module in project.modules}
    for module in project.modules:
        for line, name in module.imported:
            imported = files.get(name) or files.get(name.rpartition(".")[0])
            if imported is not None and imported != module.path:
                lines[module.path].setdefault(imported, line)
    try:
        TopologicalSorter(lines).prepare()
    except CycleError as error:
        circle = [*reversed(error.args[1])]
        what = f"imports in a circle, {' → '.join(circle)}: move what is needed to the one that imports nothing back"
        yield Fault(circle[0], lines[circle[0]][circle[1]], what)


def _dotted_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def class_names(project: Project) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for module in project.modules:
        for node in module.classes:
            if not node.name.startswith("_"):
                place = first.setdefault(node.name, f"{module.path}:{node.lineno}")
                if place != f"{module.path}:{node.lineno}":
                    yield Fault(module.path, node.lineno, f"{node.name} is also a class at {place}: rename one")


def module_names(project: Project) -> Iterator[Fault]:
    for module in project.modules:
        words = set(PurePosixPath(module.path).stem.split("_")) & _WORDS_WE_DO_NOT_USE
        if words and "/versions/" not in module.path:
            yield Fault(module.path, 1, f"rename the module by what it holds: “{', '.join(sorted(words))}” says little")


def suppliers(project: Project) -> Iterator[Fault]:
    folders: dict[str, set[str]] = defaultdict(set)
    for module in project.modules:
        path = PurePosixPath(module.path)
        if len(path.parts) == 4 and path.parts[:2] == ("worker", "clients"):
            folders[path.parent.as_posix()].add(path.stem)
    for folder, stems in folders.items():
        for stem in sorted((stems | {"consent"}) ^ _SUPPLIER_FILES):
            what = "is missing" if stem in _SUPPLIER_FILES else "has no counterpart at the other suppliers"
            yield Fault(f"{folder}/{stem}.py", 1, f"{what}: suppliers have the same files")


def protocols(project: Project) -> Iterator[Fault]:
    for module in project.modules:
        for node in module.classes:
            is_protocol = any(ast.unparse(base).partition("[")[0] == "Protocol" for base in node.bases)
            if is_protocol and node.name not in _PROTOCOLS.get(module.path, ()):
                yield Fault(module.path, node.lineno, f"{node.name}: an interface has a place of its own (_PROTOCOLS)")


def places_of_unit_tests(project: Project) -> Iterator[Fault]:
    for folder in _TESTED:
        files = project.paths(f"tests/unit/{folder}", "test_*.py")
        if not files:
            yield Fault(f"tests/unit/{folder}", 1, "has no tests")
        for path in files:
            package = PurePosixPath("worker", *PurePosixPath(path).parent.parts[2:])
            has_fixtures = project.exists(f"{PurePosixPath(path).parent}/conftest.py")
            if not project.exists(f"{package}/__init__.py") and not has_fixtures:
                yield Fault(path, 1, f"lies where no package is, in a folder without fixtures: there is no {package}/")


def decisions_by_series(project: Project) -> Iterator[Fault]:
    """Find where the code decides by a series' name instead of by its description."""
    for module in project.modules:
        if not module.path.startswith(_NAMES_SERIES) and not module.path.endswith("/presets.py"):
            for node in module.constants:
                if isinstance(node.value, ast.Name) and node.value.id in ("Series", "Doctype"):
                    what = f"{node.value.id}.{node.attr}: ask the series' description in place of its name"
                    yield Fault(module.path, node.lineno, what)
        for match in _DECIDES.finditer(module.text):
            yield module.fault(match.start(), f"{match[0]}: ask the series' description in place of its name")


def raised_families(project: Project) -> Iterator[Fault]:
    for module in project.modules:
        if not module.path.startswith("config/"):
            for line, name in module.called:
                if name in FAMILIES:
                    yield Fault(module.path, line, f"{name} says no cause: raise one of its subclasses")


def places_of_stores(project: Project) -> Iterator[Fault]:
    """Find stores that are made in code that should get them from ``worker.runtime``."""
    for module in project.modules:
        if module.path.startswith(("worker/", "tasks/")) and not module.path.startswith(_MAKES_STORES):
            yield from _made_stores(module)


def _made_stores(module: Module) -> Iterator[Fault]:
    nodes = list(ast.walk(ast.parse(module.text)))
    names: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.Call):
            first, dot, further = ast.unparse(node.func).partition(".")
            name = names.get(first, first) + dot + further
            if _STORES.fullmatch(name):
                yield Fault(module.path, node.lineno, f"{name}: worker.runtime opens the stores, ask there for it")


def requirements(project: Project) -> Iterator[Fault]:
    """Find imports of packages that setup.cfg doesn't name: another package's next version may drop them."""
    setup = project.page("setup.cfg")
    config = configparser.ConfigParser()
    config.read_string(setup.text)
    running = [Requirement(line) for line in config["options"]["install_requires"].split("\n") if line]
    tests = [Requirement(line) for line in config["options.extras_require"]["dev"].split("\n") if line]
    # What only tracing imports, behind its switch.
    tracing = [Requirement(line) for line in config["options.extras_require"].get("otel", "").split("\n") if line]
    for requirement in (*running, *tracing, *tests):
        if requirement.marker is None or requirement.marker.evaluate():
            installed = _version_of(requirement.name)
            if not requirement.specifier.contains(installed, prereleases=True):
                yield setup.fault(requirement.name, f"{requirement} is asked for, and installed is {installed}: make")
    names: set[str] = {canonicalize_name(requirement.name) for requirement in (*running, *tracing)}
    names |= {part for name in names for part in _PARTS_OF.get(name, ())}
    distributions = packages_distributions()
    ours = {*sys.stdlib_module_names, *PACKAGES}
    asked_for: dict[str, bool] = {}
    for module in project.modules:
        for line, full_name in module.imported:
            name = full_name.partition(".")[0]
            if name not in asked_for:
                asked_for[name] = name in ours or bool(names & {*map(canonicalize_name, distributions.get(name, []))})
            if not asked_for[name]:
                yield Fault(module.path, line, f"{name} is imported: name its package in setup.cfg, install_requires")


def _version_of(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "0"


CHECKS = (
    layers,
    import_cycles,
    class_names,
    module_names,
    suppliers,
    protocols,
    places_of_unit_tests,
    decisions_by_series,
    raised_families,
    places_of_stores,
    requirements,
)
