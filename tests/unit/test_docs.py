"""The documentation agrees with the code: pages, links, commands, settings and examples."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

from config.settings import PREFIX, Settings
from config.unknown_settings import REMOVED
from tests.support import browser, real_couchdb
from tests.support.pages import ROOT, anchors, links, pages
from tools import (
    cli_reference,
    doc_words,
    error_reference,
    floors_drawing,
    licence_reference,
    metrics_reference,
    schema_reference,
    settings_reference,
)
from worker import metrics
from worker.cli.gas_option import REFERENCE as WITH_GAS
from worker.cli.main import cli
from worker.domain.consent.connection_requests import TRANSITIONS, RequestState
from worker.domain.measures.documents import Entry, to_document
from worker.domain.measures.series import Doctype
from worker.ops import fleet_metrics

REFERENCE = ROOT / "docs" / "reference"
README, FRENCH = ROOT / "README.md", ROOT / "README.fr.md"
GENERATED: dict[str, Callable[[], str]] = {
    "reference/settings.md": settings_reference.to_markdown,
    "reference/cli.md": cli_reference.to_markdown,
    "reference/errors.md": error_reference.to_markdown,
    "reference/metrics.md": metrics_reference.to_markdown,
    "reference/licences.md": licence_reference.to_markdown,
    "reference/schemas.json": schema_reference.to_json,
    "explanation/floors.svg": floors_drawing.to_svg,
}
SECRET_FILES = {f"{PREFIX}{name.upper()}_FILE" for name in Settings.model_fields}
COMPOSE_ONLY = {"RELEVE_VERSION"}  # It names the image's version.
REGISTERS = {"calendar": "FC000040", "registers": {"HC": 8_679_347, "HP": 12_978_248}}
FED_IN = {"calendar": "DI000001", "registers": {"BASE": 8_665_587}}
GAS = {
    "volume": 2.9,
    "coefficient": 11.42781,
    "index_start": 1204,
    "index_end": 1207,
    "quality": "measured",
    "status": "provisional",
}
PUBLISHED_GAS = {
    "ends_on": "2024-11-01",
    "volume": 70,
    "coefficient": 11.28,
    "index_start": 1137,
    "index_end": 1207,
    "quality": "measured",
    "status": "final",
}
GAS_CONTRACT = {"frequency": "1M", "transport_tariff": "T2", "activated_on": "2018-08-31"}
CONTRACT = {
    "tariff": "BTINFMUDT",
    "off_peak_hours": "HC (22H00-6H00)",
    "activated_on": "2018-08-31",
    "meter_status": "com",
    "segment": "C5",
}
SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", GENERATED)
def test_a_page_that_is_made_from_the_code_is_what_the_code_says(name: str) -> None:
    assert read(ROOT / "docs" / name) == GENERATED[name](), "run `make reference`"


def test_pages_that_are_made_from_the_code_are_not_counted_as_written_by_hand() -> None:
    assert {name for name in GENERATED if name.endswith(".md")} == doc_words.GENERATED


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    broken = []
    for link in links(read(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(read(target))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_that_a_page_names_exists_with_its_options(page: Path) -> None:
    assert [line for line in commands(read(page)) if not is_understood(line)] == []


@pytest.mark.parametrize(("name", "fewest"), [("architecture", 30), ("access", 15)])
def test_every_file_that_a_map_of_the_code_names_is_there(name: str, fewest: int) -> None:
    page = read(ROOT / "docs" / "explanation" / f"{name}.md")
    named = set(re.findall(r"`((?:config|tasks|tests|tools|worker)/[\w/.]*)`", page))
    assert len(named) > fewest and [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_every_promise_of_ownership_has_its_test_and_every_test_its_promise() -> None:
    named = re.findall(r"`(test_[a-z][0-9]\w+)`", read(ROOT / "SECURITY.md"))
    written = re.findall(r"^def (test_\w+)", read(ROOT / "tests" / "acceptance" / "test_ownership.py"), re.MULTILINE)
    assert sorted(named) == sorted(written)


def test_every_room_is_in_the_architecture() -> None:
    page = read(ROOT / "docs" / "explanation" / "architecture.md")
    rooms = {file.parent.name for file in (ROOT / "worker").glob("*/__init__.py")}
    assert [room for room in sorted(rooms) if f"| `worker/{room}/` |" not in page] == []


def test_the_page_of_ownership_has_the_transitions_of_a_request_and_no_others() -> None:
    page = read(ROOT / "docs" / "explanation" / "ownership.md")
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| `(\w+)`.* \| `(\w+)` \|$", page, re.MULTILINE)
    told = {(state, event): after for states, event, after in rows for state in re.findall(r"\w+", states)}
    assert told == TRANSITIONS
    drawn = re.findall(r'class="name"[^>]*>(\w+)<', read(ROOT / "docs" / "explanation" / "ownership.svg"))
    assert sorted(drawn) == sorted(RequestState)


def test_every_test_that_proves_a_promise_of_security_is_there() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", read(ROOT / "SECURITY.md"))
    sources = {file: "".join(map(read, (ROOT / "tests").rglob(file))) for file, _ in named}
    assert named and [test for file, test in named if f"def {test}(" not in sources[file]] == []


def test_the_readme_shows_commands_at_all() -> None:
    assert {"releve doctor", "releve up", "releve status"} <= set(commands(read(README)))


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z][A-Z_]*[A-Z]\b", read(page)))
    gone = set(REMOVED) if page.name in ("CHANGELOG.md", "settings.md") else set()
    assert named - SETTINGS - SECRET_FILES - gone - {browser.VARIABLE, real_couchdb.VARIABLE} == set()


def test_the_french_readme_names_the_same_commands_and_pages_as_the_english_one() -> None:
    english, french = read(README), read(FRENCH)
    assert code_of(french) == code_of(english)
    # Some pages and pictures have a twin in the other language.
    twins = [{re.sub(r"\.(?:fr|en)(?=\.(?:md|png)$)", "", link) for link in links(text)} for text in (english, french)]
    assert twins[0] == twins[1]


def test_the_examples_of_documents_are_what_is_stored() -> None:
    now = datetime(2024, 10, 28, 7, 31, 2, tzinfo=UTC)
    entries = [
        (Doctype.MINUTE, Entry("2024-10-27T00:30Z", 206_000)),
        (Doctype.MINUTE, Entry("2024-10-27T01:30Z", 198_500)),
        (Doctype.MINUTE, Entry("2024-10-26T22:00Z", 70_000, step=10)),
        (Doctype.HOUR, Entry("2024-10-27T01:00Z", 404_550)),
        (Doctype.DAY, Entry("2024-10-27", 10_412_000)),
        (Doctype.MONTH, Entry("2024-10", 293_336_400)),
        (Doctype.YEAR, Entry("2024", 3_052_617_049)),
        (Doctype.PRODUCTION_MINUTE, Entry("2024-10-27T11:00Z", 612_000)),
        (Doctype.PRODUCTION_HOUR, Entry("2024-10-27T11:00Z", 1_190_500)),
        (Doctype.PRODUCTION_DAY, Entry("2024-10-27", 6_204_000)),
        (Doctype.PRODUCTION_MONTH, Entry("2024-10", 178_310_000)),
        (Doctype.PRODUCTION_YEAR, Entry("2024", 2_381_744_000)),
        (Doctype.MAX_POWER, Entry("2024-10-27", 4_638_000, details={"at": "2024-10-27T12:06:20+01:00"})),
        (Doctype.INDEX, Entry("2024-10-28", 21_657_595_000, details=REGISTERS)),
        (Doctype.PRODUCTION_INDEX, Entry("2024-10-28", 8_665_587_000, details=FED_IN)),
        (Doctype.CONTRACT, Entry("2024-10-27", 6_000_000, details=CONTRACT)),
        (Doctype.GAS_DAY, Entry("2024-10-27", 33_000_000, details=GAS)),
        (Doctype.GAS_MONTH, Entry("2024-10", 812_000_000)),
        (Doctype.GAS_YEAR, Entry("2024", 9_426_000_000)),
        (Doctype.GAS_PUBLISHED, Entry("2024-10-03", 790_000_000, details=PUBLISHED_GAS)),
        (Doctype.GAS_CONTRACT, Entry("2024-10-27", 9_426_000_000, details=GAS_CONTRACT)),
    ]
    assert {doctype for doctype, _ in entries} == set(Doctype)
    shown = re.findall(r"```json\n(.*?)```", read(REFERENCE / "documents.md"), re.DOTALL)
    assert list(map(json.loads, shown)) == [
        to_document("k9xgwnz9gvp2", period, entry, now) for period, entry in entries
    ]


def test_the_page_of_redis_keys_names_every_kind_of_key_and_no_other() -> None:
    source = "".join(read(file) for file in (ROOT / "worker").rglob("*.py"))
    keys = set(re.findall(r'self\._key\(\s*"([a-z_]+)"', source))
    rows = "".join(re.findall(r"^\| (`.*?) \|", read(REFERENCE / "redis-keys.md"), re.MULTILINE))
    listed = set(re.findall(r"`([a-z_]+)[:`]", rows)) - {"celery"}
    assert listed == keys


def test_the_metrics_to_watch_are_those_there_are() -> None:
    named = set(re.findall(r"`(releve_[a-z_]+)`", read(ROOT / "docs" / "how-to" / "monitoring.md")))
    defined = {
        metric.name for registry in (metrics.WORKER_METRICS, fleet_metrics.METRICS) for metric in registry.definitions
    }
    assert named and named <= defined


def test_every_variable_that_compose_asks_for_is_explained() -> None:
    variables = set(re.findall(r"\$\{([A-Z_]+)", read(ROOT / "docker-compose.yml")))
    explained = set(re.findall(r"^#? ?([A-Z_]+)=", read(ROOT / ".env.example"), re.MULTILINE))
    optional = {"FLOWER_USER", "RELEVE_ENEDIS_AUTHORIZE_URL", "RELEVE_PRETEND_NOW"}
    assert variables - optional <= explained


def test_compose_and_example_set_only_settings_that_exist() -> None:
    for name in ("docker-compose.yml", ".env.example"):
        assert set(re.findall(rf"\b{PREFIX}[A-Z_]+", read(ROOT / name))) <= SETTINGS | SECRET_FILES | COMPOSE_ONLY


def code_of(text: str) -> set[str]:
    """Return everything between backticks, and the lines of code blocks without their comments."""
    blocks = re.findall(r"^    (.+)$", text, re.MULTILINE)
    return {*re.findall(r"`([^`]+)`", text), *(block.partition("  #")[0].rstrip() for block in blocks)}


def commands(text: str) -> Iterator[str]:
    """Yield the calls of `releve` in code, inline or in blocks, without the shell's words before and behind."""
    blocks = re.findall(r"^    (.+)$", text, re.MULTILINE)
    for block in re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        blocks += block.splitlines()
    for code in (*re.findall(r"`([^`\n]+)`", text), *blocks):
        if call := re.search(r"(?<![\w/.-])releve (?:-v )?(?=[a-z])[^#;|&)>]+", code):
            yield call[0].replace("releve -v ", "releve ").strip()


def is_understood(line: str) -> bool:
    """Return whether its words are commands and its options belong to them."""
    words = shlex.split(line)[1:]
    command: click.Command = cli
    while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        subcommand = command.get_command(click.Context(command, obj=WITH_GAS), words.pop(0))
        if subcommand is None:
            return False
        command = subcommand
    options = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    return {word.partition("=")[0] for word in words if word.startswith("--")} <= options
