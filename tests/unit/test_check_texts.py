"""The check of texts names file and line of a planted fault of each kind, and nothing of what is right beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.pages import ROOT
from tools.check_texts import catalogues, code, documents, pages, references, releases, screens, words
from tools.check_texts.__main__ import CHECKS, find_faults, main
from tools.check_texts.project import Project

SETUP = """[metadata]
version = 1.2.3
[options]
install_requires =
    requests>=2
[options.extras_require]
dev =
    pytest>=9999
[importlinter:contract:floors]
layers =
    tasks
    worker.web : worker.gone
"""
README = """    git clone …
    python3 -m venv ~/releve-env && . ~/releve-env/bin/activate
    pip install --require-hashes -r requirements/run.lock
    pip install --no-deps .
    mkdir -p ~/my-home && cd ~/my-home
    releve doctor   # first
    releve up
    releve status
"""
HASHES = 'self.hashes.hash("meter")\nhashes.hash("reference")\nself.erasure_hashes.hash, "connection request"\n'
HOUSEHOLDS = "“a” (« b »)\n" * 4


def real(path: str, old: str, new: str) -> str:
    """Return a file of this project with one change."""
    text = (ROOT / path).read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new, 1)


def line_of(path: str, text: str) -> int:
    return (ROOT / path).read_text(encoding="utf-8").partition(text)[0].count("\n") + 1


DRAWING, LIFECYCLE = "docs/explanation/ownership.svg", "docs/explanation/account-lifecycle.svg"
KEYS = "docs/reference/keys.md"
ASVS, DOCUMENTS, SUPPLIER = "docs/reference/asvs.md", "docs/reference/documents.md", "worker/clients/aqua"
NAME_OF_A_STATE = 'class="name"'

# A check, the files of a small project, and the beginnings of all faults that it finds there.
CASES: dict[Any, tuple[dict[str, str], list[str]]] = {
    words.words_of_pages: (
        {
            "a.md": "`anew`\n\n    anew\n\n```\nanew\n```\n[again](anew.md)\nanew\nPostgresql\n",
            "docs/a.fr.md": "anew\nLa flotte",
            "CHANGELOG.md": "# Changes\n## Unreleased\nanew\n## 1.0.0\nanew\n",
        },
        [
            "CHANGELOG.md:3: “anew”: write again",
            "a.md:9: “anew”: write again",
            "a.md:10: “Postgresql”: write PostgreSQL",
            "docs/a.fr.md:2: “flotte”: write parc",
        ],
    ),
    words.words_of_catalogues: (
        {"worker/locales/a.json": '{\n"a.b": {"fr": "Le parc", "en": "anew"},\n"a.c": {"fr": "flotte", "en": ""}}'},
        ["worker/locales/a.json:2: a.b: “anew”", "worker/locales/a.json:3: a.c: “flotte”"],
    ),
    words.words_of_the_code: (
        {
            "worker/a.py": '"""Is `done anew`."""\nx = "done anew"\ny = "window done anew"\nz = 1  # Made anew.\n',
            "tests/golden/outside_names.json": '{"log_events": ["releve info: window done anew"]}',
        },
        ["worker/a.py:2: “anew”", "worker/a.py:4: “anew”"],
    ),
    words.marks_of_pages: ({"a.fr.md": "l’un\nl'autre\n", "a.md": "it's\n"}, ['a.fr.md:2: "l\'autre"']),
    words.marks_of_catalogues: (
        {
            "worker/locales/a.json": """{"a": {"fr": "l’un : « ça » ?", "en": "it’s “so”"},
                "b": {"fr": "l'un", "en": "x"},
                "c": {"fr": "quoi?", "en": "it's"}}"""
        },
        [
            'worker/locales/a.json:2: b: French "l\'u"',
            'worker/locales/a.json:3: c: English "t\'"',
            "worker/locales/a.json:3: c: French 'i?'",
        ],
    ),
    words.length_of_the_documentation: (
        {"docs/a.md": "word " * 28_000, "SECURITY.md": "word " * 1_001},
        ["docs:1: 29001 words, more than 29000"],
    ),
    screens.quotes: (
        {
            "docs/how-to/troubleshooting.md": '“Try again”,\n« Réessayez »,\n“Begin again”\n"Begin"\n',
            "docs/explanation/a.md": "“no text”",
            "worker/a.py": 'x = "Try again later"',
            "worker/locales/a.json": '{"a": {"fr": "Réessayez", "en": ""}}',
        },
        [
            "docs/how-to/troubleshooting.md:3: Relève shows no text “Begin again”",
            "docs/how-to/troubleshooting.md:4: Relève shows no text “Begin”",
        ],
    ),
    screens.messages: (
        {
            "docs/how-to/a.md": "`releve is no text`\n`3 of 4 windows stored`\n`no such file here`\n`all is lost now`",
            "worker/a.py": 'x = f"{a} of {b} windows stored"\ny = "no such file here"',
        },
        ["docs/how-to/a.md:4: Relève shows no message `all is lost now`"],
    ),
    screens.words_of_households: (
        {
            "docs/how-to/troubleshooting.md": HOUSEHOLDS,
            "docs/how-to/answer-a-household.md": HOUSEHOLDS.replace("« b »", "b", 1),
        },
        ["docs/how-to/answer-a-household.md:1: a household's own words"],
    ),
    catalogues.keys: (
        {
            "worker/locales/a.json": '{"page.title": {}, "page.state.new": {}, "page.go.one": {},\n"page.old": {}}',
            "worker/a.py": 'x = ["page.title", "new", "page.go"]\ny = f"page.state.{z}"',
        },
        ["worker/locales/a.json:2: page.old: nothing asks for this text"],
    ),
    catalogues.built_keys: (
        {"worker/locales/a.json": "{" + ", ".join(f'"{key}x": {{}}' for key in catalogues.BUILT[1:]) + "}"},
        [f"tools/check_texts/catalogues.py:1: no text begins with {catalogues.BUILT[0]}"],
    ),
    pages.links: (
        {
            "docs/a.md": "# Part one\n[this](#part-one) [it](b.md#two)\n[no](c.md)\n[no](b.md#three)\n",
            "docs/b.md": "# Two",
        },
        ["docs/a.md:3: c.md: this file is not there", "docs/a.md:4: b.md#three: this heading is not there"],
    ),
    pages.commands: (
        {"a.md": "`releve status --json`\n`releve stat`\n\n    releve -v status --nothing | less\n"},
        ["a.md:2: releve stat: there is no command “stat”", "a.md:4: releve status --nothing: there is no option"],
    ),
    pages.settings: (
        {
            "a.md": "RELEVE_DATA_DIR RELEVE_TOKEN_KEYS_FILE RELEVE_TEST_PICTURES\nRELEVE_NOTHING",
            "tests/support/a.py": 'X = "RELEVE_TEST_PICTURES"',
        },
        ["a.md:2: RELEVE_NOTHING: config/settings.py has no such setting"],
    ),
    pages.files: (
        {
            "a.md": "`tests/a.py`\n`tests/b.py`\nmake test T=tests/c.py\n`worker/z.py`",
            "docs/explanation/access.md": "`worker/a.py`\n`worker/b.py`",
            "tests/a.py": "",
            "worker/a.py": "",
        },
        ["a.md:2: tests/b.py is not", "a.md:3: tests/c.py is not", "docs/explanation/access.md:2: worker/b.py is not"],
    ),
    pages.tests: (
        {
            "SECURITY.md": "`test_one_is_one`\n`test_one_was_one`\n`test_a.py::test_one_is_one`",
            ASVS: "`test_a.py`\n`test_b.py`",
            "docs/how-to/scale-out.md": "`test_one_is_one`",
            "tests/unit/test_a.py": "def test_one_is_one():\n    ...\n",
        },
        [
            "SECURITY.md:2: no test has this name: test_one_was_one; name test_one_is_one",
            "SECURITY.md:3: test_a.py::test_one_is_one: name the test or the file alone",
            f"{ASVS}:2: no test has this name: test_b.py",
        ],
    ),
    pages.readmes: (
        {
            "README.md": f"{README}`a` [x](docs/x.md)\n`b` [y](docs/y.md)\n",
            "README.fr.md": f"{README}`a` [x](docs/x.fr.md)\n".replace("    releve up\n", ""),
        },
        [
            "README.md:7: `releve up` is not in",
            "README.md:10: `b` is not in README.fr.md",
            "README.md:10: docs/y.md is not",
        ],
    ),
    pages.side_bar: (
        {"mkdocs.yml": "  - A: a.md\n  - B: b.md\n  - A: a.md\n", "docs/a.md": "", "docs/c.md": ""},
        ["mkdocs.yml:1: docs/a.md must be", "mkdocs.yml:1: docs/c.md must be", "mkdocs.yml:2: docs/b.md is not there"],
    ),
    references.generated_pages: (
        {"docs/reference/a.md": "one\ntwo\n", "docs/b.svg": "one\nthree\n"},
        ["docs/b.svg:2: is not what the code says", "tools/doc_words.py:1: GENERATED differs"],
    ),
    references.packages_in_the_architecture: (
        {
            "docs/explanation/architecture.md": "# Architecture\n\n## Packages\n| `worker/a/` | |",
            "worker/a/__init__.py": "",
            "worker/b/__init__.py": "",
        },
        ["docs/explanation/architecture.md:3: a row for `worker/b/` is missing"],
    ),
    references.drawings_of_states: (
        {
            DRAWING: real(DRAWING, ">unproven<", ">disproven<"),
            LIFECYCLE: real(LIFECYCLE, ">paused<", ">resting<"),
        },
        [f"{path}:{line_of(path, NAME_OF_A_STATE)}: must show each state" for path in (LIFECYCLE, DRAWING)],
    ),
    references.kinds_of_redis_keys: (
        {
            "docs/reference/redis-keys.md": "# Keys\n\n## All\n| `one:ID` | |\n| `two:ID` | |\n",
            "worker/a.py": 'self._key("one")\nself._key("three")',
        },
        ["docs/reference/redis-keys.md:2: key three is missing", "docs/reference/redis-keys.md:5: key two is not"],
    ),
    references.metrics_to_watch: (
        {"docs/how-to/monitoring.md": "`releve_up`\n`releve_down`"},
        ["docs/how-to/monitoring.md:2: metric releve_down is not in the code"],
    ),
    references.variables_of_compose: (
        {
            "docker-compose.yml": "${FLOWER_USER} ${ONE}\n${TWO}\nRELEVE_NOTHING: x\nRELEVE_DATA_DIR: x\n",
            ".env.example": "# ONE=1\nRELEVE_NONE=x",
        },
        [
            ".env.example:2: RELEVE_NONE: config/settings.py",
            "docker-compose.yml:2: TWO is not explained in .env.example",
            "docker-compose.yml:3: RELEVE_NOTHING: config/settings.py",
        ],
    ),
    references.groups_of_the_asvs: (
        {ASVS: real(ASVS, "| V3.1 |", "| V3.9 |").replace("| V12.2 | met |", "| V12.2 | done |")},
        [
            f"{ASVS}:{line_of(ASVS, '| V3.1 |')}: has V3.9 where V3.1 must be",
            f"{ASVS}:{line_of(ASVS, '| V12.2 |')}: V12.2",
        ],
    ),
    references.keys_page: (
        {KEYS: real(KEYS, "`session.key`", "`session`"), "worker/a.py": HASHES + 'self.hashes.hash("another")\n'},
        [
            f"{KEYS}:{line_of(KEYS, '## Which services have which key')}: file session.key is missing here",
            f"{KEYS}:{line_of(KEYS, '`session.key`')}: file session is not in the code",
            f"{KEYS}:{line_of(KEYS, '## What each key protects')}: purpose another of RELEVE_ERASURE_KEYS is missing",
        ],
    ),
    references.icon: (
        {"docs/images/icon.svg": "<svg/>", "worker/web/static/icon.svg": "<svg></svg>"},
        ["docs/images/icon.svg:1: differs from worker/web/static/icon.svg"],
    ),
    documents.examples: (
        {DOCUMENTS: real(DOCUMENTS, "0.4", "0.5")},
        [f"{DOCUMENTS}:"],
    ),
    releases.versions: (
        {
            "setup.cfg": SETUP,
            "Dockerfile": 'image.version="1.2.3"',
            "deploy/kubernetes/overlays/example/kustomization.yaml": "\nnewTag: 1.2.2",
            "deploy/kubernetes/overlays/example-rabbitmq/kustomization.yaml": "newTag: 1.2.3",
            "README.md": "dist/releve-1.2.3-py3",
            "README.fr.md": "no version",
            "docs/how-to/scale-out.md": "/releve:1.2.3 .",
            "deploy/home-assistant/config.yaml": "name: a\nversion: 1.2.3\nhomeassistant_version: 1",
            "deploy/home-assistant/Dockerfile": 'hass.version="1.2.3"',
        },
        [
            "README.fr.md:1: name the version",
            "deploy/home-assistant/Dockerfile:1: name the version",
            "deploy/kubernetes/overlays/example/kustomization.yaml:2: name the version",
        ],
    ),
    releases.installation: (
        {"README.md": README, "README.fr.md": README.replace("    pip install --no-deps .\n", "")},
        ["README.fr.md:4: before it: git clone"],
    ),
    releases.commit_of_the_image: (
        {"Dockerfile": "\nFROM a\nARG SOURCE_COMMIT=\nFROM b\n"},
        ["Dockerfile:1: the last stage", "Dockerfile:3: `ARG SOURCE_COMMIT=`"],
    ),
    releases.changes: (
        {
            "setup.cfg": SETUP,
            "CHANGELOG.md": "# Changes\n## 1.2.2 (2026-01-01)\n### Added\n- one\n## 1.2.1 (2026-01-01)\n### Fixed\n"
            "two\n### Added\n- three\n## 1.2.0\n- " + "word " * 21,
        },
        [
            "CHANGELOG.md:1: the first section",
            "CHANGELOG.md:5: sections of 1.2.1",
            "CHANGELOG.md:5: the newest version is that of setup.cfg, 1.2.3",
            "CHANGELOG.md:7: a change is one line",
            "CHANGELOG.md:10: “1.2.0”: write VERSION",
            "CHANGELOG.md:11: a change has at most 20 words",
        ],
    ),
    code.layers: (
        {"setup.cfg": SETUP, "worker/web/__init__.py": "", "worker/sync/a.py": "", "simulator/a.py": ""},
        ["setup.cfg:9: worker.gone stands on a layer and is not there", "setup.cfg:9: worker.sync stands on no layer"],
    ),
    code.import_cycles: (
        {
            "worker/a/__init__.py": "from worker.a import b\nimport json\n",
            "worker/a/b.py": "x = 1\n\ndef f() -> None:\n    from tasks import c\n",
            "tasks/c.py": "if TYPE_CHECKING:\n    from worker.a.b import x\n",
        },
        ["tasks/c.py:2: imports in a circle, tasks/c.py → worker/a/b.py → tasks/c.py"],
    ),
    code.class_names: (
        {"worker/a.py": "class A: ...\nclass _B: ...\n", "worker/b.py": "class _B: ...\nclass A: ...\n"},
        ["worker/b.py:2: A is also a class at worker/a.py:1"],
    ),
    code.module_names: (
        {"worker/web/open_doors.py": "", "worker/web/versions/doors.py": ""},
        ["worker/web/open_doors.py:1: rename the module"],
    ),
    code.suppliers: (
        {f"{SUPPLIER}/{stem}.py": "" for stem in ("__init__", "client", "more")},
        [f"{SUPPLIER}/more.py:1: has no counterpart", f"{SUPPLIER}/presets.py:1: is missing"],
    ),
    code.protocols: (
        {"worker/outputs/output.py": "class Output(Protocol): ...", "worker/a.py": "\nclass Another(Protocol[T]): ..."},
        ["worker/a.py:2: Another: an interface has a place of its own"],
    ),
    code.places_of_unit_tests: (
        {
            **{f"tests/unit/{folder}/test_a.py": "" for folder in ("domain", "clients", "stores", "sync", "accounts")},
            **{f"worker/{folder}/__init__.py": "" for folder in ("domain", "clients", "stores", "sync", "ops", "cli")},
            **{f"tests/unit/{folder}/test_a.py": "" for folder in ("ops", "cli")},
            "tests/unit/domain/with_fixtures/test_a.py": "",
            "tests/unit/domain/with_fixtures/conftest.py": "",
        },
        ["tests/unit/accounts/test_a.py:1: lies where no package is", "tests/unit/web:1: has no tests"],
    ),
    code.decisions_by_series: (
        {
            "worker/a.py": 'x = 1\nif s is Series.DAILY or s == "load_curve": ...\n',
            "worker/domain/parsing/a.py": "Series.DAILY",
        },
        ['worker/a.py:2: == "load_curve"', "worker/a.py:2: Series.DAILY: ask"],
    ),
    code.raised_families: (
        {"tasks/a.py": "raise DataError('x')\n", "worker/a.py": "raise WrongUnit('x')\n\nraise WorkerError('x')"},
        ["tasks/a.py:1: DataError says no cause", "worker/a.py:3: WorkerError says no cause"],
    ),
    code.places_of_stores: (
        {
            "worker/ops/a.py": (
                "from worker.stores.registry.due import DueTable\nfrom worker.stores import database as db\n"
                "from worker.stores.redis.connection import connect as open_it\nDueTable(x)\nopen_it(url)\n"
                "db.Database(url)\ndef connect(): ...\nconnect()\n"
            ),
            "worker/runtime/a.py": "from worker.stores.database import Database\nDatabase(url)",
            "worker/cli/b.py": "def late():\n    from redis import Redis\n    Redis.from_url(url)\n",
        },
        [
            "worker/cli/b.py:3: redis.Redis.from_url: worker.runtime opens the stores",
            "worker/ops/a.py:4: worker.stores.registry.due.DueTable: worker.runtime opens the stores",
            "worker/ops/a.py:5: worker.stores.redis.connection.connect: worker.runtime opens the stores",
            "worker/ops/a.py:6: worker.stores.database.Database: worker.runtime opens the stores",
        ],
    ),
    code.requirements: (
        {"setup.cfg": SETUP, "worker/a.py": "import json, worker.b\nimport requests\nfrom redis import Redis"},
        ["setup.cfg:8: pytest>=9999 is asked for, and installed is", "worker/a.py:3: redis is imported"],
    ),
}


def plant(folder: Path, files: dict[str, str]) -> Project:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return Project(folder)


def test_each_check_has_a_planted_fault() -> None:
    assert set(CASES) == set(CHECKS)


@pytest.mark.parametrize("check", CASES, ids=lambda check: check.__name__)
def test_a_planted_fault_is_named_with_its_line_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: Any
) -> None:
    files, expected = CASES[check]
    made = {"docs/reference/a.md": "one\ntwo\n".__str__, "docs/b.svg": "one\ntwo\n".__str__}
    monkeypatch.setattr(references, "GENERATED", made)
    faults = list(map(str, find_faults(plant(tmp_path, files), [check])))
    told = [fault.startswith(beginning) for fault, beginning in zip(faults, expected, strict=False)]
    assert (all(told), len(faults)) == (True, len(expected)), faults


def test_all_faults_are_printed_and_the_check_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(tmp_path, {"a.md": "Done anew\n", "docs/b.md": "[no](c.md)\n"})
    assert main(tmp_path) == 1
    shown = capsys.readouterr().out
    assert "a.md:1: “anew”" in shown and "docs/b.md:1: c.md" in shown
    assert "setup.cfg:1: is not there, and tools.check_texts.code.layers reads it" in shown
