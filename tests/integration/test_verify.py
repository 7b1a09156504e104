"""The command ``releve verify``: it names a wrong total, repairs it, and finds nothing afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from config.settings import PREFIX, Settings, get_settings
from tests.support.factories import NOW
from worker.cli.main import cli
from worker.domain.measures.documents import Entry, to_document
from worker.domain.measures.readings import Period
from worker.runtime.process import Runtime

DAYS = [Entry("2024-07-01", 5_000_000), Entry("2024-07-02", 6_000_000)]
RIGHT = {Period.DAY: DAYS, Period.MONTH: [Entry("2024-07", 11_000_000)], Period.YEAR: [Entry("2024", 11_000_000)]}


@pytest.fixture
def runtime(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    environment = {"DATA_DIR": str(tmp_path / "data"), "REDIS_URL": redis_url, "PRETEND_NOW": NOW.isoformat()}
    for name, value in {**environment, "ENEDIS_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(PREFIX + name, value)
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()
    with Runtime(Settings.from_env()) as runtime:
        yield runtime
    get_settings.cache_clear()


def add(runtime: Runtime, number: int, content: dict[Period, list[Entry]]) -> str:
    account, _ = runtime.registry.add("enedis", f"300016400000{number}", NOW, token_needed=False)
    for period, entries in content.items():
        documents = [to_document(account.id, period, entry, NOW) for entry in entries]
        assert runtime.measures.write({period: documents}) == {period: []}
    return account.id


def verify(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    capsys.readouterr()
    code: int = cli.main(["verify", *words], standalone_mode=False)
    return code, capsys.readouterr().out


def test_what_agrees_is_all_right(runtime: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    account = add(runtime, 11, RIGHT)
    assert verify(capsys, account) == (0, "1 accounts, 4 documents, 0 at fault\n")


def test_a_wrong_total_is_named_mended_and_then_no_more(runtime: Runtime, capsys: pytest.CaptureFixture[str]) -> None:
    add(runtime, 11, RIGHT)
    wrong = add(runtime, 12, {**RIGHT, Period.MONTH: [Entry("2024-07", 9_000_000)]})
    code, text = verify(capsys, "--all")
    assert code == 1
    assert text.splitlines() == [
        f"{wrong} 2024-07: days make the month, 11.0 kWh, stored is 9.0 kWh: the total is stale",
        "2 accounts, 8 documents, 1 at fault",
    ]
    code, text = verify(capsys, wrong, "--repair", "--json")
    report: dict[str, Any] = json.loads(text)
    assert code == report["accounts_at_fault"] == 0
    assert report["faults"] == [{"account": wrong, "findings": [], "documents_written": 1, "windows_asked_again": 0}]
    assert verify(capsys, "--sample", "2")[0] == 0


@pytest.mark.parametrize("words", [(), ("home1", "--all"), ("--all", "--sample", "3")])
def test_it_wants_to_know_which_accounts(words: tuple[str, ...]) -> None:
    with pytest.raises(click.UsageError, match="name one ACCOUNT, or --all, or --sample N"):
        cli.main(["verify", *words], standalone_mode=False)
