"""`releve incidents`: looking at them, and the switch by hand; what beat's task does with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

import tasks.incidents
from config.settings import PREFIX, Settings
from tests.support.commands import Ended, run_here
from tests.support.factories import NOW
from worker.domain.fleet.incidents import FailureCount, IncidentKind
from worker.runtime.process import Runtime


class Desk:
    """A command line, and a runtime beside it."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        told = {"DATA_DIR": str(folder), "REDIS_URL": redis_url, "ENEDIS_URL": "http://127.0.0.1:9"}
        self.told = {**told, "PRETEND_NOW": NOW.isoformat()}
        given: dict[str, Any] = {name.lower(): text for name, text in self.told.items()}
        self.runtime = Runtime(Settings.from_env(_env_file=None, **given))

    def __call__(self, *words: str) -> Ended:
        return run_here(self.folder, {PREFIX + name: text for name, text in self.told.items()}, "incidents", *words)

    def shown(self, *words: str) -> list[dict[str, Any]]:
        ended = self(*words, "--json")
        assert ended.code == 0, ended.err
        rows: list[dict[str, Any]] = json.loads(ended.out)
        return rows


@pytest.fixture
def releve(tmp_path: Path, redis_url: str) -> Iterator[Desk]:
    with Redis.from_url(redis_url) as redis:
        redis.flushdb()
    desk = Desk(tmp_path, redis_url)
    yield desk
    desk.runtime.close()


def test_without_any_it_says_so(releve: Desk) -> None:
    assert releve().out == "no incident is open, and none is remembered\n"
    assert releve.shown() == []


def test_one_is_opened_and_closed_by_hand_and_stays_in_the_list(releve: Desk) -> None:
    opened = releve.shown("--open")
    assert [(each["kind"], each["series"], each["open"]) for each in opened] == [
        ("by_hand", ["daily"], True),
        ("by_hand", ["load_curve"], True),
    ]
    assert "by_hand" in releve().out
    closed = releve.shown("--close")
    assert {(each["open"], each["how"]) for each in closed} == {(False, "by_hand")}
    assert releve("--close").line == "releve: no incident is open"


def test_both_at_once_is_misuse(releve: Desk) -> None:
    assert releve("--open", "--close").code == 2


def test_a_mistaken_one_is_closed_and_does_not_open_again_for_a_day(releve: Desk) -> None:
    incidents = releve.runtime.incidents
    assert incidents.open_refusals(IncidentKind.CONSENT, FailureCount(9, 9))
    releve.shown("--close")
    with Runtime(releve.runtime.settings) as later:
        assert not later.incidents.may_open(IncidentKind.CONSENT)
        assert not later.incidents.open_refusals(IncidentKind.CONSENT, FailureCount(9, 9))
        assert later.incidents.may_open(IncidentKind.HOLDER)


def test_what_was_missed_is_asked_for_once_in_the_order_of_treatment(
    releve: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(tasks.incidents, "get_runtime", lambda: releve.runtime)
    for name in ("resume_backfills", "resume_night", "catch_up", "repair_open_days"):
        monkeypatch.setattr(tasks.incidents, name, _Pretended(name, sent))
    tasks.incidents.probe()
    assert sent == []
    releve("--open")
    tasks.incidents.probe()
    assert sent == []
    releve("--close")
    tasks.incidents.probe()
    assert sent == ["resume_backfills", "resume_night", "repair_open_days"], "and the catch-up in the afternoon alone"
    del sent[:]
    tasks.incidents.probe()
    assert sent == []


class _Pretended:
    def __init__(self, name: str, sent: list[str]) -> None:
        self.delay = lambda: sent.append(name)
