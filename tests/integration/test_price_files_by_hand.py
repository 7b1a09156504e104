"""`releve prices update`: the regulator's files from a folder, or from its addresses, a line a file."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.canned_server import answer, canned_server
from tests.support.certificates import Certificates
from tests.support.installation import Installation
from tests.unit.domain.prices.test_regulated import BASE, HPHC
from tools.lock_files import ROOT
from worker.domain.prices import Option
from worker.domain.prices.regulated import FILES

SHIPPED = ROOT / "worker/data/prices"
BASE_FILE, HPHC_FILE, TEMPO_FILE = FILES.values()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder


def put(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")
    moment = datetime(2026, 2, 3, 12, tzinfo=UTC).timestamp()
    os.utime(folder / name, (moment, moment))


def test_the_files_of_a_folder_are_taken_one_by_one(installation: Installation, folder: Path) -> None:
    put(folder, HPHC_FILE, HPHC)
    put(folder, BASE_FILE, (SHIPPED / BASE_FILE).read_text(encoding="utf-8"))
    taken = installation.releve("prices", "update", "--folder", str(folder), code=1)
    assert [line.split(maxsplit=3) for line in taken.out.splitlines()] == [
        ["file", "in", "use", "new rows  not taken because"],
        ["Option_Base.csv", "2026-02-03", "0"],
        ["Option_HPHC.csv", "2026-02-03", "2"],
        ["Option_Tempo.csv", "2025-08-01", "0", "it is not in the folder"],
    ]
    put(folder, BASE_FILE, BASE)
    refused = installation.releve("prices", "update", "--folder", str(folder), code=1)
    assert refused.err == ""
    in_use = "Option_Base.csv 2026-02-03 0 it has 4 rows, but the copy before had 105 Option_HPHC.csv"
    assert in_use in " ".join(refused.out.split())
    with installation.open() as parts:
        assert parts.stores.registry.public_files.load_all().keys() == {BASE_FILE, HPHC_FILE}
    entries = installation.query_rows("audit", "--action", "prices.update")
    assert [entry["outcome"] for entry in entries] == ["exit_1", "exit_1"]


@pytest.mark.sockets
def test_the_files_are_fetched_from_the_addresses_of_the_settings(
    installation: Installation, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.authority))
    script = [answer(503, "later"), answer(200, HPHC, "text/csv"), answer(200, "<html>", "text/html")]
    with canned_server(*script, tls=certificates.server_context()) as server:
        urls = {f"prices_{option}_url": f"{server.url}{option}.csv" for option in Option}
        base, hphc, tempo = installation.but(**urls).run("prices", "update", "--json").rows
        assert [path for _, path, _ in server.requests] == ["/base.csv", "/hphc.csv", "/tempo.csv"]
    assert (base["name"], base["copied_on"], base["refused"]) == (
        BASE_FILE,
        "2025-08-01",
        "127.0.0.1 answered with status 503",
    )
    assert (hphc["new_rows"], hphc["refused"]) == (2, "")
    assert tempo["refused"].startswith("the columns are not those of option tempo")


def test_an_address_must_be_https(installation: Installation) -> None:
    urls = {f"prices_{option}_url": "http://www.cre.fr/file.csv" for option in Option}
    rows = installation.but(**urls).run("prices", "update", "--json").rows
    assert {row["refused"] for row in rows} == {"the address isn't https:// on a named host"}
