"""Raw answers as the operator uses them: keeping, replaying, and looking at deviations in quarantine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from tasks import upkeep
from tests.support.factories import NOW, PretendSupplier, content, serving_days, v5_answer, window_job
from tests.support.installation import Installation
from tests.support.parts import Parts, use_parts
from tests.unit.sync.test_replay import DAYS, FIRST, WEEK, halving
from worker.clients.suppliers import SupplierClients
from worker.domain.answers import RawAnswer
from worker.domain.series import Doctype, Series

METER = "30001640000011"


Run = Callable[..., str]


@pytest.fixture
def parts(installation: Installation) -> Iterator[Parts]:
    with installation.open(raw_answers_days="30") as parts:
        yield parts


@pytest.fixture
def releve(installation: Installation) -> Run:
    """Return a function that runs ``releve WORD …`` and returns what it prints, errors too."""

    def run(*words: str, code: int = 0) -> str:
        result = installation.releve(*words, code=code)
        return result.out or result.error_line

    return run


def add(parts: Parts) -> str:
    return parts.stores.registry.accounts.add("enedis", METER, NOW, token_needed=False)[0].id


@pytest.fixture
def home(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return an account that a faulty parser has synced while answers are kept; its answers have an unknown field."""
    serve = serving_days(DAYS)

    def answer(window: Any) -> Any:
        body = serve(window)
        body["meter_reading"]["holder"] = "Mme Dupont"
        return body

    supplier = PretendSupplier(daily=answer)
    monkeypatch.setattr(SupplierClients, "client_of", lambda self, account: supplier)
    with installation.open(raw_answers_days="30") as parts:
        account = add(parts)
        with monkeypatch.context() as patch:
            patch.setattr("worker.sync.window.parse", halving)
            parts.sync.window.sync_window(window_job(WEEK, Series.DAILY, account))
    monkeypatch.setattr(SupplierClients, "client_of", lambda self, account: pytest.fail("nobody must be asked"))
    return account


def test_history_is_read_again_by_command(home: str, releve: Run, parts: Parts) -> None:
    assert json.loads(releve("replay", home, "--to", "2024-07-01", "--json"))["accounts"][0]["answers"] == 0
    line = releve("replay", home, "--from", "2024-07-20")
    assert line == f"{home}: 1 answers replayed: 1 created, 6 updated, 0 unchanged\n"
    right = {day.isoformat(): wh / 1000 for day, wh in DAYS.items()}
    stored = content(parts.stores.measures, home)[Doctype.DAY]
    assert {day for day in right if stored[day] == right[day]} == {day for day in right if day >= "2024-07-20"}
    assert releve("replay", home) == f"{home}: 1 answers replayed: 0 created, 4 updated, 5 unchanged\n"
    assert content(parts.stores.measures, home)[Doctype.DAY] == right
    (report,) = json.loads(releve("replay", "--all", "--json"))["accounts"]
    assert (report["created"], report["updated"]) == (0, 0)

    parts.stores.registry.raw_answers.record_answer(
        home, RawAnswer(Series.DAILY, NOW, WEEK, [(WEEK, {"not": "known"})])
    )
    assert "1 still can't be read" in releve("replay", home, code=1)


def test_replay_says_what_is_wrong_with_the_question(home: str, releve: Run, parts: Parts) -> None:
    for words in ([], [home, "--all"], [home, "--from", "2024-07-02", "--to", "2024-07-01"]):
        assert releve("replay", *words, code=2)
    parts.stores.registry.raw_answers.delete_before(NOW + timedelta(days=1))
    assert "RELEVE_RAW_ANSWERS_DAYS is 0" in releve("replay", "--all")


def test_a_surprise_is_listed_shown_masked_and_cleared(home: str, releve: Run, parts: Parts) -> None:
    row = json.loads(releve("quarantine", "--json"))
    assert (row["kind"], row["place"], row["times"]) == ("unknown_field", "meter_reading.holder", 1)
    assert row["id"] in releve("quarantine")
    masked = releve("quarantine", row["id"])
    assert "Dupont" not in masked and '"holder": "aaa aaaaaa"' in masked
    raw = json.loads(releve("quarantine", row["id"], "--raw", "--json"))["sample"]
    assert raw["meter_reading"]["holder"] == "Mme Dupont"
    assert raw["meter_reading"]["usage_point_id"] == "0" * 14
    assert releve("quarantine", "--remove", row["id"]) == "cleared\n"
    assert "no sample in quarantine has this id" in releve("quarantine", "--remove", row["id"], code=1)
    assert "no sample in quarantine has this id" in releve("quarantine", row["id"], code=1)
    assert releve("quarantine") == "the quarantine is empty\n"


def test_nothing_is_kept_unless_it_is_asked_for(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    supplier = PretendSupplier(daily=serving_days(DAYS))
    monkeypatch.setattr(SupplierClients, "client_of", lambda self, account: supplier)
    with installation.open() as parts:
        home = add(parts)
        parts.sync.window.sync_window(window_job(WEEK, Series.DAILY, home))
        assert list(parts.stores.registry.raw_answers.read_answers(home)) == []


def test_upkeep_packs_months_and_erases_what_is_too_old(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    home = add(parts)
    use_parts(monkeypatch, parts)
    for days in (50, 29, 28, 1):
        body = v5_answer([[FIRST.isoformat(), days]])
        parts.stores.registry.raw_answers.record_answer(
            home, RawAnswer(Series.DAILY, NOW - timedelta(days=days), WEEK, [(WEEK, body)])
        )
    upkeep.prune_raw_answers()
    ages = [(NOW - answer.asked_at).days for answer in parts.stores.registry.raw_answers.read_answers(home)]
    assert ages == [29, 28, 1]
    assert parts.stores.registry.raw_answers.pack_past_months(NOW, 10) == 0, "June is one row already"


def test_switching_it_off_erases_what_was_kept(
    home: str, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with installation.open(pretend_now=(NOW + timedelta(hours=1)).isoformat()) as parts:
        use_parts(monkeypatch, parts)
        assert len(list(parts.stores.registry.raw_answers.read_answers(home))) == 1
        upkeep.prune_raw_answers()
        assert list(parts.stores.registry.raw_answers.read_answers(home)) == []
