"""The series and the supplier of the how-to pages, built as the pages say, and used by commands alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.support.factories import NOW
from tests.support.how_to import PACKAGES, add_italian, copy_folders, files_of_page, follow_page, read_page
from tests.support.pages import ROOT
from tests.support.simulators import run_in_background

pytestmark = pytest.mark.rest

METER = "30001640000011"
TODAY = date(2024, 7, 25)
# A process of the copy that runs one command after the other, or names the series that a night begins with.
COPY = """
import json, os, sys
from pathlib import Path
from config.settings import get_settings
from tests.support.commands import run_releve
from tests.support.parts import Parts
for line in sys.stdin:
    asked, words, settings = json.loads(line)
    if asked == "command":
        result = run_releve(Path.cwd(), settings, *words)
        answer = [result.code, result.out, result.err]
    else:
        os.environ.update(settings)
        with Parts(get_settings()) as parts:
            now = parts.stores.now()
            answer = [job["series"] for due in parts.sync.due for job in due.claim_night(now).jobs]
    print(json.dumps(answer), flush=True)
"""


@dataclass(frozen=True)
class BuiltPage:
    """A copy of the code with what a page adds, in a process; ``touched``: the files that the page changes or makes."""

    process: subprocess.Popen[str]
    touched: frozenset[str]
    settings: Mapping[str, str]

    def run(self, *words: str) -> Any:
        """Run a command of the copy, and return its JSON where it prints any."""
        out = self._run(*words)
        return json.loads(out) if out.startswith(("{", "[")) else out

    def list_accounts(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._run("accounts", "list", "--json").splitlines()]

    def due_tonight(self) -> Any:
        """Return the series of the windows that a night begins with."""
        return self._ask("due tonight")

    def _run(self, *words: str) -> str:
        code, out, err = self._ask("command", *words)
        assert code == 0, out + err
        return str(out)

    def _ask(self, asked: str, *words: str) -> Any:
        env = {f"RELEVE_{name.upper()}": value for name, value in self.settings.items()}
        assert self.process.stdin and self.process.stdout
        print(json.dumps([asked, words, env]), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


Build = Callable[[str, Mapping[str, str]], BuiltPage]


@contextmanager
def built_page(page: str, folder: Path, settings: Mapping[str, str]) -> Iterator[BuiltPage]:
    """Copy the code, put in what the page says, where it says, and start a process of the copy."""
    copy_folders(folder, *PACKAGES)
    follow_page(page, folder)
    env = {name: value for name, value in os.environ.items() if not name.startswith("RELEVE_")}
    with subprocess.Popen(
        [sys.executable, "-c", COPY],
        cwd=folder,  # The copy's code comes first, the tests' own from here.
        env=env | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield BuiltPage(process, files_of_page(page), settings)


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    with ExitStack() as opened:
        yield lambda page, settings: opened.enter_context(built_page(page, tmp_path / "code", settings))


def run_in(code: Path, *words: str) -> None:
    """Run Python with a copy of the code, and demand that it ends well."""
    env = {**os.environ, "PYTHONPATH": str(code)}
    done = subprocess.run([sys.executable, *words], cwd=code, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def days_between(first: date, end: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((end - first).days)]


async def give_token(request: Request) -> JSONResponse:
    return JSONResponse({"access_token": "t", "token_type": "Bearer", "expires_in": 12600})


async def give_lowest(request: Request) -> JSONResponse:
    first, end = (date.fromisoformat(request.query_params[name]) for name in ("dateDebut", "dateFin"))
    return JSONResponse({"lowest": [{"day": str(day), "va": 100 + day.day} for day in days_between(first, end)]})


async def give_water(request: Request) -> JSONResponse:
    first, end = (date.fromisoformat(request.query_params[name]) for name in ("from", "to"))
    return JSONResponse({"days": [{"day": str(day), "m3": f"0.{day.day:03}"} for day in days_between(first, end)]})


async def give_nothing(request: Request) -> JSONResponse:
    return JSONResponse({"error": "no_data_found", "error_description": "no measure found"}, 404)


@pytest.fixture
def supplier() -> Iterator[str]:
    routes = [
        Route("/oauth2/v3/token", give_token, methods=["POST"]),
        Route("/mesure_synchrone_auto/v2/puissance_minimale", give_lowest),
        Route("/token", give_token, methods=["POST"]),
        Route("/v1/daily", give_water),
        Route("/{path:path}", give_nothing),
    ]
    with run_in_background(Starlette(routes=routes)) as address:
        yield address


def test_a_series_is_a_description_a_text_a_parser_and_a_path(
    build: Build, tmp_path: Path, redis_url: str, supplier: str
) -> None:
    settings = {
        "data_dir": str(tmp_path / "data"),
        "redis_url": redis_url,
        "enedis_url": supplier,
        "pretend_now": NOW.isoformat(),
        "series": "daily,load_curve,lowest_power",
    }
    built = build("add-a-series.md", settings)
    (test,) = [name for name in built.touched if name.startswith("tests/")]
    assert len(built.touched) <= 5
    run_in(tmp_path / "code", "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", test)
    built.run("migrate")
    built.run("accounts", "add", "--usage-point", METER, "--consented", "2024-07-01")
    account = built.list_accounts()[0]["account"]
    built.run("sync", account, "--inline")
    documents = built.run("show", account, "--series", "lowest_power", "--by", "day", "--format", "json")
    assert documents[-1]["load"] == pytest.approx(0.124)
    assert [document["day"] for document in documents][-1] == 24
    assert "lowest_power" in json.dumps(built.run("explain", "--days", account, "--json"))
    built.run("verify", "--all")


def test_a_command_is_a_file_and_a_line(build: Build, tmp_path: Path, redis_url: str) -> None:
    built = build("add-a-command.md", {"data_dir": str(tmp_path / "data"), "redis_url": redis_url})
    assert len(built.touched) == 2
    built.run("migrate")
    built.run("accounts", "add", "--usage-point", METER, "--consented", "2024-07-01")
    account = built.list_accounts()[0]["account"]
    assert built.run("last-day", account, "--json") == {"account": account, "last_day": None}
    assert built.run("last-day", account) == "no end\n"


def test_a_supplier_is_a_folder_and_seven_places_more(
    build: Build, tmp_path: Path, redis_url: str, supplier: str
) -> None:
    settings = {
        "data_dir": str(tmp_path / "data"),
        "redis_url": redis_url,
        "enedis_url": supplier,
        "aqua_url": supplier,
        "aqua_client_id": "releve",
        "pretend_now": NOW.isoformat(),
        "series": "daily,load_curve,water_daily",
    }
    built = build("add-a-supplier.md", settings)
    folder = "worker/clients/aqua"
    places = {folder if name.startswith(folder) else name for name in built.touched}
    assert len(places) <= 8
    built.run("migrate")
    for name in ("aqua", "enedis"):
        built.run("accounts", "add", "--supplier", name, "--usage-point", METER, "--consented", "2024-07-01")
    accounts = [row["account"] for row in built.list_accounts()]
    chosen = {account: built.run("accounts", "series", account, "--json")["series"] for account in accounts}
    (water,) = [account for account in accounts if "water_daily" in chosen[account]]
    (power,) = [account for account in accounts if "daily" in chosen[account]]
    assert sorted(built.due_tonight()) == ["daily", "load_curve", "water_daily"]
    for account in (water, power):
        built.run("sync", account, "--inline")
    shown = ("--series", "water_daily", "--format", "json")
    assert built.run("show", water, *shown)[-1]["load"] == pytest.approx(0.024)
    assert built.run("show", water, "--format", "json")[-1]["load"] == pytest.approx(0.024)
    built.run("sync", "--history", water, "--inline")
    months = built.run("show", water, *shown, "--by", "month")
    assert [month["load"] for month in months[-2:]] == [
        pytest.approx(sum(day / 1000 for day in range(1, end))) for end in (31, 25)
    ]
    told = built.run("explain", water, "2024-07-20", "--json")
    assert told["totals"]["agree"] is True
    built.run("verify", "--all")


LANGUAGE_CHOSEN = """
from worker.texts import translate
from worker.web.texts import Words, preferred_language
assert preferred_language("it") == "it"
assert translate("app.language.it", "it") == "Italiano"
assert Words("it").energy(1_234_567_000)
"""


def test_a_language_is_a_constant_and_a_text_beside_each_other(tmp_path: Path) -> None:
    copy_folders(tmp_path, *PACKAGES)
    add_italian(tmp_path)
    shutil.copy(ROOT / "tests" / "unit" / "web" / "test_texts.py", tmp_path)
    for words in (["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_texts.py"], ["-c", LANGUAGE_CHOSEN]):
        run_in(tmp_path, *words)


def test_what_the_page_of_languages_names_is_there() -> None:
    rows = re.findall(r"^\| (`.+?) \| (.+) \|$", read_page("add-a-language.md"), re.MULTILINE)
    assert len(rows) == 8
    for files, to_adapt in rows:
        first, *others = (ROOT / name for name in re.findall("`(.+?)`", files))
        paths = [first, *(path if path.exists() else first.parent / path.name for path in others)]
        for name in re.findall("`(.+?)`", to_adapt):
            if "." in name:
                assert (first / name.replace("it.", "en.")).exists(), name
            else:
                found = name.removeprefix("RELEVE_").lower() if name.isupper() else name
                assert any(found in path.read_text(encoding="utf-8") for path in paths), name
        assert all(path.exists() for path in paths), files
