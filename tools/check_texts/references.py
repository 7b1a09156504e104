"""Pages that describe the code, and files beside it, say what the code says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import zip_longest

from pydantic import SecretStr

from config.settings import PREFIX, Settings
from tools import (
    cli_reference,
    doc_words,
    error_reference,
    floors_drawing,
    licence_reference,
    metrics_reference,
    schema_reference,
    settings_reference,
    state_reference,
)
from tools.check_texts.pages import SECRET_FILES, SETTINGS
from tools.check_texts.project import Fault, Page, Project, cells
from worker import metrics
from worker.domain.account import AccountState
from worker.domain.connection_request import RequestState
from worker.ops import fleet_metrics
from worker.ops.installation_secrets import SECRETS, Addresses, files_for_services
from worker.runtime import keys
from worker.stores.encryption import Purpose

GENERATED: dict[str, Callable[[], str]] = {
    "docs/reference/settings.md": settings_reference.to_markdown,
    "docs/reference/cli.md": cli_reference.to_markdown,
    "docs/reference/errors.md": error_reference.to_markdown,
    "docs/reference/metrics.md": metrics_reference.to_markdown,
    "docs/reference/states.md": state_reference.to_markdown,
    "docs/reference/licences.md": licence_reference.to_markdown,
    "docs/reference/schemas.json": schema_reference.to_json,
    "docs/explanation/floors.svg": floors_drawing.to_svg,
}
_ARCHITECTURE = "docs/explanation/architecture.md"
_REDIS_KEYS = "docs/reference/redis-keys.md"
_COMPOSE_ONLY = {"RELEVE_VERSION"}  # It names the image's version.
_OPTIONAL_VARIABLES = {"FLOWER_USER", "RELEVE_ENEDIS_AUTHORIZE_URL", "RELEVE_PRETEND_NOW"}
# The groups of each chapter of ASVS 5.0.0.
_GROUPS = {1: 5, 2: 4, 3: 7, 4: 4, 5: 4, 6: 8, 7: 6, 8: 4, 9: 2, 10: 7, 11: 7, 12: 3, 13: 4, 14: 3, 15: 4, 16: 5}
_STATES = {"met", "partly", "not met", "not applicable"}
_SETTINGS_OF_KEYS = {
    PREFIX + name.upper()
    for name, field in Settings.model_fields.items()
    if field.annotation == SecretStr | None and re.search(r"_keys?$", name)
}
_FILES_OF_KEYS = {keys.TOKEN_KEYS, keys.SESSION_KEY, keys.ERASURE_KEYS, "backup.keys"}


def differences(page: Page, what: str, told: set[str], expected: set[str], at: str = "\n## ") -> Iterator[Fault]:
    """Yield a fault for each name of a page that does not exist, and for each that the page leaves out."""
    for name in sorted(told - expected):
        yield page.fault(name, f"{what} {name} is not in the code")
    for name in sorted(expected - told):
        yield page.fault(at, f"{what} {name} is missing here")


def generated_pages(project: Project) -> Iterator[Fault]:
    for path, make in GENERATED.items():
        lines, made = project.read(path).splitlines(), make().splitlines()
        for number, (line, other) in enumerate(zip_longest(lines, made), 1):
            if line != other:
                yield Fault(path, number, "is not what the code says: run `make reference`")
                break
    pages = {path.removeprefix("docs/") for path in GENERATED if path.endswith(".md")}
    if pages != doc_words.GENERATED:
        yield Fault("tools/doc_words.py", 1, f"GENERATED differs from the generated pages: {', '.join(sorted(pages))}")


def packages_in_the_architecture(project: Project) -> Iterator[Fault]:
    page = project.page(_ARCHITECTURE)
    packages = {path.split("/")[1] for path in project.paths("worker", "__init__.py") if path.count("/") == 2}
    for package in sorted(packages):
        if f"| `worker/{package}/` |" not in page.text:
            yield page.fault("## Packages", f"a row for `worker/{package}/` is missing")


def drawings_of_states(project: Project) -> Iterator[Fault]:
    for name, states in (("ownership", RequestState), ("account-lifecycle", AccountState)):
        drawing = project.page(f"docs/explanation/{name}.svg")
        drawn = re.findall(r'class="name"[^>]*>(\w+)<', drawing.text)
        if sorted(drawn) != sorted(states):
            yield drawing.fault('class="name"', f"must show each state once: {', '.join(states)}")


def kinds_of_redis_keys(project: Project) -> Iterator[Fault]:
    source = "".join(module.text for module in project.modules if module.path.startswith("worker/"))
    page = project.page(_REDIS_KEYS)
    rows = "".join(re.findall(r"^\| (`.*?) \|", page.text, re.MULTILINE))
    told = set(re.findall(r"`([a-z_]+)[:`]", rows)) - {"celery"}
    yield from differences(page, "key", told, set(re.findall(r'self\._key\(\s*"([a-z_]+)"', source)))


def metrics_to_watch(project: Project) -> Iterator[Fault]:
    page = project.page("docs/how-to/monitoring.md")
    named = set(re.findall(r"`(releve_[a-z_]+)`", page.text))
    registries = (metrics.WORKER_METRICS, fleet_metrics.METRICS)
    defined = {metric.name for registry in registries for metric in registry.definitions}
    yield from differences(page, "metric", named, defined & named or {"to watch"})


def variables_of_compose(project: Project) -> Iterator[Fault]:
    compose, example = project.page("docker-compose.yml"), project.page(".env.example")
    explained = set(re.findall(r"^#? ?([A-Z_]+)=", example.text, re.MULTILINE))
    for name in sorted(set(re.findall(r"\$\{([A-Z_]+)", compose.text)) - _OPTIONAL_VARIABLES - explained):
        yield compose.fault(f"${{{name}", f"{name} is not explained in .env.example")
    for page in (compose, example):
        named = set(re.findall(rf"\b{PREFIX}[A-Z_]+", page.text))
        for name in sorted(named - SETTINGS - SECRET_FILES - _COMPOSE_ONLY):
            yield page.fault(name, f"{name}: config/settings.py has no such setting")


def groups_of_the_asvs(project: Project) -> Iterator[Fault]:
    page = project.page("docs/reference/asvs.md")
    rows = [row.split(" | ", 2) for row in re.findall(r"^\| (V.+) \|$", page.text, re.MULTILINE)]
    expected = [f"V{chapter}.{group}" for chapter, groups in _GROUPS.items() for group in range(1, groups + 1)]
    for (name, *_), group in zip_longest(rows, [*expected, "V17.1 to V17.3"], fillvalue=("nothing",)):
        if name != group:
            yield page.fault(
                f"| {name} ", f"has {name} where {group} must be: one row a group, in the standard's order"
            )
            break
    for group, state, evidence in (row for row in rows if len(row) == 3):
        if state not in _STATES or not evidence:
            yield page.fault(f"| {group} |", f"{group}: say one of {', '.join(sorted(_STATES))}, and the evidence")


def _words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def keys_page(project: Project) -> Iterator[Fault]:
    page = project.page("docs/reference/keys.md")
    which, lost, protects = "Which services have which key", "Lost or leaked keys", "What each key protects"
    for heading in (which, lost):
        told = {_words(row[0])[0] for row in cells(page.text, heading)}
        yield from differences(page, f"{heading}:", told, _SETTINGS_OF_KEYS, heading)
    yield from differences(page, "file", {_words(row[0])[1] for row in cells(page.text, which)}, _FILES_OF_KEYS, which)
    files = files_for_services({secret.name: secret.name for secret in SECRETS}, Addresses())
    for setting, readers, *_ in cells(page.text, which):
        name = _words(setting)[0].removeprefix(PREFIX).lower()
        expected = {service for service, contents in files.items() if name in contents}
        yield from differences(page, f"{name}: service", set(_words(readers)), expected, setting)
    told = {f"{_words(row[1])[0]} of {_words(row[0])[0]}" for row in cells(page.text, protects)}
    derived = {f"{purpose.label} of {purpose.setting}" for purpose in Purpose}
    hashed = {f"{label} of RELEVE_ERASURE_KEYS" for label in _purposes_of_hashes(project)}
    yield from differences(page, "purpose", told, derived | hashed, protects)
    yield from differences(
        page, "setting", {purpose.partition(" of ")[2] for purpose in told}, _SETTINGS_OF_KEYS, protects
    )


def _purposes_of_hashes(project: Project) -> set[str]:
    """Return the purposes that texts are hashed for under the erasure keys, as the code names them."""
    code = "\n".join(module.text for module in project.modules if module.path.startswith("worker/"))
    named = re.findall(r'hashes\.(?:all_hashes|hash|matches)[(,] ?"([a-z ]+)"', code)
    constants = set(re.findall(r"_hashes\.(?:all_hashes|hash|matches)\((_[A-Z]+)", code))
    return {*named, "ledger", *(constants - {"_PURPOSE"})}  # _PURPOSE is the ledger's.


def icon(project: Project) -> Iterator[Fault]:
    if project.read("docs/images/icon.svg") != project.read("worker/web/static/icon.svg"):
        yield Fault("docs/images/icon.svg", 1, "differs from worker/web/static/icon.svg: copy it")


CHECKS = (
    generated_pages,
    packages_in_the_architecture,
    drawings_of_states,
    kinds_of_redis_keys,
    metrics_to_watch,
    variables_of_compose,
    groups_of_the_asvs,
    keys_page,
    icon,
)
